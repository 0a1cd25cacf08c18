"""The spool: the durable intake of one facility, `spool/<slug>/{tmp,new}/`.

Takes a data set in pieces as they come over the wire. Promises that `commit` returns only when the instance survives a
power cut (`durability: strict`). Refuses to begin, or to go on, when the disk is below its reserve.

How a commit is durable with one sync. Files are created ahead, some at a time, in this process's own folder below
`tmp`, and that folder is synced: their names are durable before anything is written. An instance is written into one
of them; at the end its digest and length are put into its own file meta (the commit record) and the file is synced:
that is the commit point. The rename into `new` needs no sync of its own: after a power cut the file is found under
either name, and `recover` moves what is whole by its record into `new`. What is torn was never acknowledged.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
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

AHEAD_MAX = 32  # files that are created at once; begins with one and doubles
LOCK = "lock"  # held by the process whose folder it is
SUFFIX = ".dcm"
_RESERVE_CHECK_BYTES = 16 << 20  # while one instance is written, free space is looked at again after so many bytes
_numbers = itertools.count()


class SpoolFullError(StorageError):
    """Out of resources (PS3.4 §B.2.3, status A700): reserve, quota or a write error."""


@dataclass(frozen=True)
class SpoolEntry:
    """One committed instance that waits to be filed."""

    slug: str
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


class Spool:
    """One facility's folders, for one process. Safe for several threads. Creates, durably, what is missing."""

    def __init__(self, root: Path, slug: str, *, strict: bool = True, reserve_bytes: int = 0) -> None:
        self.slug = slug
        self.strict = strict
        self._reserve = reserve_bytes
        self._lock = threading.Lock()
        self._ready: list[Path] = []  # created ahead; their names are durable
        self._next_batch = 1
        self.new = root / slug / "new"
        tmp = root / slug / "tmp"
        for folder in (root / slug, self.new, tmp):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(folder.parent)
        self._own, self._own_lock = _make_own(tmp)
        self._own_descriptor = os.open(self._own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def receive(
        self, sop_class: bytes, sop_instance: bytes, transfer_syntax: str, origin: Origin, flags: tuple[str, ...] = ()
    ) -> "SpoolFile":
        """Begin one instance.

        Raises
        ------
        SpoolFullError
            Free space is below the reserve, or the file cannot be made.
        """
        self.check_reserve()
        head = filemeta.encode(sop_class, sop_instance, transfer_syntax, origin, flags)
        with out_of_resources():
            path = self._take()
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return SpoolFile(self, path, descriptor, head)

    def _take(self) -> Path:
        """A file created ahead; none left: the next batch of them, under one sync of their folder."""
        with self._lock:
            if not self._ready:
                for _ in range(self._next_batch):
                    path = self._own / f"{next(_numbers):x}{SUFFIX}"
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                    self._ready.append(path)
                if self.strict:
                    os.fsync(self._own_descriptor)
                self._next_batch = min(2 * self._next_batch, AHEAD_MAX)
            return self._ready.pop()

    def check_reserve(self, more: int = 0) -> None:
        """Raise `SpoolFullError` when `more` bytes would go below the reserve."""
        status = os.fstatvfs(self._own_descriptor)
        free = status.f_bavail * status.f_frsize
        if free - more < self._reserve:
            raise SpoolFullError(
                f"free space is {free >> 20} MiB, below the reserve of {self._reserve >> 20} MiB "
                "(storage.reserve_bytes)"
            )

    def close(self) -> None:
        """Give back what is held. What was being received and is not committed is left to `recover`."""
        for path in self._ready:
            with contextlib.suppress(OSError):
                path.unlink()
        with contextlib.suppress(OSError):
            (self._own / LOCK).unlink()
            self._own.rmdir()
        os.close(self._own_descriptor)
        os.close(self._own_lock)


def _make_own(tmp: Path) -> tuple[Path, int]:
    """A new folder of this process's own, and the descriptor that holds its lock.

    It gets its name only when the lock is held: `recover` never meets a folder of the living without one.
    """
    token = secrets.token_hex(8)
    hidden, own = tmp / f".{token}", tmp / token
    hidden.mkdir(mode=0o700)
    lock = os.open(hidden / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    hidden.rename(own)
    sync_folder(tmp)
    return own, lock


class SpoolFile:
    """One instance being received. Ends by exactly one of `commit`, `set_aside` or `discard`."""

    def __init__(self, spool: Spool, path: Path, descriptor: int, head: filemeta.Head) -> None:
        self._spool = spool
        self._head = head
        self.path = path
        self.descriptor = descriptor
        self.dataset_start = len(head.encoded)
        self.size = 0  # bytes of the file
        self._unchecked = 0
        self._digest = hashlib.sha256()
        with self._resources():
            self._write_all(head.encoded)

    @property
    def sha256(self) -> str:
        """Hex digest of the data set so far."""
        return self._digest.hexdigest()

    def write(self, fragment: bytes | memoryview) -> None:
        """Append a piece of the data set.

        Raises
        ------
        SpoolFullError
            The disk is full or failing; what was written is gone.
        """
        self._unchecked += len(fragment)
        with self._resources():
            if self._unchecked >= _RESERVE_CHECK_BYTES:
                self._unchecked = 0
                self._spool.check_reserve(len(fragment))
            self._write_all(fragment)
        self._digest.update(fragment)

    def _write_all(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self.size += len(view)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def commit(self) -> SpoolEntry:
        """The commit point: when this returns the instance may be acknowledged."""
        target = self._spool.new / _entry_name(time.time_ns())
        with self._resources():
            self._seal(sync=self._spool.strict)
            os.rename(self.path, target)
        return SpoolEntry(self._spool.slug, target)

    def set_aside(self) -> Path:
        """Make the file durable where it is, for the quarantine to take."""
        with self._resources():
            self._seal(sync=True)
        return self.path

    def _seal(self, *, sync: bool) -> None:
        record = filemeta.Record(self.sha256, self.size - self.dataset_start)
        os.pwrite(self.descriptor, self._head.record(record), self._head.record_at)
        if sync:
            os.fdatasync(self.descriptor)
        self._close()

    def discard(self) -> None:
        """Remove what was written. Never raises."""
        self._close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    @contextlib.contextmanager
    def _resources(self) -> Iterator[None]:
        try:
            with out_of_resources():
                yield
        except SpoolFullError:
            self.discard()
            raise


@contextlib.contextmanager
def out_of_resources() -> Iterator[None]:
    """Turn what the file system says into `SpoolFullError`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise SpoolFullError(
            "the disk is full" if full else f"the spool cannot be written: {error.strerror}"
        ) from error


def _entry_name(nanoseconds: int) -> str:
    """Names sort by the time of arrival and never repeat."""
    return f"{nanoseconds:016x}-{os.getpid():x}-{next(_numbers):x}{SUFFIX}"


def entries(root: Path) -> Iterator[SpoolEntry]:
    """Every committed instance of every facility, oldest first within each."""
    for folder in sorted(root.glob("*/new")):
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(folder)):
                if name.endswith(SUFFIX):
                    yield SpoolEntry(folder.parent.name, folder / name)


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
    for own in root.glob("*/tmp/*"):
        if own.name.startswith("."):  # being made
            continue
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _abandoned(own) as abandoned:
            if not abandoned:
                continue
            for path in sorted(own.glob(f"*{SUFFIX}")):
                if is_whole(path):
                    path.rename(own.parent.parent / "new" / _entry_name(path.stat().st_mtime_ns))
                    promoted += 1
                else:
                    path.unlink()
                    removed += 1
            (own / LOCK).unlink(missing_ok=True)
            own.rmdir()
    return Recovered(promoted, removed)


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
    with path.open("rb") as file:
        try:
            meta = filemeta.read(file.fileno())
        except StorageError:
            return False
        if meta.record is None:
            return False
        file.seek(meta.dataset_start)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest == meta.record.sha256 and file.tell() - meta.dataset_start == meta.record.length


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
