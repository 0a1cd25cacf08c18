"""Hints: a listener tells the archiver of a new spool entry by a datagram, so that it need not wait for a scan.

A hint may be lost, late or twice: the spool is the truth. It carries the parsed header, so a header is parsed once.
"""

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from noctis.home import short_path
from noctis.repository.header import Header

MAX_BYTES = 64 << 10  # of one datagram


@dataclass(frozen=True)
class Hint:
    slug: str
    name: str  # of the file in spool/<slug>/new
    sha256: str  # hex, of the data set
    header: Header | None  # None: too large for a datagram


class HintSender:
    """Sends without ever waiting; a full or missing socket costs a scan, never an image."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def send(self, hint: Hint) -> bool:
        """True if the datagram was handed over."""
        message = json.dumps(asdict(hint), ensure_ascii=True, separators=(",", ":")).encode()
        if len(message) > MAX_BYTES:
            message = json.dumps({**asdict(hint), "header": None}, separators=(",", ":")).encode()
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
            document = json.loads(self._socket.recv(MAX_BYTES))
            header = document["header"]
            if header is not None:
                header = Header(**{**header, "flags": tuple(header["flags"])})
            return Hint(str(document["slug"]), str(document["name"]), str(document["sha256"]), header)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def close(self) -> None:
        self._socket.close()
