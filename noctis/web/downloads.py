"""Files and archives of files on their way out: streamed in constant memory, a few at a time.

A ZIP has its files as they are (stored) and is made while it is sent. A file that is not in the archive any more is
named in MISSING.txt at its end; one that breaks off in the middle breaks the download off, visibly. A download ends
when its reader goes away or takes nothing any more (`protocol`), and gives its place back.
"""

import io
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from noctis.errors import NoctisError, StorageError, UnavailableError
from noctis.repository.archived import FileGoneError, open_archived
from noctis.repository.images import ImageRow
from noctis.repository.names import safe_name

log = structlog.get_logger()

PIECE = 256 << 10  # bytes
TOTAL_MAX = 4  # downloads at a time
ACCOUNT_MAX = 2  # of one account
RETRY_SECONDS = 10
DICOM = "application/dicom"
ZIP = "application/zip"
_MISSING = "MISSING.txt"


class TooManyDownloadsError(UnavailableError):
    """All places for downloads are taken."""

    def __init__(self) -> None:
        super().__init__("too many downloads are under way", seconds=RETRY_SECONDS)


class Places:
    """Who downloads. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, account: str) -> None:
        """Raises `TooManyDownloadsError`."""
        with self._lock:
            if self._taken.total() >= TOTAL_MAX or self._taken[account] >= ACCOUNT_MAX:
                raise TooManyDownloadsError
            self._taken[account] += 1

    def give_back(self, account: str) -> None:
        with self._lock:
            self._taken[account] -= 1
            self._taken += Counter()  # without those that have none


class Download(StreamingResponse):
    """Sends what a generator yields, which is closed at the end, whatever the end is; then the place is free again."""

    def __init__(
        self, pieces: Iterator[bytes], places: Places, account: str, *, name: str, media_type: str, length: int | None
    ) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if length is not None:
            headers["Content-Length"] = str(length)
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces = pieces
        self._places = places
        self._account = account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except NoctisError as error:
            # Nothing but the connection's end tells a browser now that it has not got all: the answer stays unfinished.
            log.warning("web.download_broken", error=error.message, account=self._account)
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
            self._places.give_back(self._account)


def one_file(archive: Path, row: ImageRow, places: Places, account: str) -> Download:
    """An instance as it was sent, behind the file meta of its reception.

    Raises
    ------
    FileGoneError
        It is not in the archive.
    TooManyDownloadsError
        Others are under way.
    """
    descriptor = open_archived(archive, row.slug, row.path)
    try:
        length = os.fstat(descriptor).st_size
        places.take(account)
    except BaseException:
        os.close(descriptor)
        raise
    name = safe_name(row.sop_instance_uid) + ".dcm"
    pieces = _Closing(descriptor, _pieces_of(descriptor, length))
    return Download(pieces, places, account, name=name, media_type=DICOM, length=length)


def zip_file(archive: Path, rows: Iterable[ImageRow], name: str, places: Places, account: str) -> Download:
    """Instances as a ZIP: {series}/{instance}.dcm.

    Raises
    ------
    TooManyDownloadsError
        Others are under way.
    """
    places.take(account)
    return Download(zipped(archive, rows), places, account, name=f"{safe_name(name)}.zip", media_type=ZIP, length=None)


class _Closing:
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


def _pieces_of(descriptor: int, length: int) -> Iterator[bytes]:
    """Exactly `length` bytes of an open file.

    Raises
    ------
    StorageError
        It has become shorter, or cannot be read.
    """
    position = 0
    while position < length:
        try:
            piece = os.pread(descriptor, min(PIECE, length - position), position)
        except OSError as error:
            raise StorageError(f"a file of the archive cannot be read: {error.strerror}") from error
        if not piece:
            raise StorageError("a file of the archive became shorter while it was read")
        position += len(piece)
        yield piece


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
                    for piece in _pieces_of(descriptor, length):
                        entry.write(piece)
                        yield sink.taken()
            finally:
                os.close(descriptor)
            yield sink.taken()
        if missing:
            text = f"{len(missing)} of {asked} instances are not in the archive any more:\n\n"
            made.writestr(_MISSING, text + "\n".join(missing) + "\n")
    yield sink.taken()
