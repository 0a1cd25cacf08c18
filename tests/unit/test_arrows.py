"""Imports point one way (docs/architecture.md): what is below knows nothing of what is above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import noctis

# From the bottom to the top. Names that stand together on one line in one string know each other; the others of a
# layer do not. A module of its own line beside its package's is named with it.
LAYERS = (
    ("errands", "errors", "files", "notifications", "priority", "scu", "stop", "text"),
    ("home", "locks", "sections"),
    ("config",),
    ("observability",),
    ("outage", "db"),
    ("facilities repository tls",),
    ("frames", "silence", "supervisor", "users"),  # of the supervisor: what asks a running one, and what it is made of
    ("archiver", "audit", "listener", "notify receipts", "scheduler"),
    ("backup", "checks", "importing"),
    ("web",),
    ("supervisor.services", "supervisor.parent"),  # they start all the others
    ("cli", "demo"),
    ("__main__",),
)
FREE = ("db.migrations",)  # steps between releases: they take what they need as it was
ROOT = Path(noctis.__file__).parent
PLACES = {name: (number, place) for number, places in enumerate(LAYERS) for place in places for name in place.split()}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"
}


def place_of(module: str) -> tuple[int, str]:
    parts = module.split(".")
    found = PLACES.get(".".join(parts[:2])) or PLACES.get(parts[0])
    assert found is not None, f"noctis.{module} has no layer: name it above"
    return found


def imports(module: str) -> Iterator[str]:
    """Modules of ours that a module imports, wherever in it; what is for types alone does not count."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        for name in names:
            below = name.removeprefix("noctis.")
            if below != name:
                while below and below not in MODULES:
                    below = below.rpartition(".")[0]
                if below:
                    yield below


@pytest.mark.parametrize("package", sorted({name.partition(".")[0] for name in MODULES}))
def test_nothing_knows_what_is_above_it(package: str) -> None:
    wrong = []
    for module in sorted(name for name in MODULES if name.partition(".")[0] == package):
        if module.startswith(FREE):
            continue
        layer, place = place_of(module)
        for other in imports(module):
            above, there = place_of(other)
            if other.partition(".")[0] != package and there != place and above >= layer:
                wrong.append(f"noctis.{module} imports noctis.{other}")
            elif other.partition(".")[0] == package and above > layer:
                wrong.append(f"noctis.{module} imports noctis.{other}, which starts what is above")
    assert not wrong


def test_every_name_of_the_table_is_one() -> None:
    assert [name for name in PLACES if name not in MODULES] == []
