"""The journal: whole lines, taken whole, also while they are written."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noctis.repository import journal as journal_module
from noctis.repository.journal import TAKEN, Journal, take


def lines(folder: Path) -> list[object]:
    """Take everything, as the archiver does."""
    found: list[object] = []
    for path, records in take(folder):
        found += records
        path.unlink()
    return found


def test_what_is_appended_is_taken_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "central-1")
    assert journal.append("refusal", reason="Žilina", port=11113)
    assert journal.append("quarantined")
    assert lines(tmp_path) == [{"kind": "refusal", "reason": "Žilina", "port": 11113}, {"kind": "quarantined"}]
    assert lines(tmp_path) == []
    assert journal.append("again")
    assert lines(tmp_path) == [{"kind": "again"}]


def test_an_event(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "operator")
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert journal.event("jane", "study.seen", {"n": 1}, subject="x", slug="central", at=at)
    before = datetime.now(UTC)
    assert journal.event("jane", "study.seen", {})
    first, second = lines(tmp_path)
    assert first == {
        "kind": "event",
        "at": "2026-01-02T03:04:05+00:00",
        "actor": "jane",
        "action": "study.seen",
        "slug": "central",
        "subject": "x",
        "detail": {"n": 1},
    }
    assert isinstance(second, dict)
    assert (second["slug"], second["subject"]) == (None, "")
    assert before <= datetime.fromisoformat(second["at"]) <= datetime.now(UTC)


def test_what_was_taken_and_not_finished_comes_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "central-1")
    journal.append("first")
    assert [records for _, records in take(tmp_path)] == [[{"kind": "first"}]]
    journal.append("second")
    assert lines(tmp_path) == [{"kind": "first"}, {"kind": "second"}]
    assert list(tmp_path.glob(f"*{TAKEN}")) == []


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    Journal(tmp_path, "a").append("whole")
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"kind": "to')
    assert lines(tmp_path) == [{"kind": "whole"}]


def test_a_ledger_never_stops_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Journal(tmp_path / "nowhere", "a").append("lost")
    monkeypatch.setattr(journal_module, "MAX_BYTES", 10)
    journal = Journal(tmp_path, "a")
    assert journal.append("fits")
    assert not journal.append("dropped")


def test_no_line_is_lost_or_doubled_while_it_is_taken(tmp_path: Path) -> None:
    writing = [threading.Thread(target=write, args=(tmp_path, name, 200)) for name in ("a", "a", "b")]
    for thread in writing:
        thread.start()
    found: list[object] = []
    while any(thread.is_alive() for thread in writing):
        found += lines(tmp_path)
    found += lines(tmp_path)
    assert len(found) == 600


def write(folder: Path, name: str, count: int) -> None:
    journal = Journal(folder, name)
    for number in range(count):
        assert journal.append("line", number=number)
