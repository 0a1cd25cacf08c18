"""Whoever is no DICOM peer at all, connections that end at the wrong moment, and PDUs before an association."""

import random
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

from tests.hostile import wire
from tests.hostile.case import Case, each, play
from tests.hostile.peer import Aborted, Ended, Peer, Rejected, Vanished
from tests.hostile.target import Target

RANDOM = random.Random(4711).randbytes(4096)
NO_DICOM = Aborted(1)
UNEXPECTED = Aborted(2)
CLIENT_HELLO = bytes.fromhex("16030100f1010000ed0303") + RANDOM[:234]


def _and_others(data: bytes, count: int) -> Callable[[Peer], None]:
    """The same over `count` other connections first, all of which stay open until the case is over."""

    def send(peer: Peer) -> None:
        port = peer.sock.getpeername()[1]
        with ExitStack() as open_ones:
            for _ in range(count):
                open_ones.enter_context(Peer(port)).send(data)
            with Peer(port) as another:  # while they are there
                assert another.associate()[0] == 2
                another.send(wire.echo())
                assert another.read()[0] == 4

    return send


def _scan(peer: Peer) -> None:
    port = peer.sock.getpeername()[1]
    for number in range(100):
        probe = Peer(port)
        probe.reset() if number % 2 else probe.sock.close()


def _urgent(peer: Peer) -> None:
    peer.sock.send(b"!", socket.MSG_OOB)
    peer.send(bytes(6))


def _resets_in_the_request(peer: Peer) -> None:
    peer.send(wire.associate_rq()[:40])
    peer.reset()


def _resets_behind_the_request(peer: Peer) -> None:
    peer.send(wire.associate_rq())
    peer.reset()


def _closes_in_the_request(peer: Peer) -> None:
    peer.send(wire.associate_rq()[:-1])
    peer.half_close()


def _closes_at_once(peer: Peer) -> None:
    peer.half_close()


def _all_at_once(peer: Peer) -> None:
    peer.send(wire.associate_rq(called=b"NOBODY") + wire.store() + wire.RELEASE_RQ)


def _floods_after_the_end(peer: Peer) -> None:
    for _ in range(64):
        if not peer.send(bytes(65536)):
            return


FIRST = (
    ("an_http_request", "`GET / HTTP/1.1` and headers", b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n"),
    ("a_tls_client_hello", "a TLS ClientHello to a port without TLS", CLIENT_HELLO),
    ("an_ssh_banner", "`SSH-2.0-OpenSSH_9.6`", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("random_bytes", "4 KiB of random bytes", b"\xab" + RANDOM),
    ("zeros", "64 KiB of zeros: one A-ABORT, not one for each six bytes", bytes(65536)),
    ("ones", "64 KiB of 0xFF", b"\xff" * 65536),
    ("unknown_pdu_types", "1,000 PDUs of type 8: one A-ABORT", wire.pdu(8) * 1000),
    (
        "an_hl7_message",
        "an HL7 message with a patient in it",
        b"\x0bMSH|^~\\&|\rPID|1||" + wire.PATIENT_ID + b"\r\x1c\r",
    ),
    ("console_escapes", "ANSI escape sequences as first bytes", b"\x1b[2J\x1b]0;owned\x07\r\n" * 10),
)
BEFORE = (
    ("p_data_before_an_association", "P-DATA-TF as the first PDU", wire.echo()),
    ("a_store_before_an_association", "a whole C-STORE as the first PDUs", wire.store()),
    ("a_release_before_an_association", "A-RELEASE-RQ as the first PDU", wire.RELEASE_RQ),
    ("a_release_response_first", "A-RELEASE-RP as the first PDU", wire.RELEASE_RP),
    ("an_acceptance_first", "A-ASSOCIATE-AC as the first PDU", b"\2" + wire.associate_rq()[1:]),
    ("a_rejection_first", "A-ASSOCIATE-RJ as the first PDU", wire.ASSOCIATE_RJ),
)

CASES = (
    *(Case(name, what, data, NO_DICOM, associated=False) for name, what, data in FIRST),
    *(Case(name, what, data, UNEXPECTED, associated=False) for name, what, data in BEFORE),
    Case("a_proxy_header", "a PROXY protocol header, version 1, by nobody configured",
         b"PROXY TCP4 10.0.0.1 10.0.0.2 1 104\r\n",
         Ended(), associated=False),
    Case("a_proxy_header_2", "the same, version 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
         Ended(), associated=False),
    Case("an_abort_first", "A-ABORT as the first PDU: not answered by another", wire.ABORT, Ended(), associated=False),
    Case("a_flood_of_zeros", "4 MiB of zeros by a peer that reads nothing meanwhile", _floods_after_the_end,
         Vanished("one A-ABORT, then closed"), associated=False),
    Case("urgent_data", "TCP urgent data, then NUL", _urgent, NO_DICOM, associated=False),
    Case("connect_and_close", "a connection that is closed at once (a health check)", _closes_at_once, Ended(),
         associated=False),
    Case("a_port_scan", "100 connections, closed or reset at once", _scan, Vanished("nothing; a log line each"),
         associated=False),
    Case("reset_in_the_request", "RST inside the A-ASSOCIATE-RQ", _resets_in_the_request, Vanished(), associated=False),
    Case("reset_behind_the_request", "RST behind the A-ASSOCIATE-RQ", _resets_behind_the_request, Vanished(),
         associated=False),
    Case("fin_in_the_request", "FIN before the A-ASSOCIATE-RQ's last byte", _closes_in_the_request, Ended(),
         associated=False),
    Case("thirty_half_requests", "30 connections that hold half an A-ASSOCIATE-RQ each",
         _and_others(wire.associate_rq()[:100], 30), Vanished("others are served meanwhile"), associated=False),
    Case("thirty_half_heads", "30 connections that hold three bytes each",
         _and_others(b"\1\0\0", 30), Vanished("others are served meanwhile"), associated=False),
    Case("thirty_silent_ones", "30 connections that say nothing",
         _and_others(b"", 30), Vanished("others are served meanwhile"), associated=False),
    Case("thirty_idle_associations", "30 associations that say nothing more",
         _and_others(wire.associate_rq(), 30), Vanished("others are served meanwhile"), associated=False),
    Case("thirty_half_data_sets", "30 associations that hold half a data set each",
         _and_others(wire.associate_rq() + wire.store(bytes(60000))[:30000], 30),
         Vanished("others are served meanwhile; nothing of it is kept"), associated=False),
    Case("everything_in_one_write", "a request for nobody, with a C-STORE and the release behind it", _all_at_once,
         Rejected(1, 1, 7), associated=False),
    Case("four_gib_declared", "an A-ASSOCIATE-RQ that declares 4 GiB", struct.pack(">BBI", 1, 0, 0xFFFFFFFF),
         Aborted(6), associated=False),
    Case("one_gib_declared", "an A-ASSOCIATE-RQ that declares 1 GiB, and 64 KiB of it",
         struct.pack(">BBI", 1, 0, 1 << 30) + bytes(65536), Aborted(6), associated=False),
    Case("an_empty_request", "an A-ASSOCIATE-RQ of length 0", wire.pdu(1), Aborted(6), associated=False),
    Case("a_short_request", "an A-ASSOCIATE-RQ of 67 bytes, an odd and too short length", wire.pdu(1, bytes(67)),
         Aborted(6), associated=False),
    Case("random_behind_a_request", "a head that says A-ASSOCIATE-RQ, and random bytes",
         wire.pdu(1, RANDOM), Aborted(6), associated=False),
)  # fmt: skip


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
