"""One instance on its way into the spool: written in pieces as they come, then committed, set aside or discarded."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.room import FULL
from noctis.repository.slots import SLOT_MAX, Slot
from noctis.repository.spool_entries import SpoolEntry, entry_name
from noctis.repository.write_back import write_back

if TYPE_CHECKING:
    from noctis.repository.spool import Spool


class SpoolFullError(StorageError):
    """Out of resources (PS3.4 §B.2.3, status A700): reserve, quota or a write error."""


class SpoolFile:
    """Ends by exactly one of `commit`, `set_aside` or `discard`."""

    def __init__(self, spool: "Spool", path: str, descriptor: int, head: filemeta.Head, slot: Slot | None) -> None:
        self._spool = spool
        self._head = head
        self._slot = slot  # None: a file of its own, which is given a name in `new`
        self._digest = hashlib.sha256()
        self._committed = False
        self._written_back = 0  # bytes that the disk has been given
        self.path = path
        self.descriptor = descriptor
        self.dataset_start = len(head.encoded)
        self.size = 0  # bytes of the file, as far as it belongs to this instance

    @property
    def sha256(self) -> str:
        """Hex digest of the data set so far."""
        return self._digest.hexdigest()

    @property
    def dataset_length(self) -> int:
        """Bytes of the data set so far."""
        return max(0, self.size - self.dataset_start)

    def write(self, fragment: bytes | memoryview) -> None:
        """Append a piece of the data set.

        Raises
        ------
        SpoolFullError
            The disk is full or failing; what was written is gone.
        """
        try:
            self._spool.about_to_write(len(fragment))
            self._append(fragment)
        except OSError as error:
            self.discard()
            raise out_of_resources(error) from error
        except SpoolFullError:
            self.discard()
            raise
        self._digest.update(fragment)

    def _append(self, fragment: bytes | memoryview) -> None:
        """Write at the end; the head goes with the first piece."""
        pieces = [fragment] if self.size else [self._head.encoded, fragment]
        wanted = len(fragment) + (0 if self.size else self.dataset_start)
        written = os.pwritev(self.descriptor, pieces, self.size)
        while written < wanted:  # a signal, or a disk that is nearly full: then the next call says so
            rest = memoryview(b"".join(pieces))[written:]
            written += os.pwrite(self.descriptor, rest, self.size + written)
        self.size += wanted
        if self.size > SLOT_MAX:
            self._is_large()

    def _is_large(self) -> None:
        """It keeps its file, and is written to the disk as it comes."""
        if self._slot is not None:
            self._spool.slots.leave(self._slot)
            self._slot = None
        if self._spool.strict:
            self._written_back = write_back(self.descriptor, self._written_back, self.size)

    def commit(self) -> SpoolEntry:
        """The commit point: when this returns the instance may be acknowledged."""
        now = time.time_ns()
        slot = self._slot
        with self._resources():
            if slot is not None:
                stamp = f"{now:016x}"
                self._seal(sync=self._spool.strict, stamp=stamp)
                self.descriptor = -1
                self._committed = True
                self._spool.slots.committed(slot, self._head.record_at, self.size)
                return SpoolEntry(self._spool.slug, Path(self.path), stamp)
            self._seal(sync=self._spool.strict)
            self._close()
            target = f"{self._spool.new}/{entry_name(now)}"
            self._spool.link(self.path, target)
            self._committed = True
        return SpoolEntry(self._spool.slug, Path(target))

    def set_aside(self) -> Path:
        """Make the file durable where it is, for the quarantine to take."""
        with self._resources():
            if self._slot is not None:
                os.ftruncate(self.descriptor, max(self.size, self.dataset_start))  # an earlier instance was longer
                self._spool.slots.leave(self._slot)
                self._slot = None
            self._seal(sync=True)
            self._close()
        return Path(self.path)

    def _seal(self, *, sync: bool, stamp: str = "") -> None:
        if not self.size:  # an empty data set
            self._append(b"")
        record = self._head.record(self.sha256, self.dataset_length, stamp)
        os.pwrite(self.descriptor, record, self._head.record_at)
        if sync:
            os.fdatasync(self.descriptor)

    def discard(self) -> None:
        """Remove what was written. Never raises."""
        if self._committed:
            return
        if self._slot is not None:
            self._spool.slots.leave(self._slot)
            self._slot = None
        if self.descriptor >= 0:
            self._close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    @contextlib.contextmanager
    def _resources(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise out_of_resources(error) from error


def out_of_resources(error: OSError) -> SpoolFullError:
    """What the file system said, as an operator reads it."""
    return SpoolFullError(
        "the disk is full" if error.errno in FULL else f"the spool cannot be written: {error.strerror}"
    )
