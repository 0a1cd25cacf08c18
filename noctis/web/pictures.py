"""A frame of an instance as an answer: from the browser's own copy, from the cache, or decoded now.

Whoever comes here was let in by the route, and the instance was found in the index with the facility's slug.
"""

import json
from collections.abc import Callable
from html import escape
from typing import Any

from anyio import from_thread
from fastapi import Request
from fastapi.responses import Response

from noctis.errors import NotFoundError
from noctis.frames.cache import key_of
from noctis.frames.protocol import Request as Wanted
from noctis.frames.turns import GivenUpError
from noctis.repository.archived import FileGoneError, open_archived
from noctis.repository.images import ImageRow
from noctis.web.site import Site

INFO = "Noctis-Frame"  # what is known of the frame, JSON
REASON = "Noctis-Reason"  # why there is a placeholder
KEPT_SECONDS = 600  # a browser keeps a picture whose address says which bytes it is of
# Square pictures are no wider than they were asked for; the page knows a placeholder by its width.
PLACEHOLDER = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="120" viewBox="0 0 {width} 120">'
    '<rect width="{width}" height="120" fill="#1d2633"/>{lines}</svg>'
)
PLACEHOLDER_WIDTH = 161
LINE = '<text x="80" y="{y}" fill="#dce3ec" font-family="sans-serif" font-size="12" text-anchor="middle">{text}</text>'


class NoPictureError(NotFoundError):
    """There is none of this frame; the message says why."""


def picture(request: Request, site: Site, row: ImageRow, wanted: Wanted, *, version: str | None) -> Response:
    """The picture.

    Parameters
    ----------
    version
        Which bytes the address means; None: those that are there.

    Raises
    ------
    NoPictureError
        The instance has no such frame, or it cannot be decoded.
    FileGoneError
        Its file is not in the archive.
    BusyError
        Too many wait for the decoders.
    """
    if row.no_image:
        raise NoPictureError(row.no_image)
    if wanted.frame > row.frames:
        raise NoPictureError(f"there is no frame {wanted.frame}")
    key = key_of(row.sha256, row.transfer_syntax_uid, wanted)
    tag = f'"{key[:32]}"'
    kept = f"private, max-age={KEPT_SECONDS}" if version == row.digest else "private, no-cache"
    # Another session is another reader: what one was shown is not in the other's cache.
    headers = {"ETag": tag, "Cache-Control": kept, "Vary": "Cookie"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    found = site.pictures.get(key)
    if found is None:
        try:
            answer = site.frames.picture(row.slug, wanted, _opener(site, row), _asker(request))
        except GivenUpError:
            return Response(status_code=204)  # nobody reads it
        if answer.reason:
            raise NoPictureError(answer.reason)
        found = answer.info, answer.body
        site.pictures.put(key, *found)
    info, body = found
    headers[INFO] = json.dumps(info, separators=(",", ":"))
    return Response(body, media_type="image/jpeg" if wanted.jpeg else "image/png", headers=headers)


def picture_or_placeholder(
    request: Request, site: Site, row: ImageRow, wanted: Wanted, *, version: str | None
) -> Response:
    """As `picture`; why there is none is drawn in its place."""
    try:
        return picture(request, site, row, wanted, version=version)
    except (NoPictureError, FileGoneError) as error:
        return placeholder(error.message)


def placeholder(reason: str) -> Response:
    """A picture of words, which also stand in a header, percent-encoded, for those who cannot see them."""
    from urllib.parse import quote

    lines = [LINE.format(y=60 + 16 * at, text=escape(line)) for at, line in enumerate(_wrapped(reason))]
    body = PLACEHOLDER.format(width=PLACEHOLDER_WIDTH, lines="".join(lines))
    headers = {REASON: quote(reason[:300]), "Cache-Control": "private, max-age=60", "Vary": "Cookie"}
    return Response(body, media_type="image/svg+xml", headers=headers)


def _wrapped(text: str, width: int = 24, lines: int = 4) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, max_lines=lines, placeholder=" …")


def _opener(site: Site, row: ImageRow) -> Callable[[], int]:
    return lambda: open_archived(site.home.media, row.slug, row.path)


def _asker(request: Request) -> Callable[[], bool]:
    """Whether the browser still waits: its requests that it has given up must not pile up before the decoders."""

    def wanted() -> bool:
        gone: Any = from_thread.run(request.is_disconnected)
        return not gone

    return wanted
