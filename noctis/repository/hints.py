"""Hints: a listener tells the archiver of a new spool entry through a FIFO, so that it need not wait for a scan.

A hint may be lost, late or twice: the spool is the truth. It carries the parsed header, so a header is parsed once.
Each is one line of JSON of at most `MAX_BYTES`, so several writers do not mix theirs (POSIX, PIPE_BUF). A datagram
socket would do too, but may hold no more than ten (net.unix.max_dgram_qlen) and takes a system call to read each.
"""

import contextlib
import fcntl
import json
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noctis.repository.header import Header

MAX_BYTES = 4096  # PIPE_BUF
QUEUE_BYTES = 1 << 20  # in the kernel; what an ordinary user may have (fs.pipe-max-size)
_PIECE = 64 << 10  # bytes
_PIECES = 64  # of one `take`
_NUMBERS = ("rows", "columns")  # the fields of a header that are no text
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Hint:
    slug: str
    name: str  # of the spool entry
    sha256: str  # hex, of the data set
    header: Header | None  # None: too large for a hint


class HintSender:
    """Sends without ever waiting; a full FIFO, or one that nobody reads, costs a scan, never an image.

    Safe for several threads: none may write to a descriptor that another one has closed, and that is a file by now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = -1

    def send(self, hint: Hint) -> bool:
        """True if the hint was handed over."""
        header = None
        if hint.header is not None:
            header = {name: value for name, value in hint.header._asdict().items() if value or value == 0}
        message = _line((hint.slug, hint.name, hint.sha256, header))
        if len(message) > MAX_BYTES:
            message = _line((hint.slug, hint.name, hint.sha256, None))
        with self._lock:
            try:
                if self._descriptor < 0:
                    self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                os.write(self._descriptor, message)
            except BlockingIOError:
                return False
            except OSError:  # no archiver: the next one may have another FIFO
                self._close()
                return False
            return True

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _line(fields: tuple[object, ...]) -> bytes:
    return _encode(fields).encode() + b"\n"


class HintReceiver:
    """The archiver's end. A FIFO that a killed archiver left is used on; anything else in its place is replaced."""

    def __init__(self, path: Path) -> None:
        try:
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                path.unlink()
                os.mkfifo(path, 0o600)
        except FileNotFoundError:
            os.mkfifo(path, 0o600)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # so that there is no end of file
        self._rest = b""  # of a line that is not whole
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, QUEUE_BYTES)

    def fileno(self) -> int:
        """Readable when there are hints."""
        return self._descriptor

    def take(self) -> list[Hint]:
        """Those that have come, in order; at most some 4 MiB of them. Does not wait. Malformed ones are left out."""
        pieces = [self._rest]
        for _ in range(_PIECES):
            try:
                piece = os.read(self._descriptor, _PIECE)
            except BlockingIOError:
                break
            pieces.append(piece)
        *lines, self._rest = b"".join(pieces).split(b"\n")
        if len(self._rest) > MAX_BYTES:
            self._rest = b""
        return [hint for line in lines if (hint := _parse(line)) is not None]

    def close(self) -> None:
        os.close(self._descriptor)
        os.close(self._writer)


def _parse(line: bytes) -> Hint | None:
    try:
        slug, name, sha256, header = json.loads(line.decode())
        if header is not None:
            header = _header(header)
        return Hint(str(slug), str(name), str(sha256), header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _header(values: dict[str, Any]) -> Header:
    """The header that a hint tells of: it goes into the index unseen, so it is held to what `Header` promises."""
    flags = tuple(values.pop("flags", ()))
    numbers = [values.get(name) for name in _NUMBERS]
    text = "".join([*flags, *(value for name, value in values.items() if name not in _NUMBERS)])
    text.encode()  # a lone surrogate
    if "\0" in text or not all(number is None or (type(number) is int and 0 <= number <= 0xFFFF) for number in numbers):
        raise ValueError("no header")
    return Header(**values, flags=flags)
