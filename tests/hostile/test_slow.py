"""Peers that stop, drip or do not read, at every stage; the listener's time limits are short here."""

import select
from collections.abc import Callable

from tests.hostile import wire
from tests.hostile.case import Case, each, play
from tests.hostile.peer import ACCEPT, Aborted, Peer, Vanished
from tests.hostile.target import Target

SETTINGS = {
    "listeners": {
        "association_request_seconds": 1.5,
        "pdu_seconds": 1.5,
        "idle_association_seconds": 1.5,
        "message_seconds": 2.0,
    }
}
TIMED_OUT = Aborted(0)
DRIP_SECONDS = 0.1  # between two bytes: the listener is never idle for long
DROPS_MAX = 300
COMMAND = wire.request(wire.store_command())
FRAGMENT = wire.p_data(wire.pdv(bytes(1000), last=False))


def drip(first: bytes, drop: bytes, pieces: int = 1) -> Callable[[Peer], None]:
    """`first` at once, then a piece of `drop`, over and over, until the listener has said something."""

    def send(peer: Peer) -> None:
        peer.send(first)
        for number in range(DROPS_MAX):
            if select.select([peer.sock], [], [], DRIP_SECONDS)[0]:
                return
            at = number * pieces % len(drop)
            peer.send(drop[at : at + pieces])
        raise AssertionError("the listener lets itself be dripped on")

    return send


def _never_reads(request: bytes) -> Callable[[Peer], None]:
    def send(peer: Peer) -> None:
        with Peer(peer.sock.getpeername()[1], receive_buffer=2048) as deaf:
            assert deaf.associate()[0] == ACCEPT
            for _ in range(1000):
                if not deaf.send(request * 100):
                    return
        raise AssertionError("the listener answers somebody who reads nothing, and goes on to do so")

    return send


def before(name: str, what: str, send: bytes | Callable[[Peer], None]) -> Case:
    return Case(name, what, send, TIMED_OUT, associated=False)


CASES = (
    before("silence_at_first", "a connection that says nothing", b""),
    before("silence_inside_a_head", "three bytes of an A-ASSOCIATE-RQ, then nothing", b"\1\0\0"),
    before("silence_inside_the_request", "half an A-ASSOCIATE-RQ, then nothing", wire.associate_rq()[:100]),
    before("a_dripped_request", "an A-ASSOCIATE-RQ, a byte every 0.1 s", drip(b"", wire.associate_rq())),
    before("a_dripped_request_head", "the same from the length's second byte on",
           drip(wire.associate_rq()[:3], wire.associate_rq()[3:])),
    Case("silence_in_an_association", "an association that says nothing", b"", TIMED_OUT),
    Case("silence_behind_a_command", "a C-STORE-RQ, and no data set", COMMAND, TIMED_OUT,
         says="A-ABORT after idle_association_seconds"),
    Case("silence_inside_a_pdv", "half a PDV, then nothing", COMMAND + FRAGMENT[:500], TIMED_OUT,
         says="A-ABORT after pdu_seconds; nothing of it is kept"),
    Case("silence_between_pdvs", "half a data set, then nothing", COMMAND + FRAGMENT, TIMED_OUT,
         says="A-ABORT after idle_association_seconds; nothing of it is kept"),
    Case("silence_inside_a_command", "half a command set, then nothing",
         wire.p_data(wire.pdv(wire.echo_command()[:30], wire.ECHO, command=True, last=False)), TIMED_OUT),
    Case("a_dripped_pdv", "a PDV, a byte every 0.1 s", drip(COMMAND, FRAGMENT), TIMED_OUT,
         says="A-ABORT after pdu_seconds; nothing of it is kept"),
    Case("a_dripped_message", "a data set that never ends, a small PDU every 0.1 s",
         drip(COMMAND, wire.p_data(wire.pdv(b"1234", last=False)), 16), TIMED_OUT,
         says="A-ABORT after message_seconds; nothing of it is kept"),
    Case("a_dripped_command", "empty command fragments without end, one every 0.1 s",
         drip(b"", wire.p_data(wire.pdv(b"", wire.ECHO, command=True, last=False)), 12), TIMED_OUT,
         says="A-ABORT after message_seconds"),
    Case("a_deaf_peer", "C-ECHO-RQs by a peer that never reads an answer", _never_reads(wire.echo()),
         Vanished("closed after pdu_seconds; others are served meanwhile"), associated=False),
    Case("a_deaf_peer_of_junk", "the same with requests that are refused", _never_reads(
        wire.request(wire.store_command({0x0100: wire.us(0x0020), 0x0800: wire.us(0x0101)}))),
         Vanished("closed after pdu_seconds"), associated=False),
)  # fmt: skip


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
