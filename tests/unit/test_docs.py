"""What is written is true: links resolve, commands and options exist, paths are there, nothing of one machine leaks."""

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from noctis.cli import cli
from noctis.cli.reference import commands
from noctis.config import load_settings
from noctis.db.models import Base
from noctis.facilities.recognition import Reject
from noctis.listener.commands import Status
from noctis.repository import filemeta

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
TREES = ("noctis", "tests", "docs", "config", "scripts", "systemd", "requirements", ".ci")
SETS = ("runtime", "postgres", "test", "check")  # each holds the one before


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def project_files() -> list[Path]:
    files = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for tree in TREES:
        files += [path for path in (ROOT / tree).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(files)


# -- links


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS if page.name != "index.md" and f"({page.name})" not in index] == []


def test_every_path_that_the_readme_names_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    trees = "scripts|docs|config|systemd|requirements|tests|noctis"
    named = set(re.findall(rf"(?<![\w/.])(?:\./)?((?:{trees})/[\w./-]+)", text))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path.rstrip(".")).exists()] == []


# -- commands


COMMANDS = {name: context.command for name, context in commands(cli, "noctis")}


def test_every_command_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"## {name}\n" not in reference] == []


def called(page: Path) -> list[str]:
    """What a page tells to type: lines of code blocks and inline code that begin with `noctis`, perhaps after sudo."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    return [line.removeprefix("sudo ") for line in lines if re.match(r"(sudo )?noctis( |$)", line)]


def problem(line: str) -> str | None:
    """What is wrong with a command line, if anything."""
    words = shlex.split(line.replace("…", "").split("  ")[0])[1:]
    name, known = "noctis", option_names("noctis")
    while words and isinstance(COMMANDS[name], click.Group):
        word = words.pop(0)
        if word.startswith("-"):
            if word not in known:
                return f"no option {word}"
            if word in with_value(name) and words:
                words.pop(0)
        elif (name := f"{name} {word}") not in COMMANDS:
            return f"no command {name}"
        else:
            known = option_names(name)
    if COMMANDS[name].context_settings.get("ignore_unknown_options"):
        return None
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no option {wrong[0]}" if wrong else None


def with_value(name: str) -> set[str]:
    """The options that are followed by a value."""
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    return {word for option in options if not option.is_flag for word in option.opts}


def option_names(name: str) -> set[str]:
    return {"--help"} | {word for option in COMMANDS[name].params for word in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ("cli.md", "CHANGELOG.md")], ids=by_name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    assert {line: wrong for line in called(page) if (wrong := problem(line))} == {}


@pytest.mark.parametrize("line", ["noctis facilty list", "noctis facility lost", "noctis listen --debug"])
def test_a_command_that_does_not_exist_would_be_found(line: str) -> None:
    assert problem(line)


def test_the_fixes_of_refusals_are_commands() -> None:
    source = (ROOT / "noctis" / "facilities" / "recognition.py").read_text(encoding="utf-8")
    named = set(re.findall(r"noctis [a-z]+ [a-z]+", source))
    assert named
    assert {line: wrong for line in named if (wrong := problem(line))} == {}


def test_every_log_event_that_operations_names_is_logged() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z]+\.[a-z_]+)`", text[text.index("| event |") : text.index("## Upgrade")])
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "noctis").rglob("*.py"))
    assert len(named) > 10
    assert [event for event in named if f'"{event}"' not in source] == []


# -- the conformance statement


def test_the_conformance_statement_says_what_the_code_does() -> None:
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8").lower()
    settings = load_settings()
    stated = [f"| {status:04x} |" for status in Status]
    stated += [filemeta.IMPLEMENTATION_CLASS_UID, f"{settings.listeners.max_pdu_bytes} bytes"]
    stated += [f"{settings.listeners.max_associations} for each facility", f"port {settings.server.port} "]
    stated += [f"{settings.listeners.max_associations_in_all} together", f"{settings.listeners.message_seconds:g} s "]
    rejects = (
        Reject.CALLED_NOT_RECOGNISED,
        Reject.CALLING_NOT_RECOGNISED,
        Reject.LOCAL_LIMIT_EXCEEDED,
        Reject.TEMPORARY_CONGESTION,
    )
    stated += [f"| {', '.join(map(str, reject.value))} |" for reject in rejects]
    assert [each for each in stated if each not in text] == []


# -- what must be in no file


def folder_of_this_machine() -> str | None:
    """The folder that checkouts lie in here, unless it is one that every Linux has."""
    first = ROOT.parts[1:3]
    if first[0] in ("home", "Users"):
        return "/" + "/".join(first) + "/"
    return None if first[0] in ("opt", "srv", "tmp", "usr", "var", "root", "mnt", "media") else f"/{first[0]}/"


def test_no_file_names_a_package_index_or_a_folder_of_one_machine() -> None:
    hosts = r"\b(?:files\.)?py(?:pi\.org|thonhosted\.org)|\bregistry\.npm[j]s"
    here = folder_of_this_machine()
    pattern = re.compile(hosts + (rf"|(?<![\w./]){re.escape(here)}\w" if here else ""))
    found = []
    for path in project_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{by_name(path)}: {hit.group()}" for hit in pattern.finditer(text)]
    assert found == []


# -- the pinned sets


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, flags=re.MULTILINE))


def plain(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("name", SETS)
def test_a_pinned_set_is_nothing_but_pins_with_hashes(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    meant = [line for line in lines if not re.match(r"\s*#|$", line)]
    requirement, digest = re.compile(r"[a-z0-9._-]+==\S+ \\$"), re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?$")
    assert [line for line in meant if not (requirement.match(line) or digest.match(line))] == []
    assert sum(not line.startswith(" ") for line in meant) == sum(not line.endswith("\\") for line in meant)


def test_the_pinned_sets_agree_and_each_holds_the_one_before() -> None:
    sets = [pins(name).items() for name in SETS]
    assert all(one <= next_one for one, next_one in itertools.pairwise(sets))


def test_everything_that_the_project_names_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    named = {"runtime": project["project"]["dependencies"] + project["build-system"]["requires"], **extras}
    missing = [
        f"{name}: {requirement}"
        for name, requirements in named.items()
        for requirement in requirements
        if plain(requirement) not in {**pins(name), "noctis": ""}
    ]
    assert missing == []


# -- the architecture


def test_every_table_and_every_package_is_in_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tables = [name for name in Base.metadata.tables if f"`{name}`" not in page]
    packages = [path.parent.name for path in (ROOT / "noctis").glob("*/__init__.py")]
    assert (tables, [name for name in packages if f"\n  {name}/ " not in page]) == ([], [])
