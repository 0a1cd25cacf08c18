"""PDUs off a socket (PS3.8 §9.3): blocking reads into one reused buffer, a deadline per PDU, lengths checked first.

Takes a connected socket. Promises that no PDU longer than its limit is ever waited for or kept, and that a peer which
drips bytes is cut off at the PDU's deadline, however steadily it drips.
"""

import math
import select
import socket
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

HEAD = 6  # bytes before a PDU's content: type, reserved, length
ASSOCIATE_RQ_MAX = 1 << 20  # 128 contexts of 45 transfer syntaxes each take 180 kB
SMALL_PDU_MAX = 1024  # release and abort have 4 bytes of content
SEND_SECONDS = 30.0  # how long an answer may wait for a peer that does not read, where a PDU may take as long
LINGER_SECONDS = 1.0  # after a rejection or abort: how long the peer's own close is waited for
LINGER_BYTES = 1 << 20
TLS_HANDSHAKE = 0x16  # the first byte of a TLS connection; the second is 3 (RFC 8446 §5.1)
_FIRST_BYTES = 16 << 10  # of the buffer, until a larger PDU comes: an echo needs no more
_MESSAGE_MAX = 200  # characters
_TICK_SECONDS = 5.0  # how often a waiting read looks at its deadline


class PduType(IntEnum):
    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """Reason of an A-ABORT whose source is the service provider (PS3.8 §9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNISED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolError(Exception):
    """The peer broke the protocol; it is told so by an A-ABORT. The message is cut: the peer may have written it."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__("".join(each if each.isprintable() else "?" for each in message[:_MESSAGE_MAX]))
        self.reason = reason


class TlsHello(ProtocolError):
    """The peer speaks TLS where none is spoken."""


class ConnectionEnded(Exception):
    """The peer closed, or reset, the connection."""


class TimedOut(Exception):
    """The peer took longer than it may."""


class Unread(TimedOut):
    """The peer does not read its answers: nothing more can be said to it."""


@dataclass(frozen=True)
class TimeLimits:
    """Seconds."""

    association_request: float  # from accept to the whole A-ASSOCIATE-RQ (ARTIM)
    pdu: float  # from a PDU's first byte to its last
    idle: float  # between two PDUs
    message: float = math.inf  # from a DIMSE message's first PDV to its last


class Connection(Protocol):
    """What of a socket is used here: one itself, or TLS over one (`tls.connection`)."""

    def recv_into(self, view: memoryview, /) -> int: ...

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...

    def fileno(self) -> int: ...

    @property
    def setsockopt(self) -> Any: ...


def abort_pdu(reason: AbortReason | None) -> bytes:
    """An A-ABORT: by the provider with a reason, or (None) by the service user."""
    source, why = (0, 0) if reason is None else (2, int(reason))
    return bytes((PduType.ABORT, 0, 0, 0, 0, 4, 0, 0, source, why))


def received_abort(content: bytes | memoryview) -> bytes:
    """The whole A-ABORT PDU whose content has come; one without a sound source and reason is the service user's."""
    source, why = content[2:4] if len(content) == 4 else (0, 0)
    sound = source == 0 or (source == 2 and why in (0, 1, 2, 4, 5, 6))
    return bytes((PduType.ABORT, 0, 0, 0, 0, 4, 0, 0, source, why if source else 0)) if sound else abort_pdu(None)


def release_pdu() -> bytes:
    """The whole A-RELEASE-RQ PDU."""
    return bytes((PduType.RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))


class PduReader:
    """Reads whole PDUs. The view that `next` returns is valid until the next call.

    Parameters
    ----------
    sock
        With an SO_RCVTIMEO of `tick_seconds`, which is how often a waiting read looks at its deadline.
    first_deadline
        Monotonic: until when the first PDU has to be here whole.
    """

    def __init__(self, sock: Connection, max_pdu: int, limits: TimeLimits, first_deadline: float) -> None:
        self._socket = sock
        self._has_input = getattr(sock, "has_input", None)  # of TLS, which holds bytes that the socket has given
        self._first_deadline = first_deadline
        self._message_deadline = math.inf
        self._max_pdu = max_pdu
        self._limits = limits
        self._buffer = bytearray(min(_FIRST_BYTES, 2 * (max_pdu + HEAD)))
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def next(self, *, first: bool = False) -> tuple[PduType, memoryview]:
        """The next PDU's type and its content without the six bytes of head.

        Parameters
        ----------
        first
            Nothing has come yet: only an A-ASSOCIATE-RQ may, and its own deadline holds.

        Raises
        ------
        ConnectionEnded, TimedOut, ProtocolError
        """
        limits = self._limits
        if self._end == self._start:
            self._start = self._end = 0
            self._receive(self._first_deadline if first else time.monotonic() + limits.idle)
        deadline = self._first_deadline if first else time.monotonic() + limits.pdu
        if deadline > self._message_deadline:
            self._check_message()
            deadline = self._message_deadline
        self._require(HEAD, deadline)
        at = self._start
        kind, length = self._buffer[at], int.from_bytes(self._view[at + 2 : at + 6], "big")
        kind = self._checked(kind, length, first)
        self._require(HEAD + length, deadline)
        at = self._start
        self._start = at + HEAD + length
        return kind, self._view[at + HEAD : self._start]

    def message_begins(self) -> None:
        """The first PDV of a DIMSE message has come: its last one has to come in time."""
        self._message_deadline = time.monotonic() + self._limits.message

    def message_ends(self) -> None:
        """Its last PDV has come."""
        self._message_deadline = math.inf

    def _check_message(self) -> None:
        if time.monotonic() >= self._message_deadline:
            raise TimedOut(f"a DIMSE message was not whole after {self._limits.message:g} seconds")

    def has_input(self) -> bool:
        """Whether something has come that was not given yet, or the peer has ended. Does not wait."""
        if self._end > self._start:
            return True
        if self._has_input is not None:
            return bool(self._has_input())
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def raw_head(self, content: memoryview) -> bytes:
        """The six bytes before `content`, as they came."""
        at = self._start - len(content) - HEAD
        return bytes(self._view[at : at + HEAD])

    def _checked(self, kind: int, length: int, first: bool) -> PduType:
        try:
            known = PduType(kind)
        except ValueError:
            if first and kind == TLS_HANDSHAKE and self._buffer[self._start + 1] == 3:
                raise TlsHello("TLS at a port without TLS", AbortReason.UNRECOGNISED_PDU) from None
            what = "this is no DICOM" if first else "an unknown PDU type"
            raise ProtocolError(f"{what}: first byte 0x{kind:02x}", AbortReason.UNRECOGNISED_PDU) from None
        if first and known is PduType.ABORT:  # PS3.8 §9.2, AA-2: not answered by another
            raise ConnectionEnded("the peer aborted before there was an association")
        if first and known is not PduType.ASSOCIATE_RQ:
            raise ProtocolError(f"{known.name} before an association", AbortReason.UNEXPECTED_PDU)
        if known is PduType.DATA_TF:
            limit = self._max_pdu
        else:
            limit = ASSOCIATE_RQ_MAX if known is PduType.ASSOCIATE_RQ else SMALL_PDU_MAX
        if length > limit:
            raise ProtocolError(f"a {known.name} PDU of {length} bytes; at most {limit} were offered")
        return known

    def _require(self, count: int, deadline: float) -> None:
        """Have at least `count` bytes from `_start` on."""
        if self._start + count > len(self._buffer):
            self._make_room(count)
        while self._end - self._start < count:
            if time.monotonic() > deadline:
                self._check_message()
                raise TimedOut("a PDU was begun and not finished in time")
            self._receive(deadline)

    def _make_room(self, count: int) -> None:
        """Move what is here to the front, into a larger buffer where the PDU needs one."""
        held = self._end - self._start
        if count > len(self._buffer):
            larger = bytearray(max(count, 2 * (self._max_pdu + HEAD)))
            larger[:held] = self._view[self._start : self._end]
            self._buffer, self._view = larger, memoryview(larger)
        else:
            self._view[:held] = bytes(self._view[self._start : self._end])
        self._start, self._end = 0, held

    def _receive(self, deadline: float) -> None:
        """One recv, waited for until `deadline`."""
        while True:
            try:
                count = self._socket.recv_into(self._view[self._end :])
            except BlockingIOError:  # SO_RCVTIMEO: a tick without a byte
                self._check_message()
                if time.monotonic() >= deadline:
                    raise TimedOut("nothing was sent for too long") from None
                continue
            except OSError as error:
                raise ConnectionEnded(error.strerror or str(error)) from None
            if count == 0:
                raise ConnectionEnded("the peer closed the connection")
            # Senders that write a PDU's head and body apart with Nagle on wait for this ACK; the option is not sticky.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self._end += count
            return


def tick_seconds(limits: TimeLimits) -> float:
    """How often a waiting read looks at its deadline, so that it is kept to a quarter."""
    return min(
        _TICK_SECONDS, *(each / 4 for each in (limits.association_request, limits.pdu, limits.idle, limits.message))
    )


def set_timeout(sock: Connection, option: int, seconds: float) -> None:
    """SO_RCVTIMEO or SO_SNDTIMEO: the kernel's own timeout costs no extra poll per call, unlike `settimeout`."""
    whole = int(seconds)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", whole, max(1000, int((seconds - whole) * 1e6))))


def receive(sock: socket.socket, count: int, deadline: float, flags: int = 0) -> bytes:
    """At least one byte, at most `count`, waited for until `deadline` (monotonic); before there is a `PduReader`.

    Raises
    ------
    ConnectionEnded, TimedOut
    """
    while True:
        try:
            piece = sock.recv(count, flags)
        except BlockingIOError:  # SO_RCVTIMEO: a tick without a byte
            piece = None
        except OSError as error:
            raise ConnectionEnded(error.strerror or str(error)) from None
        if piece == b"":
            raise ConnectionEnded("the peer closed the connection")
        if time.monotonic() >= deadline:  # also for one that drips
            raise TimedOut("nothing was sent for too long")
        if piece:
            return piece


def send(sock: Connection, data: bytes) -> None:
    """Send all of `data` with one call, or raise `Unread`."""
    try:
        sock.sendall(data)
    except BlockingIOError:  # SO_SNDTIMEO
        raise Unread("the peer does not read its answers") from None


def linger(sock: Connection) -> None:
    """Let the peer read our last PDU: closing with its data unread would reset the connection and lose it."""
    try:
        sock.shutdown(socket.SHUT_WR)
        set_timeout(sock, socket.SO_RCVTIMEO, LINGER_SECONDS / 4)
        deadline, seen = time.monotonic() + LINGER_SECONDS, 0
        while time.monotonic() < deadline and seen < LINGER_BYTES:
            try:
                piece = sock.recv(65536)
            except BlockingIOError:
                continue
            if not piece:
                return
            seen += len(piece)
    except OSError:
        pass
