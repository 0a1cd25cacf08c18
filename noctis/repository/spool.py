"""The spool: the durable intake of one facility, `spool/<slug>/{tmp,new}/`.

Takes a data set in pieces as they come over the wire. Promises that `commit` returns only when the instance survives a
power cut (`durability: strict`). Refuses to begin, or to go on, when the disk is below its reserve.

How a commit is durable with one sync. Files are created ahead, some at a time, in this process's own folder below
`tmp`, and that folder is synced: their names are durable before anything is written. An instance is written into one
of them; at the end its digest and length are put into its own file meta (the commit record) and the file is synced:
that is the commit point. Then either the file stays where it is, to be used again once it was filed (`slots`), or it
gets a second name in `new`, which needs no sync of its own: the first one is removed only when `new` was synced, before
the next files are created ahead. After a power cut the file is found under either name, and `recover` moves what is
whole by its record into `new`. What is torn was never acknowledged. (A rename would do where a journal keeps its two
halves together; ext4 without one does not.)
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.filemeta import Origin
from noctis.repository.room import free_bytes
from noctis.repository.slots import UNFINISHED, Slot, SlotBudget, Slots
from noctis.repository.spool_entries import (
    SUFFIX,
    SpoolEntry,
    entry_name,
    link_or_rename,
    numbers,
    sync_folder,
)
from noctis.repository.spool_file import SpoolFile, SpoolFullError, out_of_resources

__all__ = [
    "SUFFIX",
    "Spool",
    "SpoolEntry",
    "SpoolFile",
    "SpoolFullError",
    "is_whole",
    "recover",
    "sync_folder",
]

AHEAD_MAX = 32  # files that are created at once; begins with one and doubles
LOCK = "lock"  # held by the process whose folder it is
_RESERVE_CHECK_BYTES = 16 << 20  # free space is looked at again when so many bytes were written
_MAKING_SECONDS = 60.0  # that the making of a folder may take
_RESERVE_CHECK_SECONDS = 0.1  # or so much time has passed


class Spool:
    """One facility's folders, for one process. Safe for several threads. Creates, durably, what is missing.

    Parameters
    ----------
    slots
        What its slots take their share of; None: every instance gets a file of its own.
    """

    def __init__(
        self, root: Path, slug: str, *, strict: bool = True, reserve_bytes: int = 0, slots: SlotBudget | None = None
    ) -> None:
        self.slug = slug
        self.strict = strict
        self.slots = Slots(slots or SlotBudget(0))
        self._reserve = reserve_bytes
        self._lock = threading.Lock()
        self._ready: list[str] = []  # created ahead; their names are durable
        self._linked: list[str] = []  # committed, with a name in `new` that may not be durable yet
        self._next_batch = 1
        self._unchecked = 0  # bytes written since free space was looked at
        self._checked_at = 0.0  # monotonic
        self.new = root / slug / "new"
        tmp = root / slug / "tmp"
        for folder in (root / slug, self.new, tmp):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(folder.parent)
        self._own, self._own_lock = _make_own(tmp)
        try:
            self._own_descriptor = os.open(self._own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            os.close(self._own_lock)
            _remove(self._own)
            raise

    def receive(
        self, sop_class: bytes, sop_instance: bytes, transfer_syntax: str, origin: Origin, flags: tuple[str, ...] = ()
    ) -> SpoolFile:
        """Begin one instance.

        Raises
        ------
        SpoolFullError
            Free space is below the reserve, or the file cannot be made.
        """
        if time.monotonic() - self._checked_at > _RESERVE_CHECK_SECONDS:
            self.check_reserve()
        head = filemeta.encode(sop_class, sop_instance, transfer_syntax, origin, flags)
        try:
            path, descriptor, slot = self._take()
        except OSError as error:
            raise out_of_resources(error) from error
        return SpoolFile(self, path, descriptor, head, slot)

    def _take(self) -> tuple[str, int, Slot | None]:
        """A slot, or a file created ahead."""
        with self._lock:
            slot = self.slots.take()
            if slot is not None:
                return slot.path, slot.descriptor, slot
            path = self._take_ahead()
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            return path, descriptor, self.slots.add(path, descriptor)

    def _take_ahead(self) -> str:
        """A file created ahead; none left: the next batch of them, under one sync of their folder."""
        if not self._ready:
            self._forget_linked()
            self._ready = self._create_ahead(self._next_batch)
            self._next_batch = min(2 * self._next_batch, AHEAD_MAX)
        return self._ready.pop()

    def _create_ahead(self, count: int) -> list[str]:
        """So many files with durable names; none stays when that cannot be had."""
        made: list[str] = []
        try:
            for _ in range(count):
                path = f"{self._own}/{next(numbers):x}{SUFFIX}"
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                made.append(path)
            if self.strict:
                os.fsync(self._own_descriptor)
        except OSError:
            for path in made:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            raise
        return made

    def link(self, path: str, target: str) -> None:
        """Give a committed file its name in `new`."""
        with self._lock:
            if link_or_rename(path, target):
                self._linked.append(path)

    def _forget_linked(self) -> None:
        """Remove the first names of what has a durable one in `new`."""
        if self._linked and self.strict:
            sync_folder(self.new)
        while self._linked:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._linked.pop())

    def about_to_write(self, count: int) -> None:
        """Raise `SpoolFullError` when it is time to look at the free space and `count` bytes would be too many."""
        self._unchecked += count
        if self._unchecked >= _RESERVE_CHECK_BYTES:
            self.check_reserve(count)

    def check_reserve(self, more: int = 0) -> None:
        """Raise `SpoolFullError` when `more` bytes would go below the reserve."""
        free = free_bytes(self._own_descriptor)
        if free - more < self._reserve:
            raise SpoolFullError(
                f"free space is {free >> 20} MiB, below the reserve of {self._reserve >> 20} MiB "
                "(storage.reserve_bytes)"
            )
        self._unchecked, self._checked_at = 0, time.monotonic()

    def close(self) -> None:
        """Give back what is held. What was being received and is not committed is left to `recover`."""
        self.slots.close()
        with contextlib.suppress(OSError):
            self._forget_linked()
        for path in self._ready:
            with contextlib.suppress(OSError):
                os.unlink(path)
        _remove(self._own)
        os.close(self._own_descriptor)
        os.close(self._own_lock)


def _make_own(tmp: Path) -> tuple[Path, int]:
    """A new folder of this process's own, and the descriptor that holds its lock.

    It gets its name only when the lock is held: `recover` never meets a folder of the living without one.
    """
    token = secrets.token_hex(8)
    hidden, own = tmp / f".{token}", tmp / token
    hidden.mkdir(mode=0o700)
    lock = -1
    try:
        lock = os.open(hidden / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        hidden.rename(own)
        sync_folder(tmp)
    except OSError:  # every instance tries anew: nothing may pile up
        if lock >= 0:
            os.close(lock)
        for folder in (hidden, own):
            _remove(folder)
        raise
    return own, lock


def _remove(folder: Path) -> None:
    """Remove a folder that holds no more than its lock. Never raises."""
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


@dataclass(frozen=True)
class Recovered:
    """What `recover` found in the folders of dead processes."""

    promoted: int = 0  # whole by their record: now in `new`
    removed: int = 0  # torn or empty: never acknowledged


def recover(root: Path) -> Recovered:
    """Move what dead processes have committed and not renamed into `new`; remove the rest of theirs.

    A process that lives holds the lock of its folder, so nothing of it is touched; this may run at any time.
    """
    promoted = removed = 0
    for path in root.glob(f"*/new/*{UNFINISHED}"):  # the archiver's own: see `slots.eject`
        path.unlink(missing_ok=True)
    for own in root.glob("*/tmp/*"):
        if own.name.startswith("."):  # being made, or its maker was killed
            with contextlib.suppress(FileNotFoundError):
                if time.time() - own.stat().st_mtime > _MAKING_SECONDS:
                    _remove(own)
            continue
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _abandoned(own) as abandoned:
            if not abandoned:
                continue
            whole, torn = [], []
            for path in sorted(own.glob(f"*{SUFFIX}")):
                meta = _whole(path)
                if meta is None:
                    torn.append(path)
                else:
                    _promote(path, own.parent.parent / "new", meta.committed_bytes)
                    whole.append(path)
            if whole:
                sync_folder(own.parent.parent / "new")
            for path in (*whole, *torn):
                path.unlink(missing_ok=True)
            promoted, removed = promoted + len(whole), removed + len(torn)
            (own / LOCK).unlink(missing_ok=True)
            own.rmdir()
    return Recovered(promoted, removed)


def _promote(path: Path, new: Path, size: int) -> None:
    """Give a whole file a name in `new`."""
    modified = path.stat().st_mtime_ns
    if path.stat().st_size != size:  # a slot that has held a longer instance
        os.truncate(path, size)
        os.utime(path, ns=(modified, modified))
    link_or_rename(path, new / entry_name(modified))


@contextlib.contextmanager
def _abandoned(own: Path) -> Iterator[bool]:
    """Whether the process whose folder this is has ended; held so while the block runs."""
    descriptor = os.open(own / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def is_whole(path: Path) -> bool:
    """Whether the file has a commit record and its data set is the one that the record describes."""
    meta = _whole(path)
    return meta is not None and path.stat().st_size == meta.committed_bytes


def _whole(path: Path) -> filemeta.FileMeta | None:
    """What a file says of itself that begins with a whole instance; None if it does not."""
    with path.open("rb") as file:
        try:
            meta = filemeta.read(file.fileno())
        except StorageError:
            return None
        if meta.record is None or digest(file.fileno(), meta.dataset_start, meta.record.length) != meta.record.sha256:
            return None
        return meta


def digest(descriptor: int, start: int, length: int) -> str:
    """SHA-256 (hex) of at most `length` bytes from `start` on of an open file."""
    hashed = hashlib.sha256()
    end = start + length
    while start < end and (piece := os.pread(descriptor, min(1 << 20, end - start), start)):
        hashed.update(piece)
        start += len(piece)
    return hashed.hexdigest()
