"""The line of entries: each once, oldest first, bounded."""

from pathlib import Path

import pytest

from noctis.archiver import backlog as backlog_module
from noctis.archiver.backlog import Backlog
from noctis.repository.header import Header
from noctis.repository.hints import Hint
from noctis.repository.spool_entries import SpoolEntry, arrived_ns


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for slug in ("central", "north"):
        (tmp_path / slug / "new").mkdir(parents=True)
    return tmp_path


def put(root: Path, number: int, slug: str = "central") -> SpoolEntry:
    path = root / slug / "new" / f"{number:016x}-1-1.dcm"
    path.touch()
    return SpoolEntry(slug, path)


def hint(entry: SpoolEntry) -> Hint:
    return Hint(entry.slug, entry.name, "0" * 64, Header())


def taken(backlog: Backlog, count: int = 100) -> list[SpoolEntry]:
    return [entry for entry, _ in backlog.take(count)]


def test_an_entry_that_is_hinted_and_found_is_taken_once_with_its_hint(root: Path) -> None:
    backlog = Backlog(root, 1.0)
    entry = put(root, 1)
    backlog.add(hint(entry))
    backlog.add(hint(entry))
    backlog.scan()
    assert backlog.take(10) == [(entry, hint(entry))]
    assert backlog.take(10) == []


def test_what_is_being_filed_is_not_taken_again(root: Path) -> None:
    backlog = Backlog(root, 1.0)
    entry = put(root, 1)
    backlog.scan()
    assert taken(backlog) == [entry]
    backlog.scan()
    backlog.add(hint(entry))
    assert taken(backlog) == []
    assert backlog.pending == 1
    entry.path.unlink()
    backlog.done(entry)
    backlog.scan()
    assert backlog.pending == 0


def test_oldest_first_and_what_was_given_back_before_all_others(root: Path) -> None:
    backlog = Backlog(root, 1.0)
    entries = [put(root, number) for number in (3, 1, 2)]
    backlog.scan()
    assert backlog.oldest_ns == 1
    first = backlog.take(2)
    assert [entry for entry, _ in first] == [entries[1], entries[2]]
    backlog.give_back(first)
    assert taken(backlog) == [entries[1], entries[2], entries[0]]


def test_a_held_entry_waits_and_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(backlog_module.time, "monotonic", lambda: now)
    backlog = Backlog(root, 1.0)
    entry = put(root, 5)
    backlog.scan()
    taken(backlog)
    backlog.hold(entry, 10.0)
    backlog.scan()
    backlog.add(hint(entry))
    assert taken(backlog) == []
    assert (backlog.pending, backlog.oldest_ns) == (1, 5)
    now += 11
    backlog.scan()
    assert taken(backlog) == [entry]


def test_a_held_facility_stops_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(backlog_module.time, "monotonic", lambda: now)
    backlog = Backlog(root, 1.0)
    lost = [put(root, number, "north") for number in range(3)]
    backlog.scan()
    taken(backlog, 1)
    backlog.hold_facility("north", 10.0)
    other = put(root, 9)
    backlog.scan()
    assert taken(backlog) == [other]
    assert backlog.pending == 4
    now += 11
    backlog.scan()
    assert taken(backlog) == lost


def test_memory_is_bounded_and_the_rest_is_found_later(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "SCAN_MAX", 10)
    backlog = Backlog(root, 3600.0)
    for number in range(25):
        put(root, number)
    found: list[SpoolEntry] = []
    while len(found) < 25:
        assert backlog.scan_is_due()
        backlog.scan()
        assert backlog.pending == 25 - len(found)
        some = taken(backlog, 10)
        assert 0 < len(some) <= 10
        for entry in some:
            entry.path.unlink()
            backlog.done(entry)
        found += some
    assert len(set(found)) == 25
    assert not backlog.ready()


@pytest.mark.parametrize(
    ("slug", "name"),
    [("..", "1.dcm"), ("central", "../../x.dcm"), ("central", "/etc/passwd"), ("central", "1.txt"), ("", "1.dcm")],
)
def test_a_hint_is_never_a_path(root: Path, slug: str, name: str) -> None:
    backlog = Backlog(root, 1.0)
    backlog.add(Hint(slug, name, "", None))
    assert backlog.take(10) == []


def test_a_name_tells_when_it_came() -> None:
    assert arrived_ns(f"{1234567890123456789:016x}-1f-2.dcm") == 1234567890123456789
    assert arrived_ns("something.dcm") == 0


def test_what_waits_is_told_by_facility(root: Path) -> None:
    (root / "south" / "new").mkdir(parents=True)
    backlog = Backlog(root, 0.0)
    for number, slug in ((3, "central"), (1, "central"), (2, "north"), (4, "south")):
        put(root, number, slug)
    backlog.scan()
    backlog.take(1)
    backlog.hold_facility("south", 10.0)
    told = backlog.by_facility()
    assert {slug: count for slug, (count, _) in told.items()} == {"central": 2, "north": 1, "south": 1}
    assert min(oldest for _, oldest in told.values()) == backlog.oldest_ns
    assert told["central"][1] < told["north"][1] < told["south"][1]
