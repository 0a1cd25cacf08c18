"""The A-ASSOCIATE-RQ: titles, versions, presentation contexts, user information (PS3.8 §9.3.2, PS3.7 annex D)."""

import struct
from typing import Any

from tests.hostile import wire
from tests.hostile.case import Case, contexts_of, each, play
from tests.hostile.peer import Aborted, Accepted, Expectation, Rejected
from tests.hostile.target import Target

INVALID = Aborted(6)
NOT_RECOGNISED = Rejected(1, 1, 7)
NOTHING = (wire.context(1, wire.VERIFICATION, [wire.IMPLICIT]),)
LONG = b"1." + b"2" * 4998
ALL = tuple((number, 0) for number in (1, 3, 5, 7, 9))
TAKEN = Accepted(*ALL)


def user(*extra: bytes, first: tuple[bytes, ...] = (wire.MAXIMUM_LENGTH, wire.IMPLEMENTATION)) -> dict[str, bytes]:
    return {"user": wire.user_information(*first, *extra)}


def titles() -> list[Case]:
    shapes = (
        ("spaces", "16 spaces", b" " * 16),
        ("nuls", "16 NULs", bytes(16)),
        ("0xff", "16 bytes 0xFF", b"\xff" * 16),
        ("backslashes", "backslashes", b"CENTRAL\\CENTRAL\\"),
        ("control_characters", "control characters", bytes(range(16))),
        ("a_newline", "a newline and a forged log line", b'X\n{"event":"y"}\r'),
        ("ansi", "an ANSI escape sequence", b"\x1b[31mCENTRAL\x1b[0m"),
        ("shell", "shell characters", b"$(reboot);`id`|&"),
        ("path", "a path", b"../../../etc/x\0\0"),
        ("format", "format specifiers", b"%s%n{0}{x!r}%x%x"),
        ("utf_8", "UTF-8 of a right-to-left override", "‮CENTRAL".encode()),
    )
    made = [
        Case(f"called_title_of_{name}", f"a called AE title of {what}", wire.associate_rq(called=title), NOT_RECOGNISED,
             associated=False)
        for name, what, title in shapes
    ]  # fmt: skip
    made += [
        Case(f"calling_title_of_{name}", f"a calling AE title of {what}", wire.associate_rq(calling=title), TAKEN,
             associated=False, says="accepted; shown as `?` where it is no AE title")
        for name, what, title in shapes
    ]  # fmt: skip
    return made


def asked(name: str, what: str, expect: Expectation = TAKEN, **options: Any) -> Case:
    return Case(name, what, wire.associate_rq(**options), expect, associated=False)


FRAMES = (
    asked("nul_padded_titles", "AE titles padded with NULs", called=b"CENTRAL".ljust(16, b"\0")),
    asked("odd_protocol_version", "all protocol-version bits set", version=0xFFFF),
    asked("protocol_version_0", "protocol version 0", Rejected(1, 2, 2), version=0),
    asked("protocol_version_2", "protocol version bit 1 alone", Rejected(1, 2, 2), version=2),
    asked("another_application_context", "an application context of nobody",
          application=wire.item(0x10, b"1.2.3.4")),
    asked("no_application_context", "no application context", application=b""),
    asked("two_application_contexts", "the application context twice",
          application=wire.item(0x10, wire.APPLICATION_CONTEXT.encode()) * 2),
    asked("an_application_context_past_the_end", "an application context that declares 65,535 bytes", INVALID,
          application=wire.item(0x10, b"1.2", length=65535)),
    asked("an_unknown_item", "items of an unknown type", extra=wire.item(0xAB, b"whatever") * 20),
    asked("trailing_garbage", "three bytes behind the last item", INVALID, extra=b"\1\2\3"),
    asked("an_item_past_the_end", "a last item that declares more than the PDU has", INVALID,
          extra=wire.item(0x20, b"1234", length=500)),
    asked("the_largest_request", "1 MiB of unknown items", extra=wire.item(0xAB, bytes(65000)) * 16),
    asked("a_request_over_1_mib", "one byte more than is waited for", INVALID, length=(1 << 20) + 1),
)  # fmt: skip

CONTEXTS = (
    asked("no_contexts", "no presentation context", Accepted(), contexts=()),
    asked("128_contexts", "128 contexts", Accepted(), contexts=contexts_of(128)),
    asked("200_contexts", "200 contexts: IDs are used twice", INVALID, contexts=contexts_of(200)),
    asked("4000_contexts", "4,000 contexts", INVALID, contexts=contexts_of(4000)),
    asked("duplicate_contexts", "the same context twice", Accepted((1, 0)), contexts=NOTHING * 2),
    asked("contexts_of_one_id", "two different contexts with one ID", INVALID,
          contexts=(*NOTHING, (1, wire.CT, [wire.EXPLICIT]))),
    asked("context_id_0", "a context with ID 0", INVALID, contexts=(*NOTHING, (0, wire.CT, [wire.EXPLICIT]))),
    asked("an_even_context_id", "a context with ID 2", INVALID, contexts=(*NOTHING, (2, wire.CT, [wire.EXPLICIT]))),
    asked("no_transfer_syntax", "a context without a transfer syntax", Accepted((1, 0), (3, 4)),
          contexts=(*NOTHING, (3, wire.CT, []))),
    asked("an_empty_transfer_syntax", "a transfer syntax of no characters", Accepted((1, 0), (3, 4)),
          contexts=(*NOTHING, (3, wire.CT, [""]))),
    asked("an_empty_abstract_syntax", "an abstract syntax of no characters", Accepted((1, 0), (3, 3)),
          contexts=(*NOTHING, (3, "", [wire.EXPLICIT]))),
    asked("an_empty_context", "a context of no bytes", INVALID, contexts=(*NOTHING, wire.item(0x20))),
    asked("two_abstract_syntaxes", "a context of two abstract syntaxes: the first counts", Accepted((1, 0), (3, 0)),
          contexts=(*NOTHING, wire.item(0x20, b"\3\0\0\0" + wire.item(0x30, wire.CT.encode()) * 2
                                        + wire.item(0x40, wire.EXPLICIT.encode())))),
    asked("an_abstract_syntax_of_5000", "an abstract syntax of 5,000 characters", Accepted((1, 0), (3, 3)),
          contexts=(*NOTHING, (3, LONG, [wire.EXPLICIT]))),
    asked("a_transfer_syntax_of_5000", "a transfer syntax of 5,000 characters", Accepted((1, 0), (3, 4)),
          contexts=(*NOTHING, (3, wire.CT, [LONG]))),
    asked("a_transfer_syntax_that_is_a_path", "a transfer syntax `../../etc/x`", Accepted((1, 0), (3, 4)),
          contexts=(*NOTHING, (3, wire.CT, ["../../etc/x"]))),
    asked("an_abstract_syntax_that_is_a_path", "an abstract syntax `../../etc/x`", Accepted((1, 0), (3, 3)),
          contexts=(*NOTHING, (3, "../../etc/x", [wire.EXPLICIT]))),
    asked("syntaxes_of_0xff", "syntaxes of bytes above 0x7F", Accepted((1, 0), (3, 4)),
          contexts=(*NOTHING, (3, b"\xff" * 20, [b"\xff" * 20]))),
    asked("a_sub_item_past_its_context", "a transfer syntax that declares more than its context has", INVALID,
          contexts=(*NOTHING, wire.item(0x20, b"\3\0\0\0" + wire.item(0x40, b"1.2", length=9999)))),
    asked("1000_transfer_syntaxes", "a context of 1,000 transfer syntaxes", Accepted((1, 0), (3, 0)),
          contexts=(*NOTHING, (3, wire.CT, [f"1.2.{number}" for number in range(1000)]))),
    asked("result_contexts_in_a_request", "presentation context items of an A-ASSOCIATE-AC", Accepted(),
          contexts=(*NOTHING, wire.context(3, wire.CT, [wire.EXPLICIT], kind=0x21))),
    asked("query_contexts", "C-FIND, C-MOVE, C-GET and print, which nobody offers", Accepted((1, 0), (3, 3), (5, 3)),
          contexts=(*NOTHING, (3, "1.2.840.10008.5.1.4.1.2.2.1", [wire.IMPLICIT]),
                    (5, "1.2.840.10008.5.1.1.9", [wire.IMPLICIT]))),
)  # fmt: skip

USER_INFORMATION = (
    asked("no_user_information", "no user information", user=b""),
    asked("an_empty_user_information", "user information of no sub-items", **user(first=())),
    asked("no_maximum_length", "no maximum length", **user(first=(wire.IMPLEMENTATION,))),
    asked("two_user_informations", "user information twice", user=wire.USER_INFORMATION * 2),
    asked("repeated_maximum_length", "50 maximum-length sub-items", **user(wire.MAXIMUM_LENGTH * 50)),
    asked("a_maximum_length_of_0", "maximum length 0: unlimited", **user(first=(wire.item(0x51, bytes(4)),))),
    asked("a_maximum_length_of_1", "maximum length 1", **user(first=(wire.item(0x51, b"\0\0\0\1"),))),
    asked("a_maximum_length_of_4_gib", "maximum length 0xFFFFFFFF", **user(first=(wire.item(0x51, b"\xff" * 4),))),
    asked("a_maximum_length_of_2_bytes", "a maximum-length sub-item of 2 bytes",
          **user(first=(wire.item(0x51, b"\0\1"),))),
    asked("a_maximum_length_of_400_bytes", "a maximum-length sub-item of 400 bytes",
          **user(first=(wire.item(0x51, bytes(400)),))),
    asked("a_sub_item_past_its_item", "a sub-item that declares more than the user information has", INVALID,
          **user(wire.item(0x52, b"1.2.3", length=4000))),
    asked("user_information_past_the_pdu", "user information that declares 65,535 bytes", INVALID,
          user=wire.user_information(wire.MAXIMUM_LENGTH, length=65535)),
    asked("garbage_in_user_information", "two bytes behind the last sub-item", INVALID, **user(b"\x51\0")),
    asked("an_unknown_sub_item", "sub-items of an unknown type", **user(wire.item(0xEE, b"junk") * 30)),
    asked("a_zero_length_sub_item", "an implementation class UID of no characters",
          **user(first=(wire.MAXIMUM_LENGTH, wire.item(0x52)))),
    asked("an_implementation_of_5000", "an implementation class UID of 5,000 characters",
          **user(first=(wire.MAXIMUM_LENGTH, wire.item(0x52, LONG)))),
    asked("an_implementation_version_of_escapes", "an implementation version name of escape sequences",
          **user(wire.item(0x55, b"\x1b[2J\n\xff"))),
    asked("asynchronous_operations", "an asynchronous operations window of 65,535",
          **user(wire.item(0x53, b"\xff\xff\xff\xff"))),
    asked("a_short_asynchronous_window", "an asynchronous operations window of 1 byte",
          **user(wire.item(0x53, b"\xff"))),
)  # fmt: skip

IDENTITY = (
    *(asked(f"user_identity_{kind}", f"user identity of type {kind}", **user(wire.user_identity(kind, b"joe", secret)))
      for kind, secret in ((1, b""), (2, b"secret"), (3, b""), (4, b""), (5, b""), (77, b""))),
    asked("an_empty_user_identity", "user identity of empty fields", **user(wire.user_identity(1, b""))),
    asked("a_user_identity_past_its_item", "user identity whose field declares 65,535 bytes",
          **user(wire.user_identity(2, b"joe", b"pw", lengths=(65535, 2)))),
    asked("a_password_past_its_item", "user identity whose second field declares 65,535 bytes",
          **user(wire.user_identity(2, b"joe", b"pw", lengths=(3, 65535)))),
    asked("a_short_user_identity", "a user identity sub-item of 1 byte", **user(wire.item(0x58, b"\1"))),
    asked("a_binary_user_identity", "a user identity of 60,000 random-looking bytes",
          **user(wire.user_identity(3, bytes(range(256)) * 234))),
    asked("two_user_identities", "user identity twice", **user(wire.user_identity(1, b"a") * 2)),
    asked("a_role_for_nobody", "role selection for a SOP class that is not proposed",
          **user(wire.role(b"1.2.3", 1, 1))),
    asked("a_role_of_junk", "role selection with role bytes 77 and 200",
          **user(wire.role(wire.CT.encode(), 77, 200))),
    asked("a_role_of_neither", "role selection of neither role", **user(wire.role(wire.CT.encode(), 0, 0))),
    asked("a_role_past_its_item", "role selection whose UID declares 5,000 bytes",
          **user(wire.role(wire.CT.encode(), 1, 1, length=5000))),
    asked("an_empty_role", "a role selection sub-item of no bytes", **user(wire.item(0x54))),
    asked("a_repeated_role", "role selection for one SOP class 20 times",
          **user(wire.role(wire.CT.encode(), 1, 0) * 20)),
    asked("a_role_of_escapes", "role selection for a SOP class UID of escape sequences",
          **user(wire.role(b"\x1b[2J\n", 1, 0))),
    asked("extended_negotiation_junk", "extended negotiation of 1,000 bytes of junk",
          **user(wire.extended(wire.CT.encode(), b"\xff" * 1000))),
    asked("extended_negotiation_past_its_item", "extended negotiation whose UID declares 5,000 bytes",
          **user(wire.extended(wire.CT.encode(), b"\1", length=5000))),
    asked("common_extended_junk", "common extended negotiation of junk",
          **user(wire.item(0x57, struct.pack(">H", 60000) + b"\xff" * 30))),
)  # fmt: skip

CASES = (*titles(), *FRAMES, *CONTEXTS, *USER_INFORMATION, *IDENTITY)


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
