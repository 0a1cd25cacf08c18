"""Clients on raw sockets that say exactly the bytes they are told to, and the bytes that they begin with."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.integration.listener.doors import Door

ECHO = (
    struct.pack("<HHII", 0, 0, 4, 56)
    + struct.pack("<HHI", 0, 2, 18)
    + b"1.2.840.10008.1.1\0"
    + struct.pack("<HHIH", 0, 0x100, 2, 0x30)
    + struct.pack("<HHIH", 0, 0x110, 2, 1)
    + struct.pack("<HHIH", 0, 0x800, 2, 0x101)
)
STORE = (
    struct.pack("<HHI", 0, 2, 26)
    + b"1.2.840.10008.5.1.4.1.1.2\0"
    + struct.pack("<HHIH", 0, 0x100, 2, 1)
    + struct.pack("<HHIH", 0, 0x110, 2, 1)
    + struct.pack("<HHIH", 0, 0x800, 2, 1)
    + struct.pack("<HHI", 0, 0x1000, 6)
    + b"1.2.3\0"
)
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"
ABORT = b"\7\0\0\0\0\4\0\0\0\0"
DRIP_SECONDS = 0.02


def associate_rq(
    called: str = "CENTRAL", calling: str = "SCU", contexts: list[PresentationContext] | None = None
) -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3"
    request.user_information = [maximum, implementation]
    if contexts is None:
        contexts = [build_context(Verification), build_context(CTImageStorage)]
        for number, context in zip((1, 3), contexts, strict=True):
            context.context_id = number
    request.presentation_context_definition_list = contexts
    encoded: bytes = A_ASSOCIATE_RQ(request).encode()
    return encoded


def p_data(fragment: bytes, control: int = 3, context: int = 1) -> bytes:
    pdv = struct.pack(">LBB", len(fragment) + 2, context, control) + fragment
    return struct.pack(">BBL", 4, 0, len(pdv)) + pdv


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@contextlib.contextmanager
def dripping(send: Callable[[bytes], object], pieces: Iterable[bytes]) -> Iterator[threading.Thread]:
    """While the block runs a thread sends a piece every 20 ms, until there is none left or the connection is gone."""
    stopped = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for piece in pieces:
                send(piece)
                if stopped.wait(DRIP_SECONDS):
                    return

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        yield dripper
    finally:
        stopped.set()
        dripper.join()


class Connection:
    """A client that says exactly the bytes it is told to; closed when it is left."""

    def __init__(self, port: int, address: str = "127.0.0.1", *, timeout: float = 10) -> None:
        self.sock = socket.create_connection((address, port), timeout=timeout)

    def read(self) -> tuple[int, bytes]:
        """One PDU: its type and content; (0, b"") at the end."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._exactly(int.from_bytes(head[2:6], "big"))

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            try:
                piece = self.sock.recv(count - len(got))
            except (ConnectionResetError, ssl.SSLEOFError):
                return got
            if not piece:
                return got
            got += piece
        return got

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Peer(Connection):
    """Its answers are whole PDUs."""

    def __init__(self, listener: Door) -> None:
        super().__init__(listener.port)

    def associate(self, **titles: str) -> tuple[int, bytes]:
        self.sock.sendall(associate_rq(**titles))
        return self.read()

    def echo(self) -> tuple[int, bytes]:
        self.sock.sendall(p_data(ECHO))
        return self.read()


class Caller(Connection):
    """Its answers are what they come to."""

    def __init__(self, door: Door, address: str = "127.0.0.1", first: bytes = b"") -> None:
        super().__init__(door.port, address, timeout=20)
        if first:
            self.sock.sendall(first)

    def associate(self, **titles: Any) -> tuple[int, ...]:
        """The answer's type, and of a rejection its result, source and reason."""
        self.sock.sendall(associate_rq(**titles))
        kind, content = self.read()
        return (kind, *content[1:4]) if kind == 3 else (kind,)

    def echo(self) -> bool:
        self.sock.sendall(p_data(ECHO))
        kind, content = self.read()
        return kind == 4 and content[-2:] == b"\0\0"

    def release(self) -> None:
        self.sock.sendall(RELEASE)
        assert self.read()[0] == 6
        assert self.read() == (0, b"")
