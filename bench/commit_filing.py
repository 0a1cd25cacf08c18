"""What takes committed instances into the archive, a batch at a time, and then gives back where they were.

`Link` is for files in `new`, `Copy` for places that are used again. Both are what the archiver would do for each way;
the index is left out.
"""

import mmap
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

from bench import commit_record
from bench.commit_inplace import FRAME
from bench.commit_record import BLANK, RECORD_AT, STATE_AT, Hint, Instance, put
from bench.commit_ways import sync_folder

SYNC_THREADS = 4
_PAGE = 4096
_BUFFER = 1 << 20


class Filing(Protocol):
    def file(self, batch: list[Hint]) -> None:
        """Returns when all of the batch are durable in the archive and their places are given back."""


def recover(root: Path) -> list[Instance]:
    """What is in the archive is whole."""
    archive = root / "archive"
    return [commit_record.read_unchecked(path.read_bytes()) for path in sorted(archive.iterdir()) if path.is_file()]


class _Archive:
    def __init__(self, root: Path) -> None:
        self._archive, self._tmp = root / "archive", root / "archive" / "tmp"
        for folder in (self._archive, self._tmp):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        self._descriptor = os.open(self._archive, os.O_RDONLY | os.O_DIRECTORY)

    def _sync_archive(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Link(_Archive):
    """A hard link, one sync of the archive's folder, and then the spool forgets its name."""

    def file(self, batch: list[Hint]) -> None:
        for hint in batch:
            os.link(hint.path, self._archive / hint.name)
        self._sync_archive()
        for hint in batch:
            os.unlink(hint.path)


class CutAndLink(Link):
    """As `Link`, for files that were written ahead: each is cut to its length first, and that is synced."""

    def file(self, batch: list[Hint]) -> None:
        descriptors = [os.open(hint.path, os.O_RDWR | os.O_CLOEXEC) for hint in batch]
        for hint, descriptor in zip(batch, descriptors, strict=True):
            os.ftruncate(descriptor, hint.size)
        for descriptor in descriptors:
            self._sync_cut(descriptor)
            os.close(descriptor)
        super().file(batch)

    def _sync_cut(self, descriptor: int) -> None:
        os.fdatasync(descriptor)


class Copy(_Archive):
    """Copies under other names, made durable all at once, renamed, the folder synced; then the places are cleared.

    How the copies are made durable: `fsync` of each by a few threads, one `syncfs` for all, or `direct`: written past
    the page cache (O_DIRECT), and each synced.
    """

    def __init__(self, root: Path, how: Literal["fsync", "syncfs", "direct"] = "fsync") -> None:
        super().__init__(root)
        self._how = how
        self._sources: dict[str, int] = {}
        self._buffer = mmap.mmap(-1, _BUFFER)  # begins at a page, as O_DIRECT asks for
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def file(self, batch: list[Hint]) -> None:
        copies = [(self._tmp / hint.name, self._copy(hint)) for hint in batch]
        self._sync_copies([descriptor for _, descriptor in copies])
        for path, descriptor in copies:
            os.close(descriptor)
            os.rename(path, self._archive / path.name)
        self._sync_archive()
        for hint in batch:
            self._clear(hint)

    def _copy(self, hint: Hint) -> int:
        source = self._source(hint.path)
        direct = os.O_DIRECT if self._how == "direct" else 0
        path = self._tmp / hint.name
        target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | direct, 0o600)
        buffer = memoryview(self._buffer)
        spans = [(at + FRAME, length) for at, length in hint.extents] or [(0, hint.size)]
        at = filled = 0
        for start, length in spans:
            while length:
                count = os.preadv(source, [buffer[filled : min(_BUFFER, filled + length)]], start)
                if count == 0:
                    raise OSError(f"{hint.path} ends before {hint.name} does")
                start, length, filled = start + count, length - count, filled + count
                if filled == _BUFFER:
                    self._record(hint, at)
                    at = put(target, buffer, at)
                    filled = 0
        if filled:
            self._record(hint, at)
            whole = -(-filled // _PAGE) * _PAGE if direct else filled
            put(target, buffer[:whole], at)
            if whole != filled:
                os.ftruncate(target, hint.size)
        return target

    def _record(self, hint: Hint, at: int) -> None:
        """Put a segment's record where a file has it, into the first piece."""
        if at == 0 and hint.record:
            self._buffer[RECORD_AT : RECORD_AT + len(hint.record)] = hint.record

    def _sync_copies(self, descriptors: list[int]) -> None:
        if self._how == "syncfs":
            commit_record.syncfs(self._descriptor)
        elif len(descriptors) == 1:
            os.fsync(descriptors[0])
        else:
            self._threads = self._threads or ThreadPoolExecutor(SYNC_THREADS)
            list(self._threads.map(os.fsync, descriptors))

    def _clear(self, hint: Hint) -> None:
        source = self._source(hint.path)
        for at in [at for at, _ in hint.extents] or [STATE_AT]:
            os.pwrite(source, bytes([BLANK]), at)

    def _source(self, path: str) -> int:
        if path not in self._sources:
            self._sources[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return self._sources[path]

    def close(self) -> None:
        super().close()
        if self._threads:
            self._threads.shutdown()
        for descriptor in self._sources.values():
            os.close(descriptor)


Make = Callable[[Path], Filing]
