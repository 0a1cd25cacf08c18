"""Files and archives of files on their way out: streamed in constant memory, a few at a time.

A ZIP has its files as they are (stored) and is made while it is sent. A file that is not in the archive any more is
named in MISSING.txt at its end; one that breaks off in the middle breaks the download off, visibly. A download ends
when its reader goes away or takes nothing any more (`protocol`), and gives its place back. One that is slow has to give
it to somebody who wants it, and one whose account may do something else by now ends.
"""

import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
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
SLOW_SECONDS, SLOW_RATE = 60.0, 64 << 10  # since it began; bytes a second: who has taken less by then is slow
LOOK_SECONDS = 30.0  # between two looks whether the account may still have it
DICOM = "application/dicom"
ZIP = "application/zip"
_MISSING = "MISSING.txt"


class TooManyDownloadsError(UnavailableError):
    """All places for downloads are taken."""

    def __init__(self) -> None:
        super().__init__("too many downloads are under way", seconds=RETRY_SECONDS)


class DownloadEndedError(NoctisError):
    """The rest of it is not sent."""


class Place:
    """One download."""

    def __init__(self, account: str, now: float) -> None:
        self.account = account
        self.since = now  # monotonic
        self.sent = 0  # bytes
        self.lost = False  # somebody else has got it

    def rate(self, now: float) -> float:
        """Bytes a second, so far."""
        return self.sent / max(now - self.since, 1e-3)


class Places:
    """Who downloads. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: list[Place] = []

    def take(self, account: str) -> Place:
        """A place; the slowest download gives its own up if there is none.

        Raises
        ------
        TooManyDownloadsError
            There is none, and none is slow.
        """
        now = self._clock()
        with self._lock:
            own = [each for each in self._taken if each.account == account]
            if len(own) >= ACCOUNT_MAX:
                self._free_one(own, now)
            elif len(self._taken) >= TOTAL_MAX:
                self._free_one(self._taken, now)
            made = Place(account, now)
            self._taken.append(made)
            return made

    def _free_one(self, taken: list[Place], now: float) -> None:
        old = [each for each in taken if now - each.since >= SLOW_SECONDS and each.rate(now) < SLOW_RATE]
        if not old:
            raise TooManyDownloadsError
        slowest = min(old, key=lambda each: each.rate(now))
        slowest.lost = True
        self._taken.remove(slowest)

    def give_back(self, place: Place) -> None:
        with self._lock:
            if place in self._taken:
                self._taken.remove(place)


def _watched(pieces: Iterator[bytes], place: Place, still: Callable[[], bool]) -> Iterator[bytes]:
    """The pieces, as long as the place is kept and `still` says yes.

    Raises
    ------
    DownloadEndedError
    """
    looked = time.monotonic()
    for piece in pieces:
        if place.lost:
            raise DownloadEndedError("it was slow, and somebody else wanted its place")
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            if not still():
                raise DownloadEndedError("the account was changed or removed")
        place.sent += len(piece)
        yield piece


class Download(StreamingResponse):
    """Sends what a generator yields, which is closed at the end, whatever the end is; then the place is free again."""

    def __init__(
        self,
        pieces: Iterator[bytes],
        places: Places,
        place: Place,
        still: Callable[[], bool],
        *,
        name: str,
        media_type: str,
        length: int | None,
    ) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if length is not None:
            headers["Content-Length"] = str(length)
        super().__init__(_watched(pieces, place, still), media_type=media_type, headers=headers)
        self._pieces = pieces
        self._places = places
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except NoctisError as error:
            # Nothing but the connection's end tells a browser now that it has not got all: the answer stays unfinished.
            log.warning("web.download_broken", error=error.message, account=self._place.account)
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
            self._places.give_back(self._place)


def one_file(archive: Path, row: ImageRow, places: Places, account: str, still: Callable[[], bool]) -> Download:
    """An instance as it was sent, behind the file meta of its reception.

    Parameters
    ----------
    still
        Whether the account may have it; asked now and then.

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
        place = places.take(account)
    except BaseException:
        os.close(descriptor)
        raise
    name = safe_name(row.sop_instance_uid) + ".dcm"
    pieces = _Closing(descriptor, _pieces_of(descriptor, length))
    return Download(pieces, places, place, still, name=name, media_type=DICOM, length=length)


def zip_file(
    archive: Path, rows: Iterable[ImageRow], name: str, places: Places, account: str, still: Callable[[], bool]
) -> Download:
    """Instances as a ZIP: {series}/{instance}.dcm. For `still` see `one_file`.

    Raises
    ------
    TooManyDownloadsError
        Others are under way.
    """
    place = places.take(account)
    name = f"{safe_name(name)}.zip"
    return Download(zipped(archive, rows), places, place, still, name=name, media_type=ZIP, length=None)


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
