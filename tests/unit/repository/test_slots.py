"""Slots: used again when cleared and never before, whatever they held; anything odd gets a file of its own."""

import dataclasses
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from noctis.repository import filemeta, slots, usage
from noctis.repository.filemeta import Origin
from noctis.repository.slots import SLOT_MAX, SlotBudget, SlotGoneError
from noctis.repository.spool import Spool, SpoolEntry, SpoolFile, is_whole, recover
from noctis.repository.spool_entries import entry_named
from tests.spooling import entries

SYNTAX = "1.2.840.10008.1.2.1"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def maker(slot_bytes: int = 1 << 20) -> Spool:
        made.append(Spool(tmp_path, "central", slots=SlotBudget(slot_bytes)))
        return made[-1]

    yield maker
    for spool in made:
        spool.close()


@pytest.fixture
def spool(make: Callable[..., Spool]) -> Spool:
    return make()


def begin(spool: Spool, data: bytes = b"abc") -> SpoolFile:
    file = spool.receive(b"1.2", b"1.2.3", SYNTAX, Origin("CT1", "CENTRAL", "192.0.2.7", 11113, "a1"))
    file.write(data)
    return file


def commit(spool: Spool, data: bytes = b"abc") -> SpoolEntry:
    return begin(spool, data).commit()


def clear(entry: SpoolEntry) -> None:
    slots.clear(entry, meta_of(entry))


def meta_of(entry: SpoolEntry) -> filemeta.FileMeta:
    with entry.path.open("rb") as file:
        return filemeta.read(file.fileno())


def waiting(root: Path) -> list[SpoolEntry]:
    return sorted(slots.waiting(root, "central"), key=lambda entry: entry.name)


def test_a_slot_that_was_cleared_is_used_again_and_no_other(spool: Spool, tmp_path: Path) -> None:
    first, second = commit(spool), commit(spool)
    assert waiting(tmp_path) == [first, second]
    assert first.path != second.path
    clear(first)
    assert waiting(tmp_path) == [second]
    third, fourth = commit(spool), commit(spool)
    assert third.path == first.path
    assert fourth.path not in (first.path, second.path)
    assert waiting(tmp_path) == [second, third, fourth]
    assert list(entries(tmp_path)) == []


def test_one_that_is_held_up_does_not_hold_up_the_others(spool: Spool) -> None:
    _held, *others = [commit(spool) for _ in range(4)]
    for entry in others:
        clear(entry)
    assert {commit(spool).path for _ in range(3)} == {entry.path for entry in others}


def test_what_was_filed_and_written_over_is_not_cleared_by_a_latecomer(spool: Spool, tmp_path: Path) -> None:
    first = commit(spool)
    meta = meta_of(first)
    slots.clear(first, meta)
    second = commit(spool)
    assert second.path == first.path
    slots.clear(first, meta)
    assert waiting(tmp_path) == [second]
    target = os.open(tmp_path / "copy", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(SlotGoneError):
        slots.copy(first.path, first.slot, meta, target)
    os.close(target)
    assert slots.eject(tmp_path, first) is None


@pytest.mark.parametrize("size", [0, 1, 5000, 70_001, 1 << 20])
def test_a_copy_is_as_if_it_had_never_been_in_a_slot(size: int, spool: Spool, tmp_path: Path) -> None:
    clear(commit(spool, os.urandom(size + 4096)))  # something longer is there already
    data = os.urandom(size)
    entry = commit(spool, data)
    target = os.open(tmp_path / "copy", os.O_WRONLY | os.O_CREAT)
    slots.copy(entry.path, entry.slot, meta_of(entry), target)
    os.close(target)
    assert is_whole(tmp_path / "copy")
    meta, slotted = meta_of(SpoolEntry("central", tmp_path / "copy")), meta_of(entry)
    assert meta.record is not None
    assert slotted.record is not None
    assert meta.record == dataclasses.replace(slotted.record, stamp="")
    assert meta.record.length == size
    assert (tmp_path / "copy").read_bytes()[meta.dataset_start :] == data


def test_a_file_system_that_cannot_write_directly(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(descriptor: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return original(descriptor, command, flags)

    original = fcntl.fcntl
    monkeypatch.setattr(slots.fcntl, "fcntl", refuse)
    data = os.urandom(300_001)
    ejected = slots.eject(tmp_path, commit(spool, data))
    assert ejected is not None
    assert ejected.path.read_bytes().endswith(data)


def test_ejected_it_has_a_file_of_its_own_and_the_slot_is_free(spool: Spool, tmp_path: Path) -> None:
    entry = commit(spool, b"abc" * 100)
    ejected = slots.eject(tmp_path, entry)
    assert ejected is not None
    assert list(entries(tmp_path)) == [ejected]
    assert is_whole(ejected.path)
    assert ejected.name.split("-")[0] == entry.name.split("-")[0]
    assert ejected.path.stat().st_mtime_ns == pytest.approx(entry.path.stat().st_mtime_ns, abs=10**9)
    assert waiting(tmp_path) == []
    assert commit(spool).path == entry.path


def test_one_that_moves_while_it_is_looked_for_is_not_missed(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Callable[[], int]] = [
        lambda: len(list(slots.all_waiting(tmp_path, "central"))),
        lambda: usage.waiting(tmp_path, "central").instances,
    ]
    for count, look in enumerate(looks, 1):
        entry = commit(spool)
        real = os.listdir

        def listdir(folder: Path, entry: SpoolEntry = entry, real: Callable[[Path], list[str]] = real) -> list[str]:
            names = real(folder)
            if folder == entry.path.parent:
                assert slots.eject(tmp_path, entry) is not None
            return names

        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", listdir)
            assert look() == count


def test_the_oldest_lies_in_a_slot_or_in_new(spool: Spool, tmp_path: Path) -> None:
    assert slots.oldest_ns(tmp_path, "central") is None
    first, second = commit(spool), commit(spool)
    assert slots.oldest_ns(tmp_path, "central") == int(first.slot, 16)
    slots.eject(tmp_path, first)
    assert slots.oldest_ns(tmp_path, "central") == int(first.slot, 16)
    clear(second)
    third = commit(spool)
    (tmp_path / "central" / "new" / next(iter(entries(tmp_path))).name).unlink()
    assert slots.oldest_ns(tmp_path, "central") == int(third.slot, 16)


def test_what_is_given_up_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    entry = commit(spool)
    clear(entry)
    file = begin(spool, b"secret" * 100)
    assert Path(file.path) == entry.path
    file.discard()
    assert not entry.path.exists()
    assert commit(spool).path != entry.path


def test_set_aside_it_is_a_file_of_the_right_length(spool: Spool) -> None:
    clear(commit(spool, b"x" * 10_000))
    path = begin(spool, b"short").set_aside()
    assert is_whole(path)
    assert path.read_bytes().endswith(b"short")
    assert commit(spool).path != path


def test_a_long_instance_keeps_its_file(spool: Spool, tmp_path: Path) -> None:
    clear(commit(spool))
    entry = commit(spool, b"x" * (SLOT_MAX + 1))
    assert list(entries(tmp_path)) == [entry]
    assert is_whole(entry.path)


def test_when_slots_have_taken_their_share_instances_get_files(make: Callable[..., Spool], tmp_path: Path) -> None:
    spool = make(slot_bytes=3000)
    slotted = [commit(spool, b"x" * 1500) for _ in range(2)]
    assert waiting(tmp_path) == slotted
    assert [commit(spool)] == list(entries(tmp_path))
    clear(slotted[0])
    assert commit(spool).path == slotted[0].path


def test_closed_it_leaves_what_waits_and_recovery_moves_that_to_new(make: Callable[..., Spool], tmp_path: Path) -> None:
    spool = Spool(tmp_path, "central", slots=SlotBudget(1 << 20))
    clear(commit(spool, b"x" * 5000))
    left, cleared = commit(spool, b"left"), commit(spool, b"gone")
    clear(cleared)
    spool.close()
    assert waiting(tmp_path) == [left]
    assert not cleared.path.exists()
    assert recover(tmp_path).promoted == 1
    (entry,) = entries(tmp_path)
    assert is_whole(entry.path)
    assert entry.path.read_bytes().endswith(b"left")
    assert list(tmp_path.glob("central/tmp/*")) == []


def test_its_name_leads_back_to_it(spool: Spool, tmp_path: Path) -> None:
    entry = commit(spool)
    assert entry_named(tmp_path, "central", entry.name) == entry


@pytest.mark.parametrize("name", ["0" * 16 + "-" + "a" * 16 + "-../x", "0" * 16 + "-" + "a" * 15 + "-1", "x-y-1"])
def test_no_other_name_does(name: str, tmp_path: Path) -> None:
    assert entry_named(tmp_path, "central", name) is None


def test_recovery_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "central", slots=SlotBudget(1 << 20))
    commit(spool, b"left")
    spool.close()

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert recover(tmp_path).promoted == 1
    (entry,) = entries(tmp_path)
    assert is_whole(entry.path)
    assert list(tmp_path.glob("central/tmp/*")) == []
