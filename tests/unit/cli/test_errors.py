"""How a call ends: its exit code, and what it says on stderr."""

import io
import os
import sys

import click
import pytest

from noctis.cli import LazyGroup, cli, run
from noctis.cli.common import report
from noctis.errors import DatabaseError, ExitCode, NotFoundError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """`noctis version` raises what is in the list."""
    errors: list[BaseException] = []

    @click.command()
    def version() -> None:
        raise errors[0]

    original = LazyGroup.get_command

    def get_command(self: LazyGroup, ctx: click.Context, name: str) -> click.Command | None:
        return version if name == "version" else original(self, ctx, name)

    monkeypatch.setattr(LazyGroup, "get_command", get_command)
    return errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseError("away"), ExitCode.FOUND_WRONG),
        (NotFoundError("no such facility"), ExitCode.USAGE),
        (click.UsageError("no such option"), ExitCode.USAGE),
        (ZeroDivisionError("division by zero"), ExitCode.SOFTWARE),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.exceptions.Exit(3), 3),
    ],
)
def test_every_end_has_its_code_and_no_traceback(
    failing: list[BaseException], error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(error)
    assert run(["version"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_cause_that_the_message_says_already_is_not_said_again(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    error = DatabaseError("the database cannot be used: connection refused")
    error.__cause__ = OSError(
        "(psycopg.OperationalError) connection refused (Background on this error at: https://sqlalche.me/e/21/e3q8)"
    )
    failing.append(error)
    run(["version"])
    assert capsys.readouterr().err.splitlines() == ["noctis: the database cannot be used: connection refused"]


def test_a_fault_of_ours_says_so_in_one_line(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(ValueError("two\nlines"))
    assert run(["version"]) == ExitCode.SOFTWARE
    first, second = capsys.readouterr().err.splitlines()
    assert first == "noctis: this is a fault in Noctis: ValueError: two lines"
    assert "--debug" in second


def test_debug_shows_the_traceback(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(DatabaseError("away"))
    assert run(["--debug", "version"]) == ExitCode.FOUND_WRONG
    assert "Traceback" in capsys.readouterr().err


def test_the_chain_of_causes_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    root = OSError("the disk is on fire")
    middle = RuntimeError("cannot write: the disk is on fire, \x1b[31mand it is loud")
    middle.__cause__ = root
    error = DatabaseError("the database cannot be used", fix="noctis check")
    error.__cause__ = middle
    report(error, debug=False)
    assert capsys.readouterr().err.splitlines() == [
        "noctis: the database cannot be used",
        "  caused by: cannot write: the disk is on fire, \\x1b[31mand it is loud",
        "  caused by: the disk is on fire",
        "  fix: noctis check",
    ]


def test_a_reader_that_went_away_is_no_error(failing: list[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        failing.append(BrokenPipeError())
        assert run(["version"]) == ExitCode.DONE
        pipe.write("what was still to be said goes nowhere")


def test_a_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["statsu"]) == ExitCode.USAGE
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_every_command_of_the_table_is_there() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_help_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == run(["facility", "add", "-h"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert "supervise" in out
    assert "--device" in out


def test_a_name_that_the_terminal_cannot_show_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from noctis.cli import main

    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    monkeypatch.setattr("noctis.cli.run", lambda args: print("山田") or 0)
    with pytest.raises(SystemExit):
        main([])
    sys.stdout.flush()
    assert buffer.getvalue() == b"\\u5c71\\u7530\n"
