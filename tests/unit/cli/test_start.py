"""Commands start fast: what a command does not need is not imported."""

import subprocess
import sys

import pytest

HEAVY = ("sqlalchemy", "alembic", "pynetdicom", "pydicom", "numpy", "supervisor")


def imported(*arguments: str) -> set[str]:
    script = (
        "import sys\nfrom noctis.cli import run\nrun(sys.argv[1:])\nprint('MODULES', *sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["facility", "add", "--help"], ["version"], ["config", "show"]])
def test_what_is_not_needed_is_not_imported(arguments: list[str]) -> None:
    assert imported(*arguments) & set(HEAVY) == set()
