"""Files and archives of files on their way out: streamed in constant memory, a few at a time.

A ZIP has its files as they are (stored) and is made while it is sent. A file that is not in the archive any more is
named in MISSING.txt at its end; one that breaks off in the middle breaks the download off, visibly. A download ends
when its reader goes away or takes nothing any more (`protocol`), and gives its place back. One that is slow has to give
it to somebody who wants it, and one whose account may do something else by now ends. A single file, or what it wraps,
can be had in parts, so that a download that broke off goes on where it was (`ranges`).
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import structlog
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from noctis.errors import NoctisError, NotFoundError, StorageError, UnavailableError
from noctis.repository.archived import open_archived
from noctis.repository.elements import read_open
from noctis.repository.embedded import Embedded, embedded
from noctis.repository.images import ImageRow
from noctis.repository.names import safe_name
from noctis.web import ranges
from noctis.web.pieces import Closing, pieces_of, within, zipped

log = structlog.get_logger()

TOTAL_MAX = 6  # downloads at a time
FACILITY_MAX = 4  # of one facility: it leaves room for the others
ACCOUNT_MAX = 2  # of one account
RETRY_SECONDS = 10
SLOW_SECONDS, SLOW_RATE = 60.0, 64 << 10  # since it began; bytes a second: who has taken less by then is slow
LOOK_SECONDS = 30.0  # between two looks whether the account may still have it
DICOM = "application/dicom"
ZIP = "application/zip"


class TooManyDownloadsError(UnavailableError):
    """All places for downloads are taken."""

    def __init__(self) -> None:
        super().__init__("too many downloads are under way", seconds=RETRY_SECONDS)


class DownloadEndedError(NoctisError):
    """The rest of it is not sent."""


class Place:
    """One download."""

    def __init__(self, account: str, slug: str, now: float) -> None:
        self.account = account
        self.slug = slug
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

    def take(self, account: str, slug: str) -> Place:
        """A place for an account's download of a facility; if there is none, the slowest one gives its own up.

        Raises
        ------
        TooManyDownloadsError
            There is none, and none is slow.
        """
        now = self._clock()
        with self._lock:
            made = Place(account, slug, now)
            self._leave_room([each for each in self._taken if each.account == account], ACCOUNT_MAX, now)
            self._leave_room([each for each in self._taken if each.slug == slug], FACILITY_MAX, now)
            self._leave_room(self._taken, TOTAL_MAX, now)
            self._taken.append(made)
            return made

    def _leave_room(self, taken: list[Place], most: int, now: float) -> None:
        if len(taken) < most:
            return
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
        headers: dict[str, str],
        status: int = 200,
    ) -> None:
        super().__init__(_watched(pieces, place, still), status, headers)
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


def _headers(name: str, media_type: str, *, inline: bool = False) -> dict[str, str]:
    """A stranger's bytes: a browser keeps them apart from our pages, whatever it makes of them."""
    return {
        "Content-Type": media_type,
        "Content-Disposition": f'{"inline" if inline else "attachment"}; filename="{name}"',
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    }


class NothingEmbeddedError(NotFoundError):
    """The instance wraps nothing that can be had by itself."""

    def __init__(self) -> None:
        super().__init__("this instance wraps no document and no video", fix="download its file")


def one_file(
    request: Request, archive: Path, row: ImageRow, places: Places, account: str, still: Callable[[], bool]
) -> Response:
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
    except BaseException:
        os.close(descriptor)
        raise
    headers = _headers(safe_name(row.sop_instance_uid) + ".dcm", DICOM)
    return _answer(request, descriptor, ((0, length),), headers, row, places, account, still)


def wrapped(
    request: Request,
    archive: Path,
    row: ImageRow,
    places: Places,
    account: str,
    still: Callable[[], bool],
    *,
    inline: bool,
) -> Response:
    """What an instance wraps, by itself. For `still` see `one_file`.

    Parameters
    ----------
    inline
        A browser may show it; only what it shows by itself, all else is a file for it, as if this was not said.

    Raises
    ------
    FileGoneError, TooManyDownloadsError
        As `one_file`.
    NothingEmbeddedError
        It wraps nothing.
    """
    descriptor = open_archived(archive, row.slug, row.path)
    try:
        found = looked_into(descriptor, row)
        if found is None:
            raise NothingEmbeddedError
    except BaseException:
        os.close(descriptor)
        raise
    name = f"{safe_name(row.sop_instance_uid)}.{found.suffix}"
    headers = _headers(name, found.media_type, inline=inline and found.opens)
    return _answer(request, descriptor, found.parts, headers, row, places, account, still)


def begins(answer: Response) -> bool:
    """Whether this sends a file, or the beginning of one: what follows of it is no other download."""
    said = answer.headers.get("content-range", "bytes 0-")
    return isinstance(answer, Download) and said.startswith("bytes 0-")


def looked_into(descriptor: int, row: ImageRow) -> Embedded | None:
    """What an open instance wraps."""
    try:
        listing = read_open(descriptor, digest_max=0)
    except StorageError:
        return None
    return embedded(descriptor, listing.elements, row.sop_class_uid, row.transfer_syntax_uid)


def _answer(
    request: Request,
    descriptor: int,
    parts: Sequence[tuple[int, int]],
    headers: dict[str, str],
    row: ImageRow,
    places: Places,
    account: str,
    still: Callable[[], bool],
) -> Response:
    """Parts of an open file, as far as they are asked for; it is closed behind them."""
    try:
        whole = sum(length for _, length in parts)
        # Of the digest of the data set, and of what the file meta of another reception would be told by.
        tag = f'"{row.sha256[:32]}-{whole:x}-{int(row.received_at.timestamp() * 1e6):x}"'
        part = ranges.asked(request.headers, whole, tag, is_get=request.method == "GET")
        headers |= {"Accept-Ranges": "bytes", "ETag": tag, "Vary": "Cookie", **part.headers(whole)}
        if request.method == "HEAD" or part.status in (304, 416):
            os.close(descriptor)
            return Response(None, part.status, headers)
        place = places.take(account, row.slug)
    except BaseException:
        os.close(descriptor)
        raise
    pieces = Closing(descriptor, pieces_of(descriptor, within(parts, part.first, part.length)))
    return Download(pieces, places, place, still, headers, part.status)


def zip_file(
    archive: Path,
    slug: str,
    rows: Iterable[ImageRow],
    name: str,
    places: Places,
    account: str,
    still: Callable[[], bool],
) -> Download:
    """Instances of a facility as a ZIP: {series}/{instance}.dcm. For `still` see `one_file`.

    Raises
    ------
    TooManyDownloadsError
        Others are under way.
    """
    place = places.take(account, slug)
    return Download(zipped(archive, rows), places, place, still, _headers(f"{safe_name(name)}.zip", ZIP))
