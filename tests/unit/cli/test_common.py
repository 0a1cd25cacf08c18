"""Text for terminals, JSON, sizes and times."""

import json
from datetime import UTC, datetime

import pytest
from rich.markup import render

from noctis.cli.common import causes, emit_json, plain, safe, show_fields, show_table
from noctis.text import moment, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Doe^Jane", "Doe^Jane"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\x9b31m", "\\x9b31m"),  # CSI in one byte
        ("a\u202eb", "a\\u202eb"),  # turns the direction of what follows
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("山田\u3000太郎\u00a0x", "山田\u3000太郎\u00a0x"),
        (None, ""),
        (7, "7"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: object, shown: str) -> None:
    assert plain(text) == shown
    assert render(safe(text)).plain == shown


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "\\[red]", "[link=x]"])
def test_markup_is_text(text: str) -> None:
    assert render(safe(text)).plain == text


def test_json_is_readable_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"name": "山田^太郎", "evil": "\x1b[31m\x9b\u202e\x7f\U000e0041", "at": datetime(2026, 1, 2, tzinfo=UTC)}
    emit_json(document)
    out = capsys.readouterr().out
    assert "山田^太郎" in out
    assert not set(out) & set("\x1b\x9b\u202e\x7f\U000e0041")
    assert json.loads(out) == document | {"at": "2026-01-02 00:00:00+00:00"}


def test_a_table_on_a_pipe_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    uid = "1." + "2" * 300
    show_table(["UID", "number#"], [[uid, 1], ["[x]\\", 22]], empty="nothing")
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["UID", "number"]
    assert first.split() == [uid, "1"]
    assert second.split() == ["[x]\\", "22"]
    show_table(["UID"], [], empty="nothing")
    assert capsys.readouterr().out == "nothing\n"


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields({"name": "Central", "phone": None, "devices": "", "port": 0})
    assert capsys.readouterr().out.splitlines() == ["name     Central", "port     0"]


@pytest.mark.parametrize(
    ("count", "text"), [(None, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e9, "1.5 GB"), (2e16, "20000.0 TB")]
)
def test_sizes(count: float | None, text: str) -> None:
    assert size(count) == text


def test_times_are_local() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert moment(at) == moment(at.isoformat()) == at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert moment(None) == moment("") == ""


def test_a_long_cause_is_cut() -> None:
    error = RuntimeError("outer")
    error.__cause__ = RuntimeError("x" * 1000)
    (text,) = causes(error)
    assert len(text) < 310
