"""The commit survives a power cut: every state that a disk may be in after one is made, and recovery is run on it.

The disk is modelled by what POSIX promises and no more: a name is durable once its folder was synced, bytes once the
file was synced; a rename happens wholly or not at all; anything else written since may be there, be lost, or be there
in part. The model records what `Spool` really asks of the file system, call by call.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from noctis.repository import spool as spool_module
from noctis.repository.filemeta import Origin
from noctis.repository.spool import Spool, entries, is_whole, recover

DATA = bytes(range(256)) * 40  # the data set, written in pieces
PIECES = (DATA[:3000], DATA[3000:3001], DATA[3001:])


@dataclass
class File:
    """One file as it is in memory (`now`) and as far as the disk must have it (`durable`)."""

    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass
class Disk:
    """What was asked of the file system, as the states a power cut may leave."""

    files: dict[int, File] = field(default_factory=dict)  # by inode
    names: dict[Path, int] = field(default_factory=dict)  # in memory
    durable_names: dict[Path, int] = field(default_factory=dict)
    renames: list[tuple[Path, Path]] = field(default_factory=list)  # since the last sync of either folder

    def states(self) -> Iterator[dict[Path, bytes]]:
        """Every combination of name and content that may be found after a cut now."""
        for done in range(len(self.renames) + 1):
            names = dict(self.durable_names)
            for source, target in self.renames[:done]:
                if source in names:
                    names[target] = names.pop(source)
            choices = [[(path, content) for content in self._contents(inode)] for path, inode in names.items()]
            for combination in itertools.product(*choices):
                yield dict(combination)

    def _contents(self, inode: int) -> list[bytes]:
        file = self.files[inode]
        now, durable = bytes(file.now), file.durable
        if now == durable:
            return [now]
        torn = now[: len(now) // 2] + bytes(len(now) - len(now) // 2)  # the size is there, the second half is not
        return [durable, now, now[: len(now) // 2], torn, bytes(len(now))]


class Recorder:
    """Stands between the spool and `os`: does what is asked, for real, and records it on the model."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        inode = os.fstat(descriptor).st_ino
        if flags & os.O_CREAT and str(path).endswith(".dcm"):
            self._disk.files[inode] = File()
            self._disk.names[Path(path)] = inode
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        count = os.write(descriptor, data)
        self._disk.files[os.fstat(descriptor).st_ino].now += bytes(data[:count])
        return count

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        count = os.pwrite(descriptor, data, offset)
        self._disk.files[os.fstat(descriptor).st_ino].now[offset : offset + count] = data[:count]
        return count

    def fdatasync(self, descriptor: int) -> None:
        file = self._disk.files[os.fstat(descriptor).st_ino]
        file.durable = bytes(file.now)

    def fsync(self, descriptor: int) -> None:
        folder = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        disk = self._disk
        disk.durable_names |= {path: inode for path, inode in disk.names.items() if path.parent == folder}

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)
        self._disk.names[target] = self._disk.names.pop(source)
        self._disk.renames.append((source, target))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(spool_module, "os", Recorder(disk))
    return disk


@contextmanager
def after_a_cut(state: dict[Path, bytes], root: Path, scratch: Path) -> Iterator[Path]:
    """The spool as it may be found when the machine starts again."""
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in (path for path in root.rglob("*") if path.is_dir() and not path.name.startswith(".")):
        (scratch / folder.relative_to(root)).mkdir(parents=True)
    for own in scratch.glob("*/tmp/*"):
        (own / "lock").touch()
    for path, content in state.items():
        (scratch / path.relative_to(root)).write_bytes(content)
    yield scratch


def receive(spool: Spool, pieces: tuple[bytes, ...] = PIECES) -> Iterator[str]:
    """One instance, step by step: "writing" after each call, "acknowledged" when commit has returned."""
    file = spool.receive(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3", "1.2.840.10008.1.2.1", Origin("A", "B", "::1", 11112))
    yield "writing"
    for piece in pieces:
        file.write(piece)
        yield "writing"
    file.commit()
    yield "acknowledged"


def test_after_a_cut_at_any_step_what_was_acknowledged_is_whole_and_nothing_is_torn(disk: Disk, tmp_path: Path) -> None:
    root, scratch = tmp_path / "spool", tmp_path / "scratch"
    spool = Spool(root, "central")
    acknowledged = seen = 0
    for _ in range(3):  # the third one is written into a file created with others ahead
        for step in receive(spool):
            acknowledged += step == "acknowledged"
            for state in disk.states():
                seen += 1
                with after_a_cut(state, root, scratch):
                    recover(scratch)
                    whole = list(entries(scratch))
                    assert len(whole) >= acknowledged
                    for entry in whole:
                        assert is_whole(entry.path)
                        assert entry.path.read_bytes().endswith(DATA)
                    assert list(scratch.glob("*/tmp/*")) == []
    assert acknowledged == 3
    assert seen > 100


def test_the_model_can_fail(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sync of the file the same search finds a lost instance."""
    monkeypatch.setattr(Recorder, "fdatasync", lambda *_: None)
    root, scratch = tmp_path / "spool", tmp_path / "scratch"
    for _ in receive(Spool(root, "central")):
        pass
    counts = set()
    for state in disk.states():
        with after_a_cut(state, root, scratch):
            recover(scratch)
            counts.add(len([entry for entry in entries(scratch) if is_whole(entry.path)]))
    assert counts == {0, 1}


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
