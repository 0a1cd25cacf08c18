"""The hostile side of a connection, and what it must see: each expectation reads the socket to its end.

An expectation has `says`, a few words for the page of cases, and raises AssertionError when called with a peer that
saw something else. Nothing waits longer than the socket's timeout.
"""

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tests.hostile import wire

SECONDS = 20.0  # of one read: far more than any answer takes
ACCEPT, REJECT, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7
CLOSED, RESET = 0, -1  # in place of a PDU type
PROBE = 0xBEE  # Message ID of the echo that shows an association to be alive
PDUS_MAX = 10_000


class Peer:
    """One connection, over which exactly the bytes go that it is told to."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(SECONDS)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> bool:
        """False if the other side has gone: what it said before that can still be read."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def associate(self, **options: object) -> tuple[int, bytes]:
        self.send(wire.associate_rq(**options))  # type: ignore[arg-type]
        return self.read()

    def read(self) -> tuple[int, bytes]:
        """The next PDU's type and content; CLOSED or RESET at the end."""
        try:
            head = self._exactly(6)
            if len(head) < 6:
                assert not head, f"the connection ended inside a PDU's head: {head.hex()}"
                return CLOSED, b""
            return head[0], self._exactly(int.from_bytes(head[2:6], "big"))
        except ConnectionResetError:
            return RESET, b""

    def _exactly(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            piece = self.sock.recv(count - len(got))
            if not piece:
                break
            got += piece
        return bytes(got)

    def rest(self) -> list[tuple[int, bytes]]:
        """Every PDU up to the end, CLOSED or RESET last."""
        seen = []
        for _ in range(PDUS_MAX):
            seen.append(self.read())
            if seen[-1][0] in (CLOSED, RESET):
                return seen
        raise AssertionError(f"more than {PDUS_MAX} PDUs: {seen[:3]}")

    def reset(self) -> None:
        """End with RST: what was not sent yet is thrown away."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """FIN, while answers are still read."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


@dataclass(frozen=True)
class Response:
    """What of a response's command set is looked at."""

    field: int
    message_id: int
    status: int
    comment: bytes
    context: int


def response(content: bytes) -> Response:
    """The response in one P-DATA-TF PDU's content."""
    length, context, control = struct.unpack_from(">IBB", content)
    assert length == len(content) - 4, "one PDV a response"
    assert len(content) <= wire.MAXIMUM, f"a response of {len(content)} bytes, more than the requestor takes"
    assert control == 3, f"a whole command was expected: {content.hex()}"
    values: dict[int, bytes] = {}
    at = 6
    while at < len(content):
        group, number, size = struct.unpack_from("<HHI", content, at)
        assert group == 0
        values[number] = content[at + 8 : at + 8 + size]
        at += 8 + size
    number = {tag: int.from_bytes(values.get(tag, b""), "little") for tag in (0x100, 0x120, 0x900)}
    assert number[0x100] & 0x8000, "no response"
    return Response(number[0x100], number[0x120], number[0x900], values.get(0x902, b""), context)


class Expectation:
    says: str

    def __call__(self, peer: Peer) -> None:
        raise NotImplementedError


class Answered(Expectation):
    """Responses of these statuses, in order; then the association still answers an echo and is released."""

    def __init__(self, *statuses: int, says: str = "") -> None:
        self._statuses = statuses
        once = dict.fromkeys(f"{status:04X}" for status in statuses)
        self.says = says or " ".join((*once, "and the association goes on"))

    def __call__(self, peer: Peer) -> None:
        statuses(peer, *self._statuses)
        goes_on(peer)


class Aborted(Expectation):
    """Perhaps responses of these statuses; then one A-ABORT by the provider for this reason, and the end."""

    WORDS: ClassVar = {
        0: "reason not specified",
        1: "unrecognised PDU",
        2: "unexpected PDU",
        5: "unexpected parameter",
        6: "invalid parameter",
    }

    def __init__(self, reason: int, *before: int) -> None:
        self._reason, self._before = reason, before
        answers = "".join(f"{status:04X}, then " for status in dict.fromkeys(before))
        self.says = f"{answers}A-ABORT ({self.WORDS[reason]})"

    def __call__(self, peer: Peer) -> None:
        statuses(peer, *self._before)
        seen = peer.rest()
        kinds = [kind for kind, _ in seen]
        assert kinds in ([ABORTED, CLOSED], [ABORTED, RESET]), f"one A-ABORT and the end were expected: {seen}"
        assert seen[0][1] == bytes((0, 0, 2, self._reason)), f"another A-ABORT: {seen[0][1].hex()}"


class Rejected(Expectation):
    """One A-ASSOCIATE-RJ, and the end."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        self._expected = bytes((0, result, source, reason))
        self.says = f"A-ASSOCIATE-RJ ({result}, {source}, {reason})"

    def __call__(self, peer: Peer) -> None:
        assert peer.rest() == [(REJECT, self._expected), (CLOSED, b"")]


class Accepted(Expectation):
    """An A-ASSOCIATE-AC with these results of the contexts, in order; then release, behind an echo where there can be.

    Parameters
    ----------
    results
        Context ID and result (0: accepted) of each.
    """

    def __init__(self, *results: tuple[int, int], says: str = "accepted") -> None:
        self._results = results
        self.says = says

    def __call__(self, peer: Peer) -> None:
        kind, content = peer.read()
        assert kind == ACCEPT, f"an acceptance was expected: {kind} {content.hex()}"
        found = context_results(content)
        if self._results:
            assert found == list(self._results)
        if (wire.ECHO, 0) in found:
            goes_on(peer)
        else:
            release(peer)


class Ended(Expectation):
    """Nothing is answered; the connection ends, by a FIN or by a RST."""

    says = "nothing is answered, the connection is closed"

    def __call__(self, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            seen = [kind for kind, _ in peer.rest()]
            assert seen in ([CLOSED], [RESET]), seen


class Vanished(Expectation):
    """The peer has gone itself; what the listener does about it is seen by the after-check."""

    def __init__(self, says: str = "nothing of it is kept") -> None:
        self.says = says

    def __call__(self, peer: Peer) -> None:
        peer.sock.close()


class Says(Expectation):
    """A check of its own, and its words."""

    def __init__(self, says: str, check: Callable[[Peer], None]) -> None:
        self.says, self._check = says, check

    def __call__(self, peer: Peer) -> None:
        self._check(peer)


def statuses(peer: Peer, *expected: int) -> list[Response]:
    """Read one response for each of the statuses."""
    seen = []
    for status in expected:
        kind, content = peer.read()
        assert kind == DATA, f"a response with status {status:04X} was expected: PDU type {kind}, {content.hex()}"
        seen.append(response(content))
        assert seen[-1].status == status, f"{seen[-1].status:04X} for {status:04X}: {seen[-1].comment!r}"
    return seen


def context_results(content: bytes) -> list[tuple[int, int]]:
    """Context ID and result of each context of an A-ASSOCIATE-AC."""
    results, at = [], 68
    while at < len(content):
        kind, _, length = struct.unpack_from(">BBH", content, at)
        if kind == 0x21:
            results.append((content[at + 4], content[at + 6]))
        at += 4 + length
    return results


def goes_on(peer: Peer) -> None:
    """The association answers an echo, which is the next thing it says, and is released in order."""
    assert peer.send(wire.echo(PROBE)), "the association has ended"
    kind, content = peer.read()
    assert kind == DATA, f"the echo was not answered: PDU type {kind}, {content.hex()}"
    answer = response(content)
    assert (answer.field, answer.message_id, answer.status) == (0x8030, PROBE, 0), answer
    release(peer)


def release(peer: Peer) -> None:
    peer.send(wire.RELEASE_RQ)
    assert peer.rest() == [(RELEASED, bytes(4)), (CLOSED, b"")]
