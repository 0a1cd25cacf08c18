"""What holds for every request and answer, whatever the route: an ASGI middleware.

A request that changes something must come from our own pages (Sec-Fetch-Site, or Origin from browsers that do not say;
a program that sends neither is no browser, and has nobody's cookie but its own). One that only looks may come from
elsewhere as a link that somebody follows, and as nothing else: no other site loads, frames or fetches anything of ours,
not even one of our own host on another port, which browsers give our cookie to. Answers carry the headers that keep a
browser from loading, framing, guessing or storing anything.
"""

import json
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_MAX = 128 << 10  # bytes of a request: a thousand devices take 95 KB
TOO_LARGE = "the request is too large"
NOT_OURS = "this request did not come from a page of this server"
DOCUMENT = ("document", None)  # Sec-Fetch-Dest of a page in a window
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


# RFC 3986 §3.2.2 without user information: a name, an IPv4 address, or an IPv6 one in brackets; and a port.
HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class Guard:
    """Refuses what is not ours, and adds the headers.

    Parameters
    ----------
    https
        Whether browsers come by HTTPS.
    origin
        Where a reverse proxy has the pages, as `https://noctis.example`; None: where the Host header says.
    """

    def __init__(self, app: ASGIApp, https: bool, origin: str | None = None) -> None:
        self._app = app
        self._origin = origin
        self._headers = dict(HEADERS)
        if https:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    found.setdefault(name, value)
                found.setdefault("Cache-Control", "no-store")
            await send(message)

        if refusal := self._refusal(scope, headers):
            await _refuse(scope, with_headers, *refusal)
            return
        body = await _whole(receive)  # first: half a request costs nothing more
        if body is None:
            return
        if len(body) > BODY_MAX:
            await _refuse(scope, with_headers, 413, TOO_LARGE)
        else:
            await self._app(scope, _said(body, receive), with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Why a request is not looked at further."""
        hosts = headers.getlist("host")
        if len(hosts) > 1 or not all(HOST.fullmatch(each) for each in hosts):
            return 400, "the Host header is malformed"
        if "transfer-encoding" in headers and "content-length" in headers:
            # RFC 9112 §6.1: a proxy that believes the other one of them takes the body for the next request.
            return 400, "the request says twice how long its body is"
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return 400, "the address has a NUL character"
        if not self._is_ours(headers) and not (scope["method"] in SAFE and _is_link(headers)):
            return 403, NOT_OURS
        if _length(headers) > BODY_MAX:
            return 413, TOO_LARGE
        if headers.get("content-type", "").lstrip().lower().startswith("multipart/"):
            return 415, "no files are taken here"
        return None

    def _is_ours(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        origin = headers.get("origin")
        if origin is None or origin == self._origin:
            return True
        try:
            return urlsplit(origin).netloc == headers.get("host")
        except ValueError:
            return False


def _is_link(headers: Headers) -> bool:
    """Whether a browser follows a link, in a window of its own; one that does not say is believed (Fetch Metadata)."""
    if "sec-fetch-site" not in headers:
        return True
    return headers.get("sec-fetch-mode", "navigate") == "navigate" and headers.get("sec-fetch-dest") in DOCUMENT


async def _whole(receive: Receive) -> bytes | None:
    """The body of a request, or more than `BODY_MAX` bytes of it; None: whoever sent it went away before its end."""
    body = bytearray()
    while len(body) <= BODY_MAX:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _said(body: bytes, receive: Receive) -> Receive:
    """As `receive`, behind a body that was read already."""
    told = False

    async def receive_again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else BODY_MAX + 1


async def _refuse(scope: Scope, send: Send, status: int, message: str) -> None:
    """An answer of few words: problem details (RFC 9457) below /api, text for all others."""
    kind, body = "text/plain; charset=utf-8", message
    if scope["path"].removeprefix(scope.get("root_path", "")).startswith("/api/"):
        kind, body = "application/problem+json", json.dumps({"title": message, "status": status})
    encoded = body.encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(encoded)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": encoded})
