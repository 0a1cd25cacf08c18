"""Data sets: bombs, nesting, lengths that lie, what is none (PS3.5 §7, §A.5)."""

import struct
import zlib

from tests.hostile import wire
from tests.hostile.case import Case, each, play
from tests.hostile.peer import Answered, Expectation, Peer
from tests.hostile.target import Target
from tests.hostile.wire import DELIMITER, ITEM, SEQUENCE_END, UNDEFINED, element

STORED, UNREADABLE = Answered(0), Answered(0xC000)
SEQUENCE = 0x00081140  # Referenced Image Sequence: before every wanted UID but the SOP's
BEHIND = 0x00200030  # an element behind the last UID
GIB = 1 << 30
UIDS_BEFORE = b"".join(element(tag, vr, value) for tag, vr, value in wire.elements() if tag < 0x00100000)


def kept(name: str, what: str, data: bytes, *, number: int = wire.STORE) -> Case:
    """A sound enough data set: it is stored as it came."""
    return Case(name, what, wire.store(data, number=number), STORED, stored=1)


def refused(name: str, what: str, data: bytes, *, number: int = wire.STORE, expect: Expectation = UNREADABLE) -> Case:
    """No data set: it is kept aside and its sender is told."""
    return Case(name, what, wire.store(data, number=number), expect, quarantined=1)


def deflated(before: bytes, repeated: bytes, count: int, after: bytes) -> bytes:
    """A raw deflate stream of `before`, `count` MiB of `repeated`, and `after`."""
    machine = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start = machine.compress(before) + machine.flush(zlib.Z_FULL_FLUSH)
    block = machine.compress(repeated * ((1 << 20) // len(repeated))) + machine.flush(zlib.Z_FULL_FLUSH)
    return start + block * count + machine.compress(after) + machine.flush()  # blocks depend on nothing before


def bomb(in_front: bool) -> bytes:
    """2 GiB of zeros: as pixel data behind the header, or as a private element in front of it."""
    if in_front:
        return deflated(element(0x00090010, "OB", b"", length=2 * GIB), b"\0", 2048, wire.data_set())
    return deflated(wire.data_set()[:-44] + element(0x7FE00010, "OW", b"", length=2 * GIB), b"\0", 2048, b"")


def nested(levels: int, *, defined: bool) -> bytes:
    """A sequence in a sequence in a sequence."""
    if not defined:
        head = element(SEQUENCE, "SQ", length=UNDEFINED) + ITEM
        return head * levels + (DELIMITER + SEQUENCE_END) * levels
    encoded = bytearray()
    length = 20 * levels
    for _ in range(levels):
        length -= 12
        encoded += element(SEQUENCE, "SQ", length=length)
        length -= 8
        encoded += struct.pack("<HHI", 0xFFFE, 0xE000, max(length, 0))
    return bytes(encoded)


def part_10() -> bytes:
    return bytes(128) + b"DICM" + file_meta() + wire.data_set()


def file_meta() -> bytes:
    content = element(0x00020010, "UI", "1.2.840.10008.1.2.2") + element(0x00020002, "UI", wire.CT)
    return element(0x00020000, "UL", struct.pack("<I", len(content))) + content


def _empty(peer: Peer) -> None:
    peer.send(wire.request(wire.store_command()) + wire.p_data(wire.pdv()))


BOMBS = (
    kept("a_deflated_bomb_of_pixels", "2 MB that inflate to 2 GiB of pixel data", bomb(False),
         number=wire.STORE_DEFLATED),
    refused("a_deflated_bomb_before_the_header", "2 MB that inflate to 2 GiB in front of the header", bomb(True),
            number=wire.STORE_DEFLATED),
    refused("a_deflated_bomb_of_elements", "a stream that inflates to 40 million empty elements",
            deflated(b"", element(0x00090010, "LO"), 300, b""), number=wire.STORE_DEFLATED),
    refused("a_deflated_stream_without_end", "a deflated data set that ends in the middle",
            deflated(b"", wire.data_set(), 1, b"")[:200], number=wire.STORE_DEFLATED),
    refused("a_damaged_deflated_stream", "a deflated data set with spoilt bytes",
            deflated(wire.data_set(), b"\0", 1, b"")[:30] + b"\xff" * 200, number=wire.STORE_DEFLATED),
    refused("empty_deflate_blocks", "1 MB of deflate blocks of nothing", b"\0\0\0\xff\xff" * 200_000,
            number=wire.STORE_DEFLATED),
    kept("not_deflated", "an undeflated data set on a deflated context", wire.data_set(), number=wire.STORE_DEFLATED),
    refused("a_zlib_header", "a stream with zlib's header, which is no raw one", zlib.compress(b"\x08\0" * 5000),
            number=wire.STORE_DEFLATED),
)  # fmt: skip

NESTING = (
    refused("nested_50000_undefined", "50,000 sequences of undefined length inside each other",
            wire.with_element(nested(50_000, defined=False))),
    kept("nested_50000_explicit", "50,000 sequences of explicit length inside each other",
         wire.with_element(nested(50_000, defined=True))),
    refused("nested_without_end", "50,000 sequences that are opened and never closed",
            UIDS_BEFORE + (element(SEQUENCE, "SQ", length=UNDEFINED) + ITEM) * 50_000),
    kept("nested_behind_the_header", "64 sequences inside each other behind the header",
         wire.with_element(nested(64, defined=False), BEHIND - 0x1D)),
    refused("nested_50000_behind_the_header", "50,000 sequences inside each other behind the header",
         wire.with_element(element(0x00400275, "SQ", length=UNDEFINED) + ITEM + nested(50_000, defined=False)
                              + DELIMITER + SEQUENCE_END, 0x00280011)),
    refused("items_without_end", "50,000 empty items in a sequence that never ends",
            UIDS_BEFORE + element(SEQUENCE, "SQ", length=UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 50_000),
    refused("a_sequence_that_never_ends", "a sequence of undefined length without a delimiter",
            UIDS_BEFORE + element(SEQUENCE, "SQ", length=UNDEFINED)),
    refused("an_item_that_never_ends", "an item of undefined length without a delimiter",
            UIDS_BEFORE + element(SEQUENCE, "SQ", length=UNDEFINED) + ITEM + element(0x00081150, "UI", "1.2")),
    refused("a_sequence_item_past_the_end", "an item that declares 2 GiB",
            UIDS_BEFORE + element(SEQUENCE, "SQ", length=UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, 1 << 31)),
    refused("an_item_outside_a_sequence", "an item with bytes between two elements",
            wire.with_element(struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"1234")),
    kept("a_delimiter_outside_a_sequence", "an item delimiter between two elements", wire.with_element(DELIMITER)),
    refused("bytes_in_place_of_an_item", "a sequence of undefined length without items",
            wire.with_element(element(SEQUENCE, "SQ", length=UNDEFINED) + element(0x00081150, "UI", "1.2"))),
    refused("200000_elements", "200,000 empty elements before the header's last", UIDS_BEFORE
            + b"".join(element(0x00090000 + (number & 0xFFFF), "LO") for number in range(200_000))),
)  # fmt: skip

LENGTHS = (
    refused("a_value_past_the_end", "a value that goes past the data set's end",
            wire.with_element(element(0x00081030, "UT", b"x", length=GIB))),
    refused("a_value_of_4_gib", "a value of length 0xFFFFFFFE",
            wire.with_element(element(0x00081030, "UT", length=0xFFFFFFFE))),
    refused("an_undefined_length_of_text", "length 0xFFFFFFFF on a VR that may not have it",
            wire.with_element(element(0x00081030, "UT", length=UNDEFINED))),
    refused("an_undefined_length_of_un", "length 0xFFFFFFFF on UN, without items",
            wire.with_element(element(0x00091030, "UN", length=UNDEFINED))),
    refused("pixel_data_past_the_end", "pixel data that ends early", wire.data_set()[:-10]),
    kept("pixel_data_without_end", "encapsulated pixel data without an end",
         wire.data_set()[:-44] + element(0x7FE00010, "OB", length=UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)),
    kept("a_group_length_that_lies", "group lengths of 0 and 0xFFFFFFFF",
         wire.data_set(before=element(0x00080000, "UL", b"\xff" * 4))),
    kept("a_group_length_of_4_bytes_too_many", "a group length of 8 bytes",
         wire.data_set(before=element(0x00080000, "UL", b"\xff" * 8))),
    kept("odd_lengths", "a value of odd length", wire.with_element(element(0x00080070, "LO", b"odd", pad=False))),
    kept("rows_of_400_bytes", "Rows of 400 bytes",
         wire.with_element(element(0x00280010, "US", bytes(400)), 0x00200013)),
    kept("a_patient_name_of_60_kb", "a Patient's Name of 60,000 characters",
         wire.with_element(element(0x00100010, "PN", wire.PATIENT_NAME * 2400))),
    kept("a_character_set_of_junk", "a Specific Character Set of 10,000 bytes of junk",
         element(0x00080005, "CS", b"\\\x1b$B" * 2500) + wire.data_set()),
    kept("escapes_in_a_name", "a Patient's Name of escape sequences of no character set",
         wire.with_element(element(0x00100010, "PN", b"\x1b$)C\x1b\x1b(" + wire.PATIENT_NAME))),
)  # fmt: skip

NO_DATA_SETS = (
    Case("an_empty_data_set", "a data set of no bytes", _empty, UNREADABLE, quarantined=1),
    refused("seven_bytes", "a data set of 7 bytes", b"\x08\0\x16\0UI\0"),
    refused("zeros_as_data_set", "100 kB of zeros", bytes(100_000)),
    refused("ones_as_data_set", "100 kB of 0xFF", b"\xff" * 100_000),
    refused("text_as_data_set", "HTML", b"<html>" * 2000),
    refused("a_truncated_data_set", "half a data set, with a sound end of the message",
            wire.data_set()[:len(wire.data_set()) // 2]),
    refused("a_truncated_header", "a data set that ends inside an element's head", UIDS_BEFORE + b"\x10\0\x10"),
    refused("a_whole_file", "a whole Part 10 file, preamble and all", part_10()),
    refused("a_file_meta", "a file meta in front of the data set, which names another transfer syntax",
            file_meta() + wire.data_set()),
    refused("a_command_set_as_data_set", "a command set as data set", wire.store_command()),
    refused("a_dicomdir", "a data set of directory records", element(0x00041130, "CS", "DISC")
            + element(0x00041220, "SQ", length=UNDEFINED) + SEQUENCE_END),
    refused("unknown_vrs", "VRs of no letters", b"".join(
        struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"\0\xff" + struct.pack("<H", len(value)) + value
        for tag, _, value in wire.elements())),
    kept("future_vrs", "an element of a VR that nobody knows yet",
         wire.with_element(element(0x00090010, "ZZ", b"1234"))),
    kept("implicit_on_an_explicit_context", "an Implicit VR data set on an Explicit VR context",
         wire.implicit_data_set()),
    kept("explicit_on_an_implicit_context", "an Explicit VR data set on an Implicit VR context", wire.data_set(),
         number=wire.STORE_IMPLICIT),
    kept("big_on_a_little_context", "a Big Endian data set on a Little Endian context", wire.data_set(order=">")),
    kept("little_on_a_big_context", "a Little Endian data set on a Big Endian context", wire.data_set(),
         number=wire.STORE_BIG),
    kept("compressed_pixels_on_a_plain_context", "encapsulated JPEG 2000 on an uncompressed context",
         wire.data_set()[:-44] + element(0x7FE00010, "OB", length=UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
         + struct.pack("<HHI", 0xFFFE, 0xE000, 8) + b"\xff\x4f\xff\x51\xff\xd9\0\0" + SEQUENCE_END),
    kept("elements_twice", "every element twice", wire.data_set(after=wire.data_set()[:-44])),
    kept("elements_in_disorder", "the header in descending order",
         b"".join(element(tag, vr, value) for tag, vr, value in reversed(wire.elements()[:-1]))),
    refused("a_header_behind_pixel_data", "pixel data first, the header behind it",
            b"".join(element(tag, vr, value) for tag, vr, value in reversed(wire.elements()))),
)  # fmt: skip

CASES = (*BOMBS, *NESTING, *LENGTHS, *NO_DATA_SETS)


@each(CASES)
def test_case(case: Case, target: Target) -> None:
    play(case, target)
