"""Quarantine: kept whole, with a reason, up to the cap; done again it ends the same."""

import errno
import os
import threading
from pathlib import Path

import pytest

from noctis.errors import StorageError
from noctis.repository.quarantine import Note, Quarantine, QuarantineFullError, Reason, read_note

NOTE = Note(Reason.CONFLICT, "other bytes are filed", sop_instance_uid="1.2.3", received_at="2026-01-02T03:04:05+00:00")


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine")


def make(path: Path, data: bytes = b"data") -> Path:
    path.write_bytes(data)
    return path


def test_a_file_moves_in_with_its_note(quarantine: Quarantine, tmp_path: Path) -> None:
    source = make(tmp_path / "1.dcm")
    kept = quarantine.keep(source, "central", NOTE, cap=1, name="x.dcm")
    assert (kept.slug, kept.name, kept.path.read_bytes()) == ("central", "x.dcm", b"data")
    assert not source.exists()
    assert [(each.name, each.note) for each in quarantine.files()] == [("x.dcm", NOTE)]
    assert sorted(path.name for path in quarantine.folder("central").iterdir()) == ["x.dcm", "x.json"]


def test_beyond_the_cap_the_source_stays(quarantine: Quarantine, tmp_path: Path) -> None:
    quarantine.keep(make(tmp_path / "1.dcm"), "central", NOTE, cap=1)
    source = make(tmp_path / "2.dcm")
    with pytest.raises(QuarantineFullError, match="holds 1 instances, its cap"):
        quarantine.keep(source, "central", NOTE, cap=1)
    assert source.exists()
    quarantine.keep(source, "north", NOTE, cap=1)
    quarantine.keep(make(tmp_path / "1.dcm"), "central", NOTE, cap=1)  # the same again


def test_a_source_that_is_gone_leaves_what_is_kept(quarantine: Quarantine, tmp_path: Path) -> None:
    kept = quarantine.keep(make(tmp_path / "1.dcm"), "central", NOTE, cap=5)
    with pytest.raises(StorageError, match="gone"):
        quarantine.keep(tmp_path / "1.dcm", "central", Note(Reason.UNPARSEABLE), cap=5)
    assert read_note(kept.path) == NOTE


def test_from_another_file_system_it_is_copied(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    source = make(tmp_path / "1.dcm")
    os.utime(source, ns=(1, 1_700_000_000_000_000_000))
    kept = quarantine.keep(source, "central", NOTE, cap=1)
    assert kept.path.read_bytes() == b"data"
    assert kept.path.stat().st_mtime_ns == 1_700_000_000_000_000_000
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert not source.exists()
    assert quarantine.names("central") == ["1.dcm"]


def test_the_cap_is_exact_when_many_come_at_once(quarantine: Quarantine, tmp_path: Path) -> None:
    start, full = threading.Barrier(8), []

    def keep(number: int) -> None:
        source = make(tmp_path / f"{number}.dcm")
        start.wait()
        try:
            quarantine.keep(source, "central", NOTE, cap=3)
        except QuarantineFullError:
            full.append(source)

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert quarantine.count("central") == 3
    assert len(full) == 5


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"reason": "none"}', '{"reason": "conflict", "colour": 1}'])
def test_a_broken_note_hides_no_file(text: str | None, quarantine: Quarantine, tmp_path: Path) -> None:
    kept = quarantine.keep(make(tmp_path / "1.dcm"), "central", NOTE, cap=1)
    note = kept.path.with_suffix(".json")
    note.unlink() if text is None else note.write_text(text)
    (found,) = quarantine.files()
    assert found.note.reason is Reason.UNPARSEABLE


def test_discarding_twice(quarantine: Quarantine, tmp_path: Path) -> None:
    kept = quarantine.keep(make(tmp_path / "1.dcm"), "central", NOTE, cap=1)
    for _ in range(2):
        quarantine.discard("central", kept.name)
    assert list(quarantine.folder("central").iterdir()) == []
    assert quarantine.count("nobody") == 0


def test_another_name_of_what_is_kept_goes(quarantine: Quarantine, tmp_path: Path) -> None:
    """A listener that is killed may leave an instance under two names; a rename onto itself would leave the second."""
    first = make(tmp_path / "1.dcm")
    os.link(first, tmp_path / "2.dcm")
    quarantine.keep(first, "central", NOTE, cap=1, name="x.dcm")
    kept = quarantine.keep(tmp_path / "2.dcm", "central", NOTE, cap=1, name="x.dcm")
    assert not (tmp_path / "2.dcm").exists()
    assert kept.path.read_bytes() == b"data"
    assert sorted(path.name for path in quarantine.folder("central").iterdir()) == ["x.dcm", "x.json"]
