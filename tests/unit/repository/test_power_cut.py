"""The commit survives a power cut: after every call every state that a disk may be in is made, and recovered from.

What runs is `Spool`, and the archive's side of filing as far as it concerns files; `tests.powercut` has the model.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from noctis.repository import archive as archive_module
from noctis.repository import filemeta, slots, spool_entries, spool_file
from noctis.repository import spool as spool_module
from noctis.repository.archive import Archive, Placing
from noctis.repository.filemeta import Origin
from noctis.repository.slots import SlotBudget
from noctis.repository.spool import Spool, SpoolEntry, SpoolFile, is_whole, recover
from tests.powercut import Disk, Recorder
from tests.powercut_search import Search
from tests.spooling import entries

SLOTS = 1 << 20  # bytes
# No two alike in any sector, none as long as the one before it, and one that has no data set.
DATA = [bytes([number]) * 700 + bytes(range(256)) * (2 + number % 3) for number in range(1, 7)] + [b""]
# SOP Instance UID, data set. A UID so long that the commit record is in another sector than it.
INSTANCES = [(f"1.2.{number}{'0' * 60}", data) for number, data in enumerate(DATA, 1)]
CLASS, SYNTAX, ORIGIN = b"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", Origin("A", "B", "::1", 11112)


class House:
    """One facility's spool and the archive, on a disk whose power is cut after every call."""

    def __init__(self, root: Path, recorder: Recorder, slot_bytes: int) -> None:
        (root / "archive").mkdir(parents=True)
        self.recorder = recorder
        self.search = Search(recorder, root, self._recover, INSTANCES, part=part)
        self.spool = Spool(root / "spool", "central", slots=SlotBudget(slot_bytes))
        self.archive = Archive(root / "archive", "flat")
        self.entries: list[SpoolEntry] = []

    def begin(self, number: int) -> SpoolFile:
        file = self.spool.receive(CLASS, INSTANCES[number][0].encode(), SYNTAX, ORIGIN)
        for piece in (DATA[number][:600], DATA[number][600:601], DATA[number][601:]):
            if piece:
                file.write(piece)
        return file

    def end(self, number: int, file: SpoolFile) -> None:
        self.entries.append(file.commit())
        self.search.acknowledge(INSTANCES[number])

    def receive(self, number: int) -> None:
        self.end(number, self.begin(number))

    def file(self) -> None:
        """What the archiver does with a batch, but for the index."""
        placing = Placing(self.archive)
        metas = []
        for entry in self.entries:
            meta = slots.look(entry.path)
            assert meta is not None
            metas.append(meta)
            relative = self.archive.relative("central", "1", "1", meta.sop_instance_uid)
            if entry.slot:
                placing.copy(relative, copier(entry, meta))
            else:
                placing.put(entry.path, relative, lambda path: pytest.fail(f"{path} is in the way"))
        placing.sync()
        for entry, meta in zip(self.entries, metas, strict=True):
            if entry.slot:
                slots.clear(entry, meta)
            else:
                self.recorder.unlink(entry.path)
        self.entries.clear()

    @staticmethod
    def _recover(root: Path) -> list[tuple[str, bytes]]:
        """What is there when the machine has started again."""
        for own in root.glob("spool/*/tmp/*"):
            (own / "lock").touch()
        recover(root / "spool")
        assert list(root.glob("spool/*/tmp/*")) == []
        found = [entry.path for entry in entries(root / "spool")]
        assert all(is_whole(path) for path in found)
        filed = [path for path in root.glob("archive/central/*") if is_whole(path)]
        return [instance(path) for path in [*found, *filed]]


def part(path: Path) -> str:
    """The folders of processes are recovered as one; each file of the archive and of `new` is looked at by itself."""
    return "" if path.parts[2] == "tmp" else str(path)


def copier(entry: SpoolEntry, meta: filemeta.FileMeta) -> Callable[[int], None]:
    return lambda target: slots.copy(entry.path, entry.slot, meta, target)


def instance(path: Path) -> tuple[str, bytes]:
    with path.open("rb") as file:
        meta = filemeta.read(file.fileno())
    return meta.sop_instance_uid, path.read_bytes()[meta.dataset_start :]


@pytest.fixture(params=[False, True], ids=["posix", "half-renames"])
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Recorder:
    """On a disk that keeps what POSIX promises, and on one that may leave half of a rename."""
    recorder = Recorder(Disk(renames_in_halves=request.param), tmp_path / "disk", lambda path: path.name != "lock")
    for module in (spool_module, spool_file, spool_entries, slots, archive_module):
        monkeypatch.setattr(module, "os", recorder)
    monkeypatch.setattr(archive_module, "sync_file_system", recorder.syncfs)
    return recorder


@pytest.fixture(params=[0, SLOTS], ids=["files", "slots"])
def house(recorder: Recorder, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    made = House(tmp_path / "disk", recorder, request.param)
    yield made
    made.search.close()


def live(house: House) -> None:
    """Seven instances: alone, one inside another, one given up, filed twice meanwhile; slots are used again."""
    house.receive(0)
    first, second = house.begin(1), house.begin(2)
    house.end(2, second)
    house.file()
    house.end(1, first)
    house.receive(3)
    house.begin(4).discard()
    house.file()
    house.receive(4)
    house.receive(5)
    house.receive(6)
    house.file()


def test_after_a_cut_at_any_step_what_was_acknowledged_is_whole_and_nothing_is_torn(house: House) -> None:
    live(house)
    assert house.search.losses[:3] == []
    assert house.search.acknowledged == set(INSTANCES)
    assert house.search.states > 300


@pytest.mark.parametrize("all_at_once", [False, True])
def test_copies_are_durable_however_they_are_synced(
    all_at_once: bool, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_SYNC_ALL_FROM", 1 if all_at_once else 1000)
    house = House(tmp_path / "disk", recorder, SLOTS)
    live(house)
    house.search.close()
    assert house.search.losses[:3] == []
    assert ("syncfs" in recorder.calls) is all_at_once


@pytest.mark.parametrize("left_out", ["fdatasync file", "fsync folder", "fsync file"])
def test_the_search_finds_what_a_sync_is_for(left_out: str, recorder: Recorder, tmp_path: Path) -> None:
    """Without the commit's, that of the names created ahead, or the copy's."""
    house = House(tmp_path / "disk", recorder, SLOTS)
    own = house.spool._own.name
    recorder.ignored.add(f"{left_out} {own}" if left_out == "fsync folder" else left_out)
    live(house)
    house.search.close()
    assert house.search.losses


def test_a_slot_that_is_cleared_before_its_copy_is_durable_is_a_loss(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "disk", recorder, SLOTS)
    monkeypatch.setattr(Placing, "sync", lambda placing: placing._name_copies())
    recorder.ignored |= {"syncfs", "fsync file"}
    live(house)
    house.search.close()
    assert house.search.losses


def test_the_living_are_left_alone_and_the_dead_cleared_away(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    living = Spool(root, "central")
    file = living.receive(b"1.2", b"1.2.3", "1.2.840.10008.1.2", Origin())
    file.write(b"half")
    child = os.fork()
    if child == 0:
        dead = Spool(root, "central")
        for _ in range(3):
            dead.receive(b"1.2", b"1.2.4", "1.2.840.10008.1.2", Origin()).write(b"half")
        os._exit(0)
    os.waitpid(child, 0)
    found = recover(root)
    assert found.promoted == 0
    assert found.removed >= 3
    assert len(list(root.glob("*/tmp/*"))) == 1
    entry = file.commit()
    assert is_whole(entry.path)
    living.close()
    assert list(root.glob("*/tmp/*")) == []
