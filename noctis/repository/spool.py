"""The spool: the durable intake of one facility, `spool/<slug>/{tmp,new}/`.

Takes a data set in pieces as they come over the wire. Promises that `commit` returns only when the instance survives
a power cut (`durability: strict`): fsync of the file, rename into `new`, fsync of the folder. What lies in `tmp` was
never acknowledged. Refuses to begin, or to go on, when the disk is below its reserve. One process never touches
another's file in `tmp`; names never repeat.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.filemeta import Origin

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
    """One facility's folders. Cheap to make; creates them, durably, when they are missing."""

    def __init__(self, root: Path, slug: str, *, strict: bool = True, reserve_bytes: int = 0) -> None:
        self.slug = slug
        self.strict = strict
        self._reserve = reserve_bytes
        self.tmp = root / slug / "tmp"
        self.new = root / slug / "new"
        for folder in (root / slug, self.tmp, self.new):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(folder.parent)
        self.new_descriptor = os.open(self.new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

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
        return SpoolFile(
            self, filemeta.encode(sop_class, sop_instance, transfer_syntax, origin, flags), transfer_syntax
        )

    def check_reserve(self, more: int = 0) -> None:
        """Raise `SpoolFullError` when `more` bytes would go below the reserve."""
        status = os.fstatvfs(self.new_descriptor)
        free = status.f_bavail * status.f_frsize
        if free - more < self._reserve:
            raise SpoolFullError(
                f"free space is {free >> 20} MiB, below the reserve of {self._reserve >> 20} MiB "
                "(storage.reserve_bytes)"
            )

    def close(self) -> None:
        os.close(self.new_descriptor)


class SpoolFile:
    """One instance being received. Ends by exactly one of `commit`, `set_aside` or `discard`."""

    def __init__(self, spool: Spool, head: bytes, transfer_syntax: str) -> None:
        self._spool = spool
        self.transfer_syntax = transfer_syntax
        self.name = f"{time.time_ns():016x}-{os.getpid():x}-{next(_numbers):x}.dcm"
        self.path = spool.tmp / self.name
        self.dataset_start = len(head)
        self.size = len(head)  # bytes of the file
        self._unchecked = 0
        self._digest = hashlib.sha256()
        self.descriptor = -1
        with self._resources():
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._write_all(head)

    @property
    def sha256(self) -> str:
        """Hex digest of the data set so far."""
        return self._digest.hexdigest()

    def write(self, fragment: bytes | memoryview) -> None:
        """Append a piece of the data set.

        Raises
        ------
        SpoolFullError
            The disk is full or failing; the caller discards.
        """
        length = len(fragment)
        self._unchecked += length
        if self._unchecked >= _RESERVE_CHECK_BYTES:
            self._unchecked = 0
            self._spool.check_reserve(length)
        with self._resources():
            self._write_all(fragment)
        self._digest.update(fragment)
        self.size += length

    def _write_all(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def commit(self) -> SpoolEntry:
        """The commit point: when this returns the instance may be acknowledged."""
        target = self._spool.new / self.name
        with self._resources():
            if self._spool.strict:
                os.fsync(self.descriptor)
            self._close()
            os.rename(self.path, target)
            if self._spool.strict:
                os.fsync(self._spool.new_descriptor)
        return SpoolEntry(self._spool.slug, target)

    def set_aside(self) -> Path:
        """Make the file durable where it is, for the quarantine to take."""
        with self._resources():
            os.fsync(self.descriptor)
            self._close()
        return self.path

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
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self.discard()
            raise SpoolFullError(
                "the disk is full" if full else f"the spool cannot be written: {error.strerror}"
            ) from error


def entries(root: Path) -> Iterator[SpoolEntry]:
    """Every committed instance of every facility, oldest first within each."""
    for folder in sorted(root.glob("*/new")):
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(folder)):
                if name.endswith(".dcm"):
                    yield SpoolEntry(folder.parent.name, folder / name)


def remove_stale(root: Path) -> int:
    """Remove from `tmp` what dead processes left: it was never acknowledged. Returns how many."""
    removed = 0
    for path in root.glob("*/tmp/*.dcm"):
        pid = path.stem.split("-")[1] if path.stem.count("-") == 2 else ""
        with contextlib.suppress(ValueError, FileNotFoundError):
            if not Path(f"/proc/{int(pid, 16)}").exists():
                path.unlink()
                removed += 1
    return removed


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
