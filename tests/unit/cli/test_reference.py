"""docs/cli.md is what the code says."""

from pathlib import Path

from noctis.cli import cli
from noctis.cli.reference import commands, render

REFERENCE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == render(), "python -m noctis.cli.reference > docs/cli.md"


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = []
    for name, context in commands(cli, "noctis"):
        if not context.command.help:
            silent.append(name)
    assert silent == []


def test_every_list_answers_in_json() -> None:
    found = {name: context.command for name, context in commands(cli, "noctis")}
    lists = [name for name in found if name.rpartition(" ")[2] in ("list", "show", "add", "edit", "status", "check")]
    assert len(lists) > 15
    assert [name for name in lists if "as_json" not in {option.name for option in found[name].params}] == []
