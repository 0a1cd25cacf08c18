"""Slots: spool files that are used again, for the commonest instances at the lowest cost of a commit.

A file whose blocks are written and allocated is made durable again by its data alone: no journal of the file system
is waited for, no name is made or changed, no memory is taken. So a listener keeps some files of its own folder and
writes one instance over another. Promises: an instance stays in its slot until the archiver has a durable copy in the
archive, has committed its row and has cleared the slot; only then another may be written over it.

A slot is committed when its commit record, stamped with the time of arrival, and its data set are on disk. It is
cleared by blanking the record; that need not be durable, as an instance that is found again is a duplicate. A slot
of a process that has ended is like any other file of its folder: `spool.recover` moves it into `new` when it is whole.
With no slot free (the archiver is away, or slower) instances go into files of their own, as large ones always do.
"""

import contextlib
import errno
import fcntl
import heapq
import mmap
import os
import threading
from collections import deque
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.filemeta import PRIVATE_BYTES
from noctis.repository.spool_entries import SUFFIX, SpoolEntry, arrived_ns, entry_name, names_in_new, sync_folder

SLOT_MAX = 4 << 20  # bytes: a longer instance keeps its file, as the sync is then a small part of its cost
SLOTS_MAX = 512  # of one process: each is an open file
_BLANK = b" " * PRIVATE_BYTES
UNFINISHED = ".tmp"  # suffix, in `new`
_TRIES = 4  # slots that are looked at for one that has been cleared
_BLOCK = 4096  # bytes: what direct writing is aligned to, on every file system that is usual
_DIRECT_FROM = 256 << 10  # bytes


class Slot:
    """One file, open as long as it is used again."""

    __slots__ = ("descriptor", "path", "record_at", "size")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size = 0  # the longest instance it has held: so much of it is allocated
        self.record_at = 0


class SlotBudget:
    """What all slots of one process may take together: one listener may serve many facilities."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._slots = self._bytes = 0

    @property
    def has_room(self) -> bool:
        return self._bytes < self._limit and self._slots < SLOTS_MAX

    def take(self, slots: int, size: int) -> None:
        """Count so many slots and bytes more; fewer, where they are negative."""
        with self._lock:
            self._slots += slots
            self._bytes += size


class Slots:
    """One process's slots of one facility. Safe for several threads."""

    def __init__(self, budget: SlotBudget) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._free: list[Slot] = []
        self._committed: deque[Slot] = deque()  # in order of arrival

    def take(self) -> Slot | None:
        """A slot that may be written over; None when there is none."""
        with self._lock:
            if not self._free:
                self._collect()
            return self._free.pop() if self._free else None

    def _collect(self) -> None:
        """Move what the archiver has cleared to the free ones."""
        for _ in range(_TRIES):
            try:
                slot = self._committed.popleft()
            except IndexError:
                return
            if os.pread(slot.descriptor, 1, slot.record_at) == _BLANK[:1]:
                self._free.append(slot)
                continue
            if self._free:
                self._committed.appendleft(slot)
                return
            self._committed.append(slot)  # one that is held up does not hold up the others

    def add(self, path: str, descriptor: int) -> Slot | None:
        """Make an open file a slot, which is taken; None when there are as many as there may be."""
        if not self._budget.has_room:
            return None
        self._budget.take(1, 0)
        return Slot(path, descriptor)

    def committed(self, slot: Slot, record_at: int, size: int) -> None:
        """Its instance may be filed; until it is cleared the slot is not taken."""
        slot.record_at = record_at
        if size > slot.size:
            self._budget.take(0, size - slot.size)
            slot.size = size
        with self._lock:
            self._committed.append(slot)

    def leave(self, slot: Slot) -> None:
        """It is no slot any more but a file of its own; its descriptor is the caller's."""
        self._budget.take(-1, -slot.size)

    def close(self) -> None:
        """Remove those that hold nothing; what is committed is left to the archiver, what is taken to who has it."""
        with self._lock:
            for slot in (*self._free, *self._committed):
                with contextlib.suppress(OSError):
                    if os.pread(slot.descriptor, 1, slot.record_at) == _BLANK[:1]:
                        os.unlink(slot.path)
                os.close(slot.descriptor)
                self._budget.take(-1, -slot.size)
            self._free.clear()
            self._committed.clear()


# -- the archiver's side


def waiting(root: Path, slug: str) -> Iterator[SpoolEntry]:
    """The committed instances in the slots of one facility's listeners, in no order."""
    return (SpoolEntry(slug, path, stamp) for path, stamp, _ in held(root, slug))


def held(root: Path, slug: str) -> Iterator[tuple[Path, str, int]]:
    """Of each of these its slot, its stamp, and the bytes of its file, were it in one of its own.

    Who wants those in `new` as well looks there afterwards: an instance may move from its slot to `new`, never back.
    """
    for folder in (root / slug / "tmp").glob("*"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith(SUFFIX):
                path = folder / name
                meta = look(path)
                if meta is not None and meta.record is not None and meta.record.stamp:
                    yield path, meta.record.stamp, meta.committed_bytes


def all_waiting(root: Path, slug: str) -> Iterator[SpoolEntry]:
    """The committed instances of one facility that are not filed yet, wherever they lie, oldest first.

    One that moves meanwhile may be met twice, and is never missed.
    """
    in_slots = sorted(waiting(root, slug), key=_name)
    own = (SpoolEntry(slug, root / slug / "new" / name) for name in names_in_new(root, slug))
    return heapq.merge(own, in_slots, key=_name)


def oldest_ns(root: Path, slug: str) -> int | None:
    """When the oldest of them came (ns since the epoch); None when none waits."""
    first = next(all_waiting(root, slug), None)
    return None if first is None else arrived_ns(first.name)


def everything_waiting(root: Path) -> Iterator[SpoolEntry]:
    """The same of every facility."""
    for folder in sorted(root.glob("*/new")):
        yield from all_waiting(root, folder.parent.name)


_name = attrgetter("name")


def look(path: Path) -> filemeta.FileMeta | None:
    """What a file below `tmp` says of itself, if anything."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return filemeta.read(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, StorageError):
        return None


def _stamped(stamp: str) -> bytes:
    """How a record says it."""
    return f',"stamp":"{stamp}"'.encode()


def clear(entry: SpoolEntry, meta: filemeta.FileMeta) -> None:
    """Let the slot be used again: its instance is filed. One that holds another instance by now is left alone.

    Raises
    ------
    OSError
        It cannot be written; the instance will be met again, as a duplicate.
    """
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # two who clear the same one
            at = meta.dataset_start - PRIVATE_BYTES
            if _stamped(entry.slot) in os.pread(descriptor, PRIVATE_BYTES, at):
                os.pwrite(descriptor, _BLANK, at)
        finally:
            os.close(descriptor)


def eject(root: Path, entry: SpoolEntry) -> SpoolEntry | None:
    """Give the instance in a slot a file of its own in `new`, durably, and let the slot be used again.

    None when the slot does not hold it any more. Done again after a crash it makes a second one, a duplicate.
    """
    meta = look(entry.path)
    if meta is None or meta.record is None or meta.record.stamp != entry.slot:
        return None
    folder = root / entry.slug / "new"
    target = folder / entry_name(arrived_ns(entry.slot))
    temporary = target.with_suffix(UNFINISHED)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy(entry.path, entry.slot, meta, descriptor)
        os.fsync(descriptor)
        os.rename(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, SlotGoneError):
            return None
        raise
    finally:
        os.close(descriptor)
    sync_folder(folder)
    clear(entry, meta)
    return SpoolEntry(entry.slug, target)


class SlotGoneError(StorageError):
    """The slot holds another instance by now, or none: this one was filed by somebody else."""


def copy(slot: Path, stamp: str, meta: filemeta.FileMeta, target: int) -> None:
    """Copy the instance of this stamp from its slot to an open, empty file, which is as if it had never been in one.

    The time of modification goes with it.

    Past the page cache where that can be: what is archived is not read again soon, and the memory that it would take
    costs more than the copy. Small ones are cheaper through it.
    """
    assert meta.record is not None
    size = meta.committed_bytes  # at most SLOT_MAX
    record_at = meta.dataset_start - PRIVATE_BYTES
    with _buffers.lend() as buffer:
        source = os.open(slot, os.O_RDONLY | os.O_CLOEXEC)
        try:
            modified_ns = os.fstat(source).st_mtime_ns
            if os.preadv(source, [buffer[:size]], 0) != size:
                raise StorageError("a slot ends early")
        finally:
            os.close(source)
        record = bytes(buffer[record_at : meta.dataset_start])
        if _stamped(stamp) not in record:
            raise SlotGoneError(f"the slot {slot.name} holds another instance")
        buffer[record_at : meta.dataset_start] = record.replace(_stamped(stamp), b"").ljust(PRIVATE_BYTES)
        done = _write_directly(target, buffer, size // _BLOCK * _BLOCK) if size >= _DIRECT_FROM else 0
        while done < size:
            done += os.pwrite(target, buffer[done:size], done)
    os.utime(target, ns=(modified_ns, modified_ns))


def _write_directly(target: int, buffer: memoryview, size: int) -> int:
    """Write whole blocks past the page cache; how many bytes were written: 0 where the file system cannot do that."""
    flags = fcntl.fcntl(target, fcntl.F_GETFL)
    try:
        fcntl.fcntl(target, fcntl.F_SETFL, flags | os.O_DIRECT)
        return os.pwrite(target, buffer[:size], 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0
    finally:
        fcntl.fcntl(target, fcntl.F_SETFL, flags)


class _Buffers:
    """Buffers of `SLOT_MAX` bytes that begin at a page, as direct writing wants them, for as many threads as ask."""

    def __init__(self) -> None:
        self._idle: list[memoryview] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[memoryview]:
        try:
            buffer = self._idle.pop()
        except IndexError:
            buffer = memoryview(mmap.mmap(-1, SLOT_MAX))
        try:
            yield buffer
        finally:
            self._idle.append(buffer)


_buffers = _Buffers()
