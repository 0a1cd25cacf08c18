"""TLS over a socket pair: what has come is seen, and half of something is not, without waiting."""

import contextlib
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.listener.pdu import PduReader, TimedOut, TimeLimits, set_timeout
from noctis.tls.connection import TlsConnection
from noctis.tls.contexts import make
from noctis.tls.policy import Policy
from tests import tls

LIMITS = TimeLimits(association_request=1000, pdu=0.04, idle=0.04)


class Ends:
    """A listener's end, and a client that can keep back a part of what it sends."""

    def __init__(self, folder: Path) -> None:
        files = tls.write(tls.server(), folder, "server")
        ca = tls.write(tls.authority(tls.CA), folder, "ca")
        serving = make(Policy(files.certificate, files.key, "off", ca.certificate, folder / "self.pem", ""))
        self.ours, self.theirs = socket.socketpair()
        set_timeout(self.ours, socket.SO_RCVTIMEO, 0.01)
        self.server = TlsConnection(self.ours, serving.context)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca.certificate)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        thread = threading.Thread(target=self.server.handshake, args=(time.monotonic() + 60,))
        thread.start()
        tls.shake_hands(self.client, self.theirs, self.incoming, self.outgoing)
        thread.join()

    def encrypted(self, data: bytes) -> bytes:
        self.client.write(data)
        return self.outgoing.read()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.server.close()
    made.theirs.close()


def read(ends: Ends, count: int) -> bytes:
    buffer = bytearray(count)
    got = ends.server.recv_into(memoryview(buffer))
    return bytes(buffer[:got])


def test_what_the_socket_has_given_already_is_input(ends: Ends) -> None:
    reader = PduReader(ends.server, 4096, LIMITS, math.inf)
    assert not reader.has_input()
    ends.theirs.sendall(ends.encrypted(b"0123456789"))
    assert read(ends, 4) == b"0123"
    assert reader.has_input()
    assert reader.has_input()
    assert read(ends, 3) == b"456"
    assert read(ends, 100) == b"789"
    assert not reader.has_input()


def test_half_a_record_is_no_input(ends: Ends) -> None:
    reader = PduReader(ends.server, 4096, LIMITS, math.inf)
    record = ends.encrypted(b"whole")
    ends.theirs.sendall(record[:-1])
    assert not reader.has_input()
    with pytest.raises(BlockingIOError):
        read(ends, 100)
    ends.theirs.sendall(record[-1:])
    assert reader.has_input()
    assert read(ends, 100) == b"whole"


def test_the_end_is_input_and_is_said_in_order(ends: Ends) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        ends.client.unwrap()
    ends.theirs.sendall(ends.outgoing.read())
    assert PduReader(ends.server, 4096, LIMITS, math.inf).has_input()
    assert read(ends, 100) == b""
    ends.server.shutdown(socket.SHUT_WR)
    ends.incoming.write(ends.theirs.recv(65536))
    ends.client.unwrap()  # raises unless our close_notify has come


def test_a_broken_record_ends_the_connection(ends: Ends) -> None:
    record = bytearray(ends.encrypted(b"something"))
    record[-1] ^= 1
    ends.theirs.sendall(record)
    with pytest.raises(ConnectionResetError, match="TLS broke: "):
        read(ends, 100)
    ends.server.shutdown(socket.SHUT_RDWR)


def test_waking_the_reader_leaves_tls_as_it_is(ends: Ends) -> None:
    ends.server.shutdown(socket.SHUT_RD)
    assert read(ends, 100) == b""
    ends.server.sendall(b"the last word")
    ends.incoming.write(ends.theirs.recv(65536))
    assert ends.client.read() == b"the last word"


def test_the_time_for_the_first_pdu_may_have_ended_before() -> None:
    ours, theirs = socket.socketpair()
    set_timeout(ours, socket.SO_RCVTIMEO, 0.01)
    with ours, theirs, pytest.raises(TimedOut):
        PduReader(ours, 4096, LIMITS, time.monotonic() - 1).next(first=True)
