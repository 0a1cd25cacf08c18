"""What an A-ASSOCIATE-RQ's items become before anything else reads them."""

import struct

import pytest

from noctis.listener.items import APPLICATION_CONTEXT_ITEM, mended
from noctis.listener.pdu import ProtocolError
from tests.hostile import wire

CONTEXT = wire.context(1, wire.VERIFICATION, [wire.IMPLICIT])
SOUND = APPLICATION_CONTEXT_ITEM + CONTEXT + wire.USER_INFORMATION
UID = wire.CT.encode()


def test_what_is_sound_stays() -> None:
    sub_items = (
        wire.MAXIMUM_LENGTH,
        wire.IMPLEMENTATION,
        wire.item(0x53, struct.pack(">HH", 1, 1)),
        wire.role(UID, 1, 1),
        wire.extended(UID, b"\1\1"),
        wire.item(0x57, b"\0\x031.2\0\x031.3\0\5\0\x031.4"),
        wire.user_identity(2, b"joe", b"secret"),
    )
    items = APPLICATION_CONTEXT_ITEM + CONTEXT + wire.user_information(*sub_items)
    assert mended(items) == items


@pytest.mark.parametrize(
    "items",
    [
        APPLICATION_CONTEXT_ITEM + wire.item(0xAB, b"what") + CONTEXT + wire.USER_INFORMATION + wire.item(0, b""),
        CONTEXT + wire.USER_INFORMATION,
        wire.item(0x10, b"1.2.3") + CONTEXT + wire.USER_INFORMATION * 2,
    ],
)
def test_what_nobody_understands_is_left_out(items: bytes) -> None:
    assert mended(items) == SOUND


@pytest.mark.parametrize(
    "sub_item",
    [
        wire.item(0xEE, b"what"),
        wire.item(0x51, bytes(2)),
        wire.item(0x52, b"../../etc/x"),
        wire.item(0x52, b"1." * 40 + b"1"),
        wire.item(0x53, b"\1"),
        wire.item(0x54),
        wire.role(UID, 2, 0),
        wire.role(UID, 1, 1, length=500),
        wire.role(b"\x1b[2J", 1, 1),
        wire.item(0x55, b"a name that is too long"),
        wire.item(0x55, b"\x1b[2J"),
        wire.extended(UID, b"\1", length=500),
        wire.item(0x57, b"\0\x031.2\0\x031.3\0\5\0\x771.4"),
        wire.item(0x57, b"\0\x03x"),
        wire.user_identity(77, b"joe"),
        wire.user_identity(2, b"joe", b"secret", lengths=(3, 60000)),
        wire.user_identity(2, b"joe", b"secret", lengths=(60000, 6)),
        wire.MAXIMUM_LENGTH,  # for the second time
    ],
)
def test_a_sub_item_that_says_nothing_is_left_out(sub_item: bytes) -> None:
    user_information = wire.user_information(wire.MAXIMUM_LENGTH, sub_item, wire.IMPLEMENTATION)
    assert mended(APPLICATION_CONTEXT_ITEM + CONTEXT + user_information) == SOUND


def test_a_role_of_each_sop_class_stays_once() -> None:
    one, other = wire.role(b"1.2.3", 1, 0), wire.role(b"1.2.4", 1, 0)
    expected = APPLICATION_CONTEXT_ITEM + wire.user_information(one, other)
    assert mended(wire.user_information(one, other, one)) == expected


@pytest.mark.parametrize(
    ("items", "word"),
    [
        (b"\x20\0\0", "3 bytes behind the last item of the PDU"),
        (wire.item(0x20, b"1234", length=5), "0x20 that goes past the PDU"),
        (wire.user_information(wire.item(0x51, length=9)), "0x51 that goes past the user information"),
        (wire.user_information(b"\x51\0"), "2 bytes behind the last item of the user information"),
        (wire.item(0x20), "without an ID"),
        (wire.context(0, wire.CT, [wire.IMPLICIT]), "ID 0"),
        (wire.context(2, wire.CT, [wire.IMPLICIT]), "ID 2"),
        (CONTEXT + wire.context(1, wire.CT, [wire.IMPLICIT]), "two different presentation contexts with ID 1"),
    ],
)
def test_broken_framing_is_refused(items: bytes, word: str) -> None:
    with pytest.raises(ProtocolError, match=word):
        mended(items)


def test_what_a_peer_wrote_is_cut_and_printable_in_the_message() -> None:
    message = str(ProtocolError("\x1b[2J\n" + "x" * 5000))
    assert message.isprintable()
    assert len(message) == 200
