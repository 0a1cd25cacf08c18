"""Power cuts: every state that a disk may be in after one, made from what was asked of the file system, call by call.

`Recorder` stands where a module has its `os`, does what is asked for real, and tells `Disk` about it. `Disk` knows what
POSIX promises and no more:

- Bytes are durable once their file was synced. Until then each sector that was written may be old or new, the size may
  be there without the bytes, and of several writes to one place any may be the one that is found.
- A name is durable once its folder was synced. Until then each creation, link, rename and removal may have happened or
  not, in any order. A rename, and only it, happens wholly or not at all.
- While a sync runs nothing of it is sure; what is written during it waits for the next one.

Folders themselves are taken to be durable: whoever makes them syncs them at once.

`tests.powercut_search` looks for a state in which a promise is broken.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512  # bytes: the least that a disk writes as a whole
MOST_TOGETHER = 200  # combinations of several files' contents that are tried in full
MOST_SUBSETS = 4  # changes of names of which every subset is tried


@dataclass
class File:
    """One file: what the disk must have, and each state it has had in memory since."""

    durable: bytes = b""
    versions: list[bytes] = field(default_factory=list)
    last: tuple[int, int] = (0, 0)  # bytes that the last write touched

    @property
    def now(self) -> bytes:
        return self.versions[-1] if self.versions else self.durable

    def contents(self) -> list[bytes]:
        """What may be found: all old, all new, a state between, and mixtures of sectors."""
        old, new = self.durable, self.now
        found = dict.fromkeys([old, *self.versions])
        for version in self.versions[:-1]:
            for sectors in _halves(_changed(version, new)):
                found[_mix(version, new, sectors)] = None
        changed = _changed(old, new)
        record = set(range(self.last[0] // SECTOR, -(-self.last[1] // SECTOR))) & set(changed)
        choices = [*_halves(changed), record, set(changed) - record, set()]
        step = max(1, len(changed) // 8)
        choices += [{sector} for sector in changed[::step]] + [set(changed) - {sector} for sector in changed[::step]]
        for sectors in choices:
            found[_mix(old, new, sectors)] = None
        if len(new) > len(old):
            found[new[: len(old) + (len(new) - len(old)) // 2]] = None
        return list(found)


def _changed(old: bytes, new: bytes) -> list[int]:
    count = -(-max(len(old), len(new)) // SECTOR)
    return [number for number in range(count) if _sector(old, number) != _sector(new, number)]


def _halves(sectors: list[int]) -> tuple[set[int], set[int]]:
    middle = (len(sectors) + 1) // 2
    return set(sectors[:middle]), set(sectors[middle:])


def _sector(content: bytes, number: int) -> bytes:
    return content[number * SECTOR : (number + 1) * SECTOR]


def _mix(old: bytes, new: bytes, sectors: set[int]) -> bytes:
    """A file of the new size, its sectors new where `sectors` says so, else old; zeros where there was nothing."""
    count = -(-len(new) // SECTOR)
    parts = (_sector(new if number in sectors else old, number).ljust(SECTOR, b"\0") for number in range(count))
    return b"".join(parts)[: len(new)]


@dataclass(frozen=True)
class Change:
    """One change of names, whole or not at all: what each path leads to after it (None: nothing)."""

    paths: tuple[tuple[Path, int | None], ...]

    def apply(self, names: dict[Path, int]) -> None:
        for path, file in self.paths:
            if file is None:
                names.pop(path, None)
            else:
                names[path] = file


class Disk:
    """What was asked of the file system, as the states that a power cut may leave.

    Parameters
    ----------
    names_with_file
        What ext4 with a journal does and POSIX does not promise: fsync of a file makes its names durable too.
    renames_in_halves
        What a file system without a journal may do: after a cut, either half of a rename may be there alone.
    """

    def __init__(self, *, names_with_file: bool = False, renames_in_halves: bool = False) -> None:
        self.names_with_file = names_with_file
        self.renames_in_halves = renames_in_halves
        self.files: dict[int, File] = {}
        self.names: dict[Path, int] = {}  # in memory
        self.durable_names: dict[Path, int] = {}
        self.pending: list[Change] = []

    def create(self, path: Path) -> int:
        number = len(self.files)
        self.files[number] = File()
        self.change((path, number))
        return number

    def change(self, *paths: tuple[Path, int | None]) -> None:
        self.pending.append(Change(paths))
        self.pending[-1].apply(self.names)

    def rename(self, source: Path, target: Path, number: int) -> None:
        if self.renames_in_halves:
            self.change((target, number))
            self.change((source, None))
        else:
            self.change((source, None), (target, number))

    def write(self, number: int, data: bytes, at: int) -> None:
        file = self.files[number]
        content = bytearray(file.now.ljust(at, b"\0"))
        content[at : at + len(data)] = data
        file.versions.append(bytes(content))
        file.last = at, at + len(data)

    def truncate(self, number: int, size: int) -> None:
        file = self.files[number]
        file.versions.append(file.now[:size].ljust(size, b"\0"))

    def settle_file(self, number: int, content: bytes) -> None:
        """A sync that began when the file held `content` has ended."""
        file = self.files[number]
        later = file.versions[file.versions.index(content) + 1 :] if content in file.versions else file.versions
        file.durable, file.versions = content, later

    def settle_names(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change in self.pending:
                change.apply(self.durable_names)
                touched = {path for path, _ in change.paths}
                position = self.pending.index(change)
                earlier = [
                    other for other in self.pending[:position] if not touched & {path for path, _ in other.paths}
                ]
                self.pending = earlier + self.pending[position + 1 :]

    def changes_in(self, folder: Path) -> list[Change]:
        return [change for change in self.pending if any(path.parent == folder for path, _ in change.paths)]

    def changes_of(self, number: int) -> list[Change]:
        return [change for change in self.pending if any(file == number for _, file in change.paths)]

    def states(self) -> Iterator[dict[Path, bytes]]:
        """The combinations of names and contents that may be found after a cut now."""
        contents = {number: file.contents() for number, file in self.files.items() if file.versions}
        seen = set()
        for changes in _subsets(self.pending):
            names = dict(self.durable_names)
            for change in changes:
                change.apply(names)
            key = frozenset(names.items())
            if key in seen:
                continue
            seen.add(key)
            numbers = sorted(set(names.values()))
            for chosen in _combinations([contents.get(number) or [self.files[number].durable] for number in numbers]):
                content = dict(zip(numbers, chosen, strict=True))
                yield {path: content[number] for path, number in names.items()}


def _subsets(changes: list[Change]) -> Iterator[list[Change]]:
    count = len(changes)
    if count <= MOST_SUBSETS:
        for kept in range(count + 1):
            yield from (list(some) for some in itertools.combinations(changes, kept))
        return
    for number in range(count):
        yield changes[:number]
        yield [changes[number]]
        yield changes[:number] + changes[number + 1 :]
    yield changes


def _combinations(choices: list[list[bytes]]) -> Iterator[tuple[bytes, ...]]:
    """All of them; where they are too many, each file by itself with the others all old, all new or half and half."""
    count = 1
    for some in choices:
        count *= len(some)
    if count <= MOST_TOGETHER:
        yield from itertools.product(*choices)
        return
    for base in (
        [some[0] for some in choices],
        [some[-1] for some in choices],
        [some[len(some) // 2] for some in choices],
    ):
        yield tuple(base)
        for position, some in enumerate(choices):
            yield from ((*base[:position], content, *base[position + 1 :]) for content in some)


class Recorder:
    """Stands between a module and its `os`.

    Parameters
    ----------
    root
        What is below it is on the disk; all else goes through.
    tracked
        Of the files below `root`, those that are followed.
    """

    def __init__(self, disk: Disk, root: Path, tracked: Callable[[Path], bool] = lambda _: True) -> None:
        self.disk = disk
        self.after: Callable[[str], None] = lambda _: None  # told of each call that changed something
        self.during: Callable[[str], None] = lambda _: None  # called while a sync runs
        self.calls: list[str] = []
        self.ignored: set[str] = set()  # syncs that are answered and not done
        self._root, self._tracked = root, tracked
        self._lock = threading.RLock()
        self._numbers: dict[int, int] = {}  # of the disk, by inode

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def _done(self, call: str) -> None:
        self.calls.append(call)
        self.after(call)

    def _number(self, descriptor: int) -> int | None:
        return self._numbers.get(os.fstat(descriptor).st_ino)

    def _follows(self, path: Path) -> bool:
        return path.is_relative_to(self._root) and self._tracked(path)

    def open(self, path: Path | str, flags: int, mode: int = 0o777) -> int:
        path = Path(path)
        with self._lock:
            new = bool(flags & os.O_CREAT) and not path.exists()
            descriptor = os.open(path, flags, mode)
            if new and self._follows(path):
                self._numbers[os.fstat(descriptor).st_ino] = self.disk.create(path)
                self._done(f"create {path.name}")
            return descriptor

    def pwrite(self, descriptor: int, data: bytes | memoryview, at: int) -> int:
        with self._lock:
            count = os.pwrite(descriptor, data, at)
            if (number := self._number(descriptor)) is not None:
                self.disk.write(number, bytes(data[:count]), at)
                self._done(f"pwrite {count} bytes at {at}")
            return count

    def pwritev(self, descriptor: int, buffers: Sequence[bytes | memoryview], at: int) -> int:
        with self._lock:
            count = os.pwritev(descriptor, buffers, at)
            if (number := self._number(descriptor)) is not None:
                self.disk.write(number, b"".join(buffers)[:count], at)
                self._done(f"pwritev {count} bytes at {at}")
            return count

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        with self._lock:
            at = os.lseek(descriptor, 0, os.SEEK_CUR)
            count = os.write(descriptor, data)
            if (number := self._number(descriptor)) is not None:
                self.disk.write(number, bytes(data[:count]), at)
                self._done(f"write {count} bytes")
            return count

    def ftruncate(self, descriptor: int, size: int) -> None:
        with self._lock:
            os.ftruncate(descriptor, size)
            if (number := self._number(descriptor)) is not None:
                self.disk.truncate(number, size)
                self._done(f"ftruncate to {size}")

    def rename(self, source: Path, target: Path) -> None:
        with self._lock:
            os.rename(source, target)
            if (number := self.disk.names.get(Path(source))) is not None:
                self.disk.rename(Path(source), Path(target), number)
                self._done(f"rename to {target}")

    def link(self, source: Path | str, target: Path) -> None:
        with self._lock:
            os.link(source, target)
            if (number := self.disk.names.get(Path(source))) is not None:
                self.disk.change((Path(target), number))
                self._done(f"link {target}")

    def unlink(self, path: Path | str) -> None:
        with self._lock:
            os.unlink(path)
            if Path(path) in self.disk.names:
                self.disk.change((Path(path), None))
                self._done(f"unlink {path}")

    def fdatasync(self, descriptor: int) -> None:
        self._sync("fdatasync", descriptor)

    def fsync(self, descriptor: int) -> None:
        self._sync("fsync", descriptor)

    def _sync(self, call: str, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not path.is_relative_to(self._root):
            return
        call = f"{call} folder {path.name}" if path.is_dir() else f"{call} file"
        with self._lock:
            number = self._number(descriptor)
            if number is None:
                files, changes = {}, self.disk.changes_in(path)
            else:
                files = {number: self.disk.files[number].now}
                changes = self.disk.changes_of(number) if self.disk.names_with_file and "fsync" in call else []
        self._settle(call, files, changes)

    def syncfs(self, _: int) -> None:
        """As Linux promises: all that was asked before it."""
        with self._lock:
            files = {number: file.now for number, file in self.disk.files.items()}
            changes = list(self.disk.pending)
        self._settle("syncfs", files, changes)

    def _settle(self, call: str, files: dict[int, bytes], changes: list[Change]) -> None:
        self.during(call)
        with self._lock:
            if call not in self.ignored:
                for number, content in files.items():
                    self.disk.settle_file(number, content)
                self.disk.settle_names(changes)
            self._done(call)
