"""The PROXY protocol's header: what is understood, what is refused, and that no byte beyond it is read."""

import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.listener.pdu import ConnectionEnded, ProtocolError, TimedOut, set_timeout
from noctis.listener.proxy_protocol import (
    CONTENT_MAX,
    HEAD,
    SIGNATURE,
    Peer,
    ProxyError,
    content_length,
    parse,
    take_header,
)


def header(command: int = 1, family: int = 0x11, content: bytes = b"", version: int = 2, length: int = -1) -> bytes:
    size = len(content) if length < 0 else length
    return SIGNATURE + struct.pack(">BBH", version << 4 | command, family, size) + content


def tcp4(source: str = "192.0.2.7", port: int = 40001, tlvs: bytes = b"") -> bytes:
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address("198.51.100.1").packed
    return header(content=addresses + struct.pack(">HH", port, 11112) + tlvs)


def tcp6(source: str = "2001:db8::7", port: int = 40001) -> bytes:
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address("2001:db8::1").packed
    return header(family=0x21, content=addresses + struct.pack(">HH", port, 11112))


def read(raw: bytes) -> Peer | None:
    return parse(raw[:HEAD], raw[HEAD:])


@pytest.mark.parametrize(
    ("raw", "peer"),
    [
        (tcp4(), Peer("192.0.2.7", 40001)),
        (tcp4(tlvs=b"\x04\0\x03abc" * 50), Peer("192.0.2.7", 40001)),
        (tcp6(), Peer("2001:db8::7", 40001)),
        (tcp6("::ffff:192.0.2.7"), Peer("192.0.2.7", 40001)),
        (header(command=0), None),
        (header(command=0, family=0, content=b"\x04\0\0"), None),
        (header(family=0), None),
        (header(family=0, content=b"whatever"), None),
    ],
)
def test_what_is_understood(raw: bytes, peer: Peer | None) -> None:
    assert read(raw) == peer


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (header(command=2), "unknown command 2"),
        (header(version=1), "version 1"),
        (header(version=3), "version 3"),
        (header(family=0x12, content=bytes(12)), "0x12"),  # UDP
        (header(family=0x31, content=bytes(216)), "0x31"),  # a UNIX socket
        (header(family=0x11, content=bytes(11)), "cut off"),
        (header(family=0x21, content=bytes(35)), "cut off"),
        (header(content=bytes(12), length=13), "cut off"),
        (header(length=CONTENT_MAX + 1), "at most 4096"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4 5\r\n", "version 1"),
        (b"\1\0\0\0\0\xcd\0\1\0\0CENTRAL  ", "without the PROXY header"),
    ],
)
def test_what_is_refused(raw: bytes, word: str) -> None:
    with pytest.raises(ProxyError, match=word) as caught:
        read(raw)
    assert caught.value.fix


@given(st.binary(max_size=300))
def test_whatever_follows_a_signature_is_read_or_refused(noise: bytes) -> None:
    raw = (SIGNATURE + noise).ljust(HEAD, b"\0")
    try:
        length = content_length(raw[:HEAD])
        assert length <= CONTENT_MAX
        read(raw[: HEAD + length])
    except ProxyError:
        pass


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    set_timeout(ours, socket.SO_RCVTIMEO, 0.02)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def take(ours: socket.socket, *, expected: bool, seconds: float = 30.0) -> Peer | None:
    return take_header(ours, time.monotonic() + seconds, expected=expected, address="203.0.113.9")


@pytest.mark.parametrize("raw", [tcp4(), tcp4(tlvs=b"\x04\0\x03abc"), tcp6(), header(command=0)])
def test_no_byte_beyond_the_header_is_read(pair: Pair, raw: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(raw + b"\x01rest")
    assert take(ours, expected=True) == read(raw)
    assert ours.recv(100) == b"\x01rest"


def test_a_header_may_come_byte_by_byte(pair: Pair) -> None:
    ours, theirs = pair

    def drip() -> None:
        for byte in tcp4():
            theirs.sendall(bytes((byte,)))

    dripper = threading.Thread(target=drip)
    dripper.start()
    assert take(ours, expected=True) == Peer("192.0.2.7", 40001)
    dripper.join()


def test_nothing_is_read_where_no_header_may_be_and_none_is(pair: Pair) -> None:
    ours, theirs = pair
    for raw in (b"\x01\0\0", b"\x16\x03\x01"):
        theirs.sendall(raw)
        assert take(ours, expected=False) is None
        assert ours.recv(100) == raw


@pytest.mark.parametrize("raw", [tcp4(), header(command=0), b"PROXY TCP4 192.0.2.7 198.51.100.1 4 5\r\n"])
def test_a_header_where_none_may_be_is_refused_and_named(pair: Pair, raw: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(raw)
    with pytest.raises(ProxyError, match=r"a PROXY header from 203\.0\.113\.9, which is not in listeners\.proxies"):
        take(ours, expected=False)


@pytest.mark.parametrize("raw", [b"POST / HTTP/1.1\r\n", b"\r\n\r\n\r\n"])
def test_what_only_begins_like_a_header_is_no_dicom(pair: Pair, raw: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(raw)
    with pytest.raises(ProtocolError, match="this is no DICOM"):
        take(ours, expected=False)


@pytest.mark.parametrize("raw", [b"\x01\0\0\0\0\xcd", b"PROXY TCP4", b"\r\n\r\nX"])
def test_a_wrong_beginning_is_refused_at_its_first_wrong_byte(pair: Pair, raw: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(raw)
    with pytest.raises(ProxyError):
        take(ours, expected=True)


@pytest.mark.parametrize("raw", [b"", SIGNATURE[:5], tcp4()[:20]])
def test_a_header_that_is_not_finished_is_waited_for_until_the_deadline(pair: Pair, raw: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(raw)
    with pytest.raises(TimedOut):
        take(ours, expected=True, seconds=0.1)


@pytest.mark.parametrize("expected", [True, False])
@pytest.mark.parametrize("raw", [b"", SIGNATURE[:5]])
def test_a_peer_that_goes_away_is_no_error_of_the_header(pair: Pair, raw: bytes, expected: bool) -> None:
    ours, theirs = pair
    theirs.sendall(raw)
    theirs.close()
    with pytest.raises(ConnectionEnded):
        take(ours, expected=expected)
