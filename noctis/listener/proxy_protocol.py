"""The PROXY protocol, version 2: the header by which a load balancer says whose connection it passes on.

Source: HAProxy, "The PROXY protocol", versions 1 & 2, section 2.2. `parse` is pure. `take_header` reads the header off
a socket and no byte beyond it, before anything else is read; it refuses a header where none may be, a connection
without one where one must be, version 1, and lengths beyond `CONTENT_MAX`. Nothing is answered: who speaks to a port in
this way wrongly is cut off.
"""

import ipaddress
import socket
from typing import NamedTuple

from noctis.listener.pdu import AbortReason, ProtocolError, receive

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
VERSION_1 = b"PROXY "
HEAD = 16  # bytes: the signature, version and command, family and protocol, length of what follows
CONTENT_MAX = 4096  # bytes behind the head: addresses take 36, what a balancer adds of TLS some hundred
_LOCAL, _PROXY = 0, 1  # commands
_UNSPECIFIED = 0x00
_TCP4, _TCP6 = 0x11, 0x21
LOCAL_HEADER = SIGNATURE + b"\x20\0\0\0"  # a health check's
_ADDRESSES = {_TCP4: 12, _TCP6: 36}  # bytes


class ProxyError(Exception):
    """A header that is not there, not allowed or not understood; `fix` says what mends it."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


class Peer(NamedTuple):
    """Whose connection it is."""

    address: str
    port: int


_SEND_V2 = "set send-proxy-v2 for this server at the load balancer"


def content_length(head: bytes) -> int:
    """How many bytes follow the 16 of `head`.

    Raises
    ------
    ProxyError
        It is not the head of a version 2 header, or announces more than `CONTENT_MAX` bytes.
    """
    if not head.startswith(SIGNATURE):
        if head.startswith(VERSION_1):
            raise ProxyError("a PROXY header of version 1; only version 2 is read here", _SEND_V2)
        raise ProxyError("a connection without the PROXY header that listeners.proxies asks for", _NO_HEADER)
    if head[12] >> 4 != 2:
        raise ProxyError(f"a PROXY header of version {head[12] >> 4}; only version 2 is read here", _SEND_V2)
    length = int.from_bytes(head[14:16], "big")
    if length > CONTENT_MAX:
        raise ProxyError(f"a PROXY header of {length} bytes; at most {CONTENT_MAX} are read", _SEND_LESS)
    return length


_NO_HEADER = f"{_SEND_V2}, or take the address out of listeners.proxies if it is none"
_SEND_LESS = "have the load balancer send fewer TLVs"


def parse(head: bytes, content: bytes) -> Peer | None:
    """Whose connection it is; None: the sender's own (a health check, or an address that it does not know).

    Raises
    ------
    ProxyError
        The header is not one, or not of a TCP connection.
    """
    if len(content) != content_length(head):
        raise ProxyError("a PROXY header that is cut off", _SEND_V2)
    command, family = head[12] & 0x0F, head[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyError(f"a PROXY header with the unknown command {command}", _SEND_V2)
    if family == _UNSPECIFIED:
        return None
    size = _ADDRESSES.get(family)
    if size is None:
        raise ProxyError(f"a PROXY header of the family 0x{family:02x}, which is not TCP over IPv4 or IPv6", _SEND_V2)
    if len(content) < size:
        raise ProxyError("a PROXY header whose addresses are cut off", _SEND_V2)
    if family == _TCP4:
        return Peer(str(ipaddress.IPv4Address(content[:4])), int.from_bytes(content[8:10], "big"))
    address = ipaddress.IPv6Address(content[:16])
    return Peer(str(address.ipv4_mapped or address), int.from_bytes(content[32:34], "big"))


def take_header(sock: socket.socket, deadline: float, *, expected: bool, address: str) -> Peer | None:
    """Read the header of a new connection, if it has one.

    Parameters
    ----------
    sock
        With an SO_RCVTIMEO, which is how often the deadline is looked at.
    deadline
        Monotonic: until when it has to be here.
    expected
        Whether the connection must begin with a header; otherwise it must not.
    address
        The peer's, for what is said of it.

    Raises
    ------
    ProxyError, ConnectionEnded, TimedOut
    ProtocolError
        What has come is neither a header nor anything else that is known here.
    """
    first = receive(sock, 1, deadline, socket.MSG_PEEK)
    if not expected and first not in (SIGNATURE[:1], VERSION_1[:1]):
        return None
    if not expected:
        begun = SIGNATURE if first == SIGNATURE[:1] else VERSION_1
        if _matching(sock, begun, deadline) == begun:
            raise ProxyError(
                f"a PROXY header from {address}, which is not in listeners.proxies",
                "add the load balancer's network to listeners.proxies, or set no send-proxy there",
            )
        raise ProtocolError(f"this is no DICOM: first byte 0x{first[0]:02x}", AbortReason.UNRECOGNISED_PDU)
    head = _matching(sock, VERSION_1 if first == VERSION_1[:1] else SIGNATURE, deadline)
    if head == SIGNATURE:
        head += _exactly(sock, HEAD - len(SIGNATURE), deadline)
    return parse(head, _exactly(sock, content_length(head), deadline))


def _matching(sock: socket.socket, expected: bytes, deadline: float) -> bytes:
    """What comes, as far as it is `expected`, and the first byte that is not."""
    got = b""
    while len(got) < len(expected) and expected.startswith(got):
        got += receive(sock, len(expected) - len(got), deadline)
    return got


def _exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    got = b""
    while len(got) < count:
        got += receive(sock, count - len(got), deadline)
    return got
