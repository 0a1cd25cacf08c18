"""The bytes of files on their way out, a piece at a time: parts of an open file, and files as a ZIP (`downloads`)."""

import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository.archived import FileGoneError, open_archived
from noctis.repository.images import ImageRow
from noctis.repository.names import safe_name

PIECE = 256 << 10  # bytes
_MISSING = "MISSING.txt"


class Closing:
    """An iterator with an open file: closed with it even if it was never begun."""

    def __init__(self, descriptor: int, pieces: Iterator[bytes]) -> None:
        self._descriptor: int | None = descriptor
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def pieces_of(descriptor: int, parts: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """Exactly these parts of an open file.

    Raises
    ------
    StorageError
        It has become shorter, or cannot be read.
    """
    for position, length in parts:
        end = position + length
        while position < end:
            try:
                piece = os.pread(descriptor, min(PIECE, end - position), position)
            except OSError as error:
                raise StorageError(f"a file of the archive cannot be read: {error.strerror}") from error
            if not piece:
                raise StorageError("a file of the archive became shorter while it was read")
            position += len(piece)
            yield piece


def within(parts: Sequence[tuple[int, int]], first: int, length: int) -> Iterator[tuple[int, int]]:
    """`length` bytes of `parts` from the byte `first` of them on, as parts."""
    for at, size in parts:
        if first >= size:
            first -= size
            continue
        if length <= 0:
            return
        taken = min(size - first, length)
        yield at + first, taken
        first, length = 0, length - taken


class _Sink(io.RawIOBase):
    """Where zipfile writes: kept until it is taken. It cannot be sought in, so sizes stand behind the data."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zipped(archive: Path, rows: Iterable[ImageRow]) -> Iterator[bytes]:
    """The bytes of a ZIP, made as they are asked for."""
    sink = _Sink()
    missing: list[str] = []
    asked = 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as made:
        for row in rows:
            asked += 1
            name = f"{safe_name(row.series_uid)}/{safe_name(row.sop_instance_uid)}.dcm"
            try:
                descriptor = open_archived(archive, row.slug, row.path)
            except FileGoneError as error:
                missing.append(f"{name}: {error.message}")
                continue
            try:
                length = os.fstat(descriptor).st_size
                info = zipfile.ZipInfo(name, row.received_at.timetuple()[:6])
                info.external_attr = 0o600 << 16
                info.file_size = length  # decides whether it needs ZIP64
                with made.open(info, "w") as entry:
                    for piece in pieces_of(descriptor, ((0, length),)):
                        entry.write(piece)
                        yield sink.taken()
            finally:
                os.close(descriptor)
            yield sink.taken()
        if missing:
            text = f"{len(missing)} of {asked} instances are not in the archive any more:\n\n"
            made.writestr(_MISSING, text + "\n".join(missing) + "\n")
    yield sink.taken()
