"""Hints: a listener tells the archiver of a new spool entry by a datagram, so that it need not wait for a scan.

A hint may be lost, late or twice: the spool is the truth. It carries the parsed header, so a header is parsed once.
"""

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from noctis.home import short_path
from noctis.repository.header import Header

MAX_BYTES = 64 << 10  # of one datagram
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Hint:
    slug: str
    name: str  # of the spool entry
    sha256: str  # hex, of the data set
    header: Header | None  # None: too large for a datagram


class HintSender:
    """Sends without ever waiting; a full or missing socket costs a scan, never an image."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def send(self, hint: Hint) -> bool:
        """True if the datagram was handed over."""
        header = None
        if hint.header is not None:
            header = {name: value for name, value in vars(hint.header).items() if value or value == 0}
        message = _encode((hint.slug, hint.name, hint.sha256, header)).encode()
        if len(message) > MAX_BYTES:
            message = _encode((hint.slug, hint.name, hint.sha256, None)).encode()
        try:
            with short_path(self._path) as path:
                self._socket.sendto(message, path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


class HintReceiver:
    """The archiver's end. Binding replaces a socket file that a killed archiver left."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        with short_path(path) as name:
            self._socket.bind(name)
        os.chmod(path, 0o600)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, seconds: float) -> Hint | None:
        """The next hint, or None when none came within `seconds` (0: do not wait) or it is malformed."""
        self._socket.settimeout(seconds)
        try:
            slug, name, sha256, header = json.loads(self._socket.recv(MAX_BYTES))
            if header is not None:
                header["flags"] = tuple(header.get("flags", ()))
                header = Header(**header)
            return Hint(str(slug), str(name), str(sha256), header)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def close(self) -> None:
        self._socket.close()
