"""Command sets and the order of messages (PS3.7 §6.3, §9.3, §10.3)."""

import struct
from collections.abc import Callable
from typing import Any

from tests.hostile import wire
from tests.hostile.case import Case, each, play, split
from tests.hostile.peer import DATA, Aborted, Answered, Expectation, Peer, Says, goes_on, response, statuses
from tests.hostile.target import Target
from tests.hostile.wire import us

INVALID, UNEXPECTED_PARAMETER = Aborted(6), Aborted(5)
ECHOED = Answered(0)
NOT_SERVED, MISSING = Answered(0x0211), Answered(0x0120)
NOTHING = Answered(says="no answer, the association goes on")
LARGEST = (64 << 10) - len(wire.echo_command(tail=wire.command_element(0x5010, b"")))


def echoed(name: str, what: str, expect: Expectation = ECHOED, changes: Any = None, **options: Any) -> Case:
    """A C-ECHO-RQ with these changes."""
    encoded = wire.echo_command(changes, **options)
    return Case(name, what, in_fragments(encoded, wire.ECHO), expect)


def stored(name: str, what: str, changes: Any, expect: Expectation = ECHOED, kept: int = 1) -> Case:
    """A C-STORE-RQ with these changes, and a sound data set."""
    return Case(name, what, wire.store(changes=changes), expect, stored=kept)


def in_fragments(encoded: bytes, number: int, size: int = 16000) -> bytes:
    pieces = split(encoded, size) or [b""]
    return b"".join(
        wire.p_data(wire.pdv(piece, number, command=True, last=at == len(pieces) - 1))
        for at, piece in enumerate(pieces)
    )


def field(name: str, number: int, what: str, *, has_data: bool = False, expect: Expectation = NOT_SERVED) -> Case:
    """A request of another Command Field on a storage context."""
    changes: dict[int, bytes | None] = {0x0100: us(number), 0x0800: us(0 if has_data else 0x0101)}
    data = wire.p_data(wire.pdv(wire.data_set())) if has_data else b""
    return Case(name, what, wire.request(wire.store_command(changes)) + data, expect)


def response_of(number: int) -> bytes:
    return wire.command({0x0002: wire.even(wire.CT.encode()), 0x0100: us(number), 0x0120: us(1), 0x0800: us(0x0101),
                         0x0900: us(0)})  # fmt: skip


CANCEL = wire.request(wire.command({0x0100: us(0x0FFF), 0x0120: us(1), 0x0800: us(0x0101)}))


def _pipelined(peer: Peer) -> None:
    for number in range(100):
        peer.send(wire.store(instance=f"1.2.826.0.2.{number}", changes={0x0110: us(number)}))


def _answers_in_order(peer: Peer) -> None:
    for number in range(100):
        kind, content = peer.read()
        assert kind == DATA
        assert (response(content).message_id, response(content).status) == (number, 0)
    goes_on(peer)


def _pipelined_echoes(peer: Peer) -> None:
    peer.send(wire.echo() * 1000)


def _echoes(number: int) -> Callable[[Peer], None]:
    def check(peer: Peer) -> None:
        for answer in statuses(peer, *[0] * 3):
            assert answer.message_id == number
        goes_on(peer)

    return check


COMMAND_SETS = (
    echoed("group_length_0", "a command group length of 0", group_length=0),
    echoed("group_length_4_gib", "a command group length of 0xFFFFFFFF", group_length=0xFFFFFFFF),
    echoed("group_length_1_short", "a command group length that is one too small", group_length=55),
    Case("no_group_length", "no command group length", in_fragments(wire.echo_command()[12:], wire.ECHO), ECHOED),
    Case("group_length_twice", "the command group length twice",
         in_fragments(wire.echo_command()[:12] + wire.echo_command(), wire.ECHO), INVALID),
    echoed("an_element_past_the_end", "an element that goes past the command set", INVALID,
           tail=wire.command_element(0x5010, b"x", length=100)),
    echoed("an_element_of_4_gib", "an element of length 0xFFFFFFFF", INVALID,
           tail=wire.command_element(0x5010, b"x", length=0xFFFFFFFF)),
    echoed("half_an_element", "seven bytes behind the last element", INVALID, tail=bytes(7)),
    echoed("an_element_of_another_group", "(0008,0018) in a command set", INVALID,
           tail=wire.command_element(0x0018, b"1.2 ", group=8)),
    echoed("a_repeated_element", "the Command Field twice", INVALID, tail=wire.command_element(0x0100, us(1))),
    echoed("an_unknown_element", "elements nobody knows", tail=wire.command_element(0x7777, b"whatever")
           + wire.command_element(0x7778, b"")),
    echoed("a_message_id_of_4_bytes", "a Message ID of 4 bytes", INVALID, {0x0110: bytes(4)}),
    echoed("an_empty_message_id", "a Message ID of no bytes", INVALID, {0x0110: b""}),
    echoed("a_command_field_of_1_byte", "a Command Field of 1 byte", INVALID, {0x0100: b"\x30"}),
    echoed("a_data_set_type_of_3_bytes", "a Command Data Set Type of 3 bytes", INVALID, {0x0800: b"\1\1\1"}),
    echoed("an_echo_without_a_sop_class", "a C-ECHO-RQ without a SOP class", changes={0x0002: None}),
    echoed("an_echo_without_a_message_id", "a C-ECHO-RQ without a Message ID", MISSING, {0x0110: None}),
    echoed("no_command_field", "no Command Field", UNEXPECTED_PARAMETER, {0x0100: None}),
    echoed("an_echo_without_a_data_set_type", "a C-ECHO-RQ without a Command Data Set Type", changes={0x0800: None}),
    Case("an_empty_command_set", "a command set of no bytes", in_fragments(b"", wire.ECHO), UNEXPECTED_PARAMETER),
    Case("an_unordered_command_set", "a command set in descending order",
         in_fragments(wire.command(dict(sorted(wire.ECHO_ELEMENTS.items(), reverse=True))), wire.ECHO), ECHOED),
    echoed("a_command_set_of_64_kib", "a command set of just 64 KiB",
           tail=wire.command_element(0x5010, bytes(LARGEST))),
    echoed("a_command_set_over_64_kib", "a command set of two bytes more", INVALID,
           tail=wire.command_element(0x5010, bytes(LARGEST + 2))),
    Case("a_command_set_without_end", "command fragments without a last one",
         wire.p_data(wire.pdv(bytes(16000), wire.ECHO, command=True, last=False)) * 100, INVALID),
    Case("a_command_in_1_byte_fragments", "a command set in fragments of 1 byte, one a PDU",
         in_fragments(wire.echo_command(), wire.ECHO, 1), ECHOED),
    Case("a_big_endian_command_set", "a command set in big endian",
         in_fragments(struct.pack(">HHII", 0, 0, 4, 10) + struct.pack(">HHIH", 0, 0x100, 2, 0x30), wire.ECHO), INVALID),
    Case("an_explicit_vr_command_set", "a command set with explicit VRs",
         in_fragments(wire.element(0, "UL", bytes(4)) + wire.element(0x100, "US", us(0x30)), wire.ECHO), INVALID),
    Case("a_random_command_set", "1,000 bytes of 0xFF as a command set", in_fragments(b"\xff" * 1000, wire.ECHO),
         INVALID),
    Case("a_data_set_as_command_set", "a data set in command fragments", wire.request(wire.data_set()), INVALID),
)  # fmt: skip

REQUESTS = (
    stored("a_store_without_a_sop_class", "a C-STORE-RQ without an Affected SOP Class UID", {0x0002: None}, MISSING, 0),
    stored("a_store_without_a_sop_instance", "a C-STORE-RQ without an Affected SOP Instance UID", {0x1000: None},
           MISSING, 0),
    stored("an_empty_sop_instance_uid", "an empty Affected SOP Instance UID", {0x1000: b""}, MISSING, 0),
    stored("a_sop_instance_uid_of_spaces", "an Affected SOP Instance UID of spaces and NULs", {0x1000: b"  \0\0"},
           MISSING, 0),
    stored("a_store_without_a_message_id", "a C-STORE-RQ without a Message ID", {0x0110: None}, MISSING, 0),
    stored("a_store_without_a_priority", "a C-STORE-RQ without a Priority", {0x0700: None}),
    stored("a_priority_of_junk", "Priority 0xFFFF", {0x0700: us(0xFFFF)}),
    stored("a_priority_of_5_bytes", "a Priority of 5 bytes", {0x0700: bytes(5)}),
    stored("a_store_without_a_data_set_type", "a C-STORE-RQ without a Command Data Set Type", {0x0800: None},
           Aborted(5, 0xC000), 0),
    stored("a_store_that_has_no_data_set", "a C-STORE-RQ that says no data set follows, and one that does",
           {0x0800: us(0x0101)}, Aborted(5, 0xC000), 0),
    stored("a_data_set_type_of_junk", "Command Data Set Type 0xABCD: anything but 0101 is a data set",
           {0x0800: us(0xABCD)}),
    stored("message_id_0", "Message ID 0", {0x0110: us(0)}),
    stored("message_id_65535", "Message ID 65535", {0x0110: us(65535)}),
    stored("a_move_originator_of_escapes", "a Move Originator AE title of escape sequences", {0x1030: b"\x1b[2J\n"}),
    Case("a_sop_class_of_another", "an Affected SOP Class UID that is not the data set's",
         wire.store(changes={0x0002: wire.even(b"1.2.840.10008.5.1.4.1.1.4")}), Answered(0xA900), quarantined=1),
    Case("a_sop_class_of_60_kb", "an Affected SOP Class UID of 60,000 characters: the response does not repeat it",
         in_fragments(wire.store_command({0x0002: b"1." * 30_000}), wire.STORE)
         + wire.p_data(wire.pdv(wire.data_set())), Answered(0xA900), quarantined=1),
    Case("a_sop_class_of_junk", "an Affected SOP Class UID `$(reboot)` in command and data set",
         wire.store(wire.data_set(sop_class="$(reboot)"), changes={0x0002: wire.even(b"$(reboot)")}), ECHOED, stored=1),
    Case("a_store_on_the_verification_context", "a C-STORE-RQ on the Verification context",
         wire.store(number=wire.ECHO), Answered(0x0122)),
    Case("an_echo_on_a_storage_context", "a C-ECHO-RQ on a storage context", wire.request(wire.echo_command()), ECHOED),
    Case("an_echo_with_a_data_set", "a C-ECHO-RQ that announces a data set, which comes",
         wire.request(wire.echo_command({0x0800: us(0)}), wire.ECHO) + wire.p_data(wire.pdv(b"1234", wire.ECHO)),
         ECHOED),
    Case("a_repeated_message_id", "three C-ECHO-RQ with one Message ID", wire.echo(7) * 3,
         Says("each is answered", _echoes(7))),
    field("an_unknown_command_field", 0x7777, "Command Field 7777"),
    field("an_unknown_command_with_data", 0x7776, "Command Field 7776, and a data set", has_data=True),
    field("command_field_0", 0x0000, "Command Field 0000"),
    field("c_find", 0x0020, "a C-FIND-RQ", has_data=True),
    field("c_get", 0x0010, "a C-GET-RQ", has_data=True),
    field("c_move", 0x0021, "a C-MOVE-RQ", has_data=True),
    field("n_event_report", 0x0100, "an N-EVENT-REPORT-RQ", has_data=True),
    field("n_get", 0x0110, "an N-GET-RQ"),
    field("n_set", 0x0120, "an N-SET-RQ", has_data=True),
    field("n_action", 0x0130, "an N-ACTION-RQ", has_data=True),
    field("n_create", 0x0140, "an N-CREATE-RQ", has_data=True),
    field("n_delete", 0x0150, "an N-DELETE-RQ"),
    field("a_move_response_nobody_asked_for", 0x8021, "a C-MOVE-RSP, and a data set", has_data=True, expect=NOTHING),
    Case("a_response_nobody_asked_for", "a C-STORE-RSP", wire.request(response_of(0x8001)), NOTHING),
    Case("an_unknown_response", "a response of Command Field FFFF", wire.request(response_of(0xFFFF)), NOTHING),
    Case("a_response_flood", "1,000 responses nobody asked for", wire.request(response_of(0x8030)) * 1000, NOTHING),
    Case("a_cancel_nobody_waits_for", "a C-CANCEL-RQ", CANCEL, NOTHING),
    Case("a_cancel_flood", "3,000 C-CANCEL-RQ, then an echo", CANCEL * 3000, NOTHING),
    Case("100_pipelined_stores", "100 C-STORE-RQ before the first answer is read", _pipelined,
         Says("0000, each in its order", _answers_in_order), stored=100),
    Case("1000_pipelined_echoes", "1,000 C-ECHO-RQ before the first answer is read", _pipelined_echoes,
         Answered(*[0] * 1000)),
    Case("a_second_command_set", "a C-ECHO-RQ where the data set of a C-STORE-RQ should begin",
         wire.request(wire.store_command()) + wire.echo(), UNEXPECTED_PARAMETER),
)  # fmt: skip

CASES = (*COMMAND_SETS, *REQUESTS)


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
