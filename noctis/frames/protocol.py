"""What the web process and a decoder say to each other, over a stream socket between them.

A message is two lengths (4 bytes each, big endian), a JSON object and a body. A request carries the descriptor of the
open file (SCM_RIGHTS) and no body: a decoder opens nothing itself.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass
from struct import Struct
from typing import Any

_LENGTHS = Struct(">II")
HEADER_MAX = 64 << 10  # bytes
BODY_MAX = 256 << 20  # bytes


class ProtocolError(Exception):
    """The other side said something that is no message, or hung up in the middle of one."""


@dataclass(frozen=True)
class Request:
    """One frame, as it is wanted."""

    frame: int  # from 1
    key: str = ""  # says which bytes the file holds: the frame decoded last is kept for the next request of the same
    center: float | None = None  # of the window; None: as the instance says, else from the lowest value to the highest
    width: float | None = None
    table: int = 0  # which VOI LUT of the instance in place of a window, from 1
    invert: bool = False
    size: int = 0  # pixels of the longer side at the most; 0: as it is
    jpeg: bool = False  # instead of PNG
    overlays: bool = False  # its overlays alone, to be laid over it; the window does not matter

    def encode(self) -> bytes:
        return _encode(asdict(self), b"")


@dataclass(frozen=True)
class Answer:
    """A picture, or why there is none."""

    reason: str  # "": there is one
    info: dict[str, Any]  # what is known of the frame (`picture.describe`)
    body: bytes = b""

    def encode(self) -> bytes:
        return _encode({"reason": self.reason, "info": self.info}, self.body)


def _encode(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


def receive_request(sock: socket.socket) -> tuple[Request, int] | None:
    """The next request and its file's descriptor, which the caller closes; None when the other side has ended."""
    data, descriptors, _, _ = socket.recv_fds(sock, HEADER_MAX, 1)
    if not data:
        return None
    try:
        header, _ = _receive(sock, data)
        if len(descriptors) != 1:
            raise ProtocolError("a request without its file")
        return Request(**header), descriptors[0]
    except BaseException:
        for each in descriptors:
            os.close(each)
        raise


def send_request(sock: socket.socket, request: Request, descriptor: int) -> None:
    data = request.encode()
    sent = socket.send_fds(sock, [data], [descriptor])
    sock.sendall(data[sent:])


def receive_answer(sock: socket.socket) -> Answer:
    """Raises `ProtocolError`, and `OSError` (a timeout too)."""
    header, body = _receive(sock, b"")
    try:
        return Answer(str(header["reason"]), dict(header["info"]), body)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError("an answer without its parts") from error


def _receive(sock: socket.socket, begun: bytes) -> tuple[dict[str, Any], bytes]:
    head = begun + _exactly(sock, _LENGTHS.size - len(begun))
    header_length, body_length = _LENGTHS.unpack_from(head)
    if header_length > HEADER_MAX or body_length > BODY_MAX:
        raise ProtocolError("a message beyond all bounds")
    rest = head[_LENGTHS.size :]
    rest += _exactly(sock, header_length - len(rest))
    try:
        header = json.loads(rest[:header_length])
    except ValueError as error:
        raise ProtocolError("a message that is no JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a message that is no object")
    return header, _exactly(sock, body_length)


def _exactly(sock: socket.socket, length: int) -> bytes:
    if length <= 0:
        return b""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if not count:
            raise ProtocolError("the other side has hung up")
        view = view[count:]
    return bytes(data)
