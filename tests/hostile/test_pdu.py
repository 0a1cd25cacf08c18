"""PDUs and PDVs inside an association: lengths, types, order, contexts; ends in the middle."""

import struct

from tests.hostile import wire
from tests.hostile.case import Case, each, play
from tests.hostile.peer import Aborted, Answered, Ended, Peer, Says, Vanished, statuses
from tests.hostile.target import Target

INVALID, UNEXPECTED, UNEXPECTED_PARAMETER = Aborted(6), Aborted(2), Aborted(5)
UNRECOGNISED = Aborted(1)
HALF_STORE = wire.store(bytes(60000))[:30000]
COMMAND = wire.request(wire.store_command())


def _raw_pdv(length: int, rest: bytes = b"\3\2") -> bytes:
    """A P-DATA-TF PDU of one PDV that declares `length`."""
    return wire.p_data(struct.pack(">I", length) + rest)


def _half_then_reset(peer: Peer) -> None:
    peer.send(HALF_STORE)
    peer.reset()


def _half_then_fin(peer: Peer) -> None:
    peer.send(HALF_STORE)
    peer.half_close()


def _fin_in_command(peer: Peer) -> None:
    peer.send(COMMAND[:40])
    peer.half_close()


def _fin_between(peer: Peer) -> None:
    peer.send(COMMAND)
    peer.half_close()


def _fin_instead_of_release(peer: Peer) -> None:
    peer.send(wire.echo())
    statuses(peer, 0)
    peer.half_close()


def _aborts_and_stays(peer: Peer) -> None:
    peer.send(HALF_STORE[: 16384 + len(COMMAND) + 12] + wire.ABORT)
    peer.half_close()


def _is_released(peer: Peer) -> None:
    assert peer.rest() == [(6, bytes(4)), (0, b"")]


RELEASED = Says("A-RELEASE-RP, and the end", _is_released)
HALF_PDUS = COMMAND + wire.p_data(wire.pdv(bytes(1000), last=False))

CASES = (
    Case("an_oversized_pdu", "a P-DATA-TF PDU one byte over the offered maximum", wire.pdu(4, length=131073), INVALID),
    Case("an_oversized_pdu_in_full", "1 MiB as one PDU, all of it sent", wire.p_data(wire.pdv(bytes(1 << 20))),
         INVALID),
    Case("a_pdu_of_4_gib", "a P-DATA-TF PDU that declares 4 GiB", wire.pdu(4, length=0xFFFFFFFF), INVALID),
    Case("a_pdu_of_2_gib", "one of 2 GiB: the sign bit", wire.pdu(4, length=0x80000000), INVALID),
    Case("an_empty_pdu", "a P-DATA-TF PDU without a PDV", wire.pdu(4), INVALID),
    Case("five_bytes_of_pdv", "a PDU of 5 bytes: less than a PDV's head", wire.pdu(4, bytes(5)), INVALID),
    Case("an_odd_pdu", "a PDU of odd length around a sound PDV and a byte too many",
         wire.p_data(wire.pdv(wire.echo_command(), wire.ECHO, command=True), b"\0"), Aborted(6, 0)),
    Case("an_odd_fragment", "a command set in fragments of odd lengths",
         b"".join(wire.p_data(wire.pdv(piece, wire.ECHO, command=True, last=last))
                  for piece, last in ((wire.echo_command()[:7], False), (wire.echo_command()[7:], True))), Answered(0)),
    Case("a_pdv_past_its_pdu", "a PDV that declares one byte more than its PDU has", _raw_pdv(3), INVALID),
    Case("a_pdv_of_length_0", "a PDV that declares length 0", _raw_pdv(0), INVALID),
    Case("a_pdv_of_length_1", "a PDV that declares length 1: no control header", _raw_pdv(1), INVALID),
    Case("a_pdv_that_wraps_around", "a PDV that declares 0xFFFFFFFF", _raw_pdv(0xFFFFFFFF), INVALID),
    Case("a_pdv_that_wraps_to_2", "a PDV that declares 0xFFFFFFFE: plus 4 it is 2", _raw_pdv(0xFFFFFFFE), INVALID),
    Case("a_short_pdv_and_garbage", "a sound PDV, and a PDV of length 1 in the same PDU",
         wire.p_data(wire.pdv(wire.echo_command(), wire.ECHO, command=True), struct.pack(">IB", 1, 1), b"\3"),
         Aborted(6, 0)),
    Case("an_empty_fragment", "empty command fragments before the sound one",
         wire.p_data(wire.pdv(b"", wire.ECHO, command=True, last=False)) * 50 + wire.echo(), Answered(0)),
    Case("reserved_control_bits", "a message control header with all reserved bits set",
         wire.p_data(struct.pack(">IBB", len(wire.echo_command()) + 2, wire.ECHO, 0xFF) + wire.echo_command()),
         Answered(0)),
    Case("reserved_pdu_byte", "a reserved byte of a PDU that is not zero", b"\4\xff" + wire.echo()[2:], Answered(0)),
    Case("an_unaccepted_context", "a PDV on context 11, which was never proposed",
         wire.request(wire.store_command(), 11), INVALID),
    Case("context_0", "a PDV on context 0", wire.request(wire.store_command(), 0), INVALID),
    Case("an_even_context", "a PDV on context 2", wire.request(wire.store_command(), 2), INVALID),
    Case("context_255", "a PDV on context 255", wire.request(wire.store_command(), 255), INVALID),
    Case("a_data_set_on_another_context", "the command on one context, its data set on another",
         COMMAND + wire.p_data(wire.pdv(wire.data_set(), wire.STORE_IMPLICIT)), UNEXPECTED_PARAMETER),
    Case("a_command_over_two_contexts", "one command set in fragments on two contexts",
         wire.p_data(wire.pdv(wire.echo_command()[:20], wire.ECHO, command=True, last=False))
         + wire.p_data(wire.pdv(wire.echo_command()[20:], wire.STORE, command=True)), UNEXPECTED_PARAMETER),
    Case("data_without_a_command", "a data set that no command announced", wire.p_data(wire.pdv(wire.data_set())),
         UNEXPECTED_PARAMETER),
    Case("data_behind_an_echo", "a C-ECHO-RQ and a data set behind it",
         wire.echo() + wire.p_data(wire.pdv(b"1234", wire.ECHO)), Aborted(5, 0)),
    Case("data_inside_a_command", "a data fragment between two command fragments",
         wire.p_data(wire.pdv(wire.store_command()[:20], command=True, last=False), wire.pdv(b"1234")),
         UNEXPECTED_PARAMETER),
    Case("a_command_inside_a_data_set", "a C-ECHO-RQ inside a data set", HALF_PDUS + wire.echo(), UNEXPECTED_PARAMETER),
    Case("a_store_inside_a_data_set", "a second C-STORE-RQ inside a data set", HALF_PDUS + wire.store(),
         UNEXPECTED_PARAMETER),
    Case("a_second_association_request", "an A-ASSOCIATE-RQ inside an association", wire.associate_rq(), UNEXPECTED),
    Case("an_association_request_as_data_set", "an A-ASSOCIATE-RQ in place of a data set",
         COMMAND + wire.associate_rq(), UNEXPECTED),
    Case("an_acceptance_from_the_requestor", "A-ASSOCIATE-AC from the requestor", b"\2" + wire.associate_rq()[1:],
         UNEXPECTED),
    Case("a_short_acceptance_from_the_requestor", "the same, of 4 bytes", wire.pdu(2, bytes(4)), UNEXPECTED),
    Case("a_rejection_from_the_requestor", "A-ASSOCIATE-RJ from the requestor", wire.ASSOCIATE_RJ, UNEXPECTED),
    Case("a_release_response", "an A-RELEASE-RP nobody asked for", wire.RELEASE_RP, UNEXPECTED),
    Case("an_unknown_pdu_type", "PDU type 0x08", wire.pdu(8, bytes(8)), UNRECOGNISED),
    Case("pdu_type_0", "PDU type 0", wire.pdu(0, bytes(8)), UNRECOGNISED),
    Case("http_inside_an_association", "an HTTP request inside an association", b"POST / HTTP/1.1\r\n\r\n",
         UNRECOGNISED),
    Case("zeros_inside_a_data_set", "64 KiB of zeros in place of the next PDU", HALF_PDUS + bytes(65536), UNRECOGNISED),
    Case("a_long_release", "an A-RELEASE-RQ that declares 1 MiB", wire.pdu(5, length=1 << 20), INVALID),
    Case("an_empty_release", "an A-RELEASE-RQ of length 0", wire.pdu(5), RELEASED),
    Case("an_odd_release", "an A-RELEASE-RQ of 7 bytes", wire.pdu(5, bytes(7)), RELEASED),
    Case("an_empty_abort", "an A-ABORT of length 0", wire.pdu(7), Ended()),
    Case("an_abort_of_strange_reason", "an A-ABORT of source 77 and reason 99", wire.pdu(7, b"\0\0Mc"), Ended()),
    Case("release_twice", "A-RELEASE-RQ twice: answered once", wire.RELEASE_RQ * 2,
         RELEASED),
    Case("release_inside_a_data_set", "A-RELEASE-RQ inside a data set", HALF_PDUS + wire.RELEASE_RQ, RELEASED,
         says="A-RELEASE-RP; nothing of it is kept"),
    Case("release_inside_a_command", "A-RELEASE-RQ inside a command",
         wire.p_data(wire.pdv(wire.store_command()[:20], command=True, last=False)) + wire.RELEASE_RQ, RELEASED,
         says="A-RELEASE-RP; nothing of it is kept"),
    Case("abort_inside_a_data_set", "A-ABORT inside a data set", HALF_PDUS + wire.ABORT, Ended(),
         says="nothing of it is kept, the connection is closed"),
    Case("abort_inside_a_pdv", "A-ABORT where a PDV goes on: it is data, then FIN", _aborts_and_stays, Ended(),
         says="nothing of it is kept"),
    Case("reset_inside_a_data_set", "RST (SO_LINGER 0) inside a data set", _half_then_reset, Vanished()),
    Case("fin_inside_a_data_set", "FIN inside a data set", _half_then_fin, Ended(), says="nothing of it is kept"),
    Case("fin_inside_a_command", "FIN inside a command", _fin_in_command, Ended(), says="nothing of it is kept"),
    Case("fin_before_the_data_set", "FIN between a command and its data set", _fin_between, Ended(),
         says="nothing of it is kept"),
    Case("fin_instead_of_a_release", "FIN in place of the release", _fin_instead_of_release, Ended(),
         says="what was answered counts; outcome \"disconnected\""),
    Case("a_thousand_tiny_pdus", "a data set in 1,000 PDUs of at most 1 byte each",
         COMMAND
         + b"".join(wire.p_data(wire.pdv(bytes((byte,)), last=False)) for byte in wire.data_set())
         + wire.p_data(wire.pdv(b"", last=False)) * (999 - len(wire.data_set())) + wire.p_data(wire.pdv()),
         Answered(0), stored=1),
    Case("tiny_pdvs_in_one_pdu", "a data set in PDVs of 1 byte, 100 of them a PDU",
         COMMAND + b"".join(
             wire.p_data(*(wire.pdv(bytes((byte,)), last=False) for byte in wire.data_set()[at:at + 100]))
             for at in range(0, len(wire.data_set()), 100)) + wire.p_data(wire.pdv()), Answered(0), stored=1),
)  # fmt: skip


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
