"""The header of a data set: what is read, what is flagged, what is refused."""

import struct
from collections.abc import Callable

import pytest

from noctis.repository.header import HeaderError
from tests.unit.repository.header_data import (
    BIG_ENDIAN,
    DEFLATED,
    EXPECTED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    NESTED,
    SEQUENCE_END,
    UNDEFINED,
    big,
    data_set,
    deflated,
    explicit,
    flagged,
    implicit,
    item,
    read,
)


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (data_set(), EXPLICIT),
        (data_set(), JPEG),
        (data_set(), "1.2.3.private.syntax"),
        (data_set(implicit), IMPLICIT),
        (data_set(big, order=">"), BIG_ENDIAN),
        (deflated(data_set()), DEFLATED),
    ],
)
def test_every_encoding_gives_the_same_header(data: bytes, syntax: str) -> None:
    assert read(data, syntax) == EXPECTED


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (data_set(implicit), EXPLICIT),
        (data_set(), IMPLICIT),
        (data_set(), BIG_ENDIAN),
        (data_set(big, order=">"), EXPLICIT),
        (data_set(big, order=">"), IMPLICIT),
        (data_set(), DEFLATED),
        (data_set(implicit), DEFLATED),
        (deflated(data_set(implicit)), DEFLATED),
    ],
)
def test_a_data_set_in_another_encoding_than_declared_is_read_and_flagged(data: bytes, syntax: str) -> None:
    assert flagged(read(data, syntax), "syntax")


@pytest.mark.parametrize(
    "extra",
    [
        explicit(0x00081140, b"SQ", item(explicit(0x00100010, b"PN", b"Nobody"))),
        NESTED + SEQUENCE_END,
        NESTED + item(explicit(0x00100020, b"LO", b"P2"), defined=True) + SEQUENCE_END,
        explicit(0x00081140, b"SQ", length=UNDEFINED) + item(NESTED + SEQUENCE_END) + SEQUENCE_END,
        # UN of undefined length holds Implicit VR (PS3.5 §6.2.2 note 2), though some write explicit
        explicit(0x00091010, b"UN", length=UNDEFINED) + item(implicit(0x00100010, b"PN", b"Nobody")) + SEQUENCE_END,
        explicit(0x00091010, b"UN", length=UNDEFINED) + item(explicit(0x00100010, b"PN", b"Nobody")) + SEQUENCE_END,
        # fragments, as in an icon
        explicit(0x00091010, b"OB", length=UNDEFINED) + item(b"\xff\xd8", defined=True) + SEQUENCE_END,
        explicit(0x00091010, b"UT", b"x" * 300_000),
        explicit(0x00091010, b"OX", b"a VR of a later edition "),
        explicit(0x00091010, b"ZZ", b"and one with two bytes of length"),
        explicit(0x00091010, b"??", b"a spoilt one"),
        implicit(0x00091010, b"", b"implicit in the midst of explicit "),
    ],
)
def test_what_stands_in_between_is_skipped(extra: bytes) -> None:
    assert read(data_set(extra=extra)) == EXPECTED


def test_a_length_that_looks_like_a_vr_does_not_make_an_item_explicit() -> None:
    (length,) = struct.unpack("<H", b"UN")
    extra = implicit(0x00081140, b"SQ", length=UNDEFINED) + item(implicit(0x00081150, b"", b"x" * length))
    assert read(data_set(implicit, extra=extra + SEQUENCE_END), IMPLICIT) == EXPECTED


def test_an_unknown_element_of_undefined_length_without_items_is_left_to_pydicom() -> None:
    extra = explicit(0x00091010, b"OB", b"no item here" + SEQUENCE_END, length=UNDEFINED)
    assert read(data_set(extra=extra)) == EXPECTED


def test_elements_out_of_order_are_found_and_the_last_of_two_counts() -> None:
    late = explicit(0x00080050, b"SH", b"A1") + explicit(0x00280008, b"IS", b"3 ") + explicit(0x00100020, b"LO", b"P9")
    header = read(data_set()[: -len(explicit(0x7FE00010, b"OW", b"\1\2" * 50))] + late)
    assert (header.accession_number, header.frames, header.patient_id) == ("A1", "3", "P9")


def test_what_follows_the_pixel_data_cannot_change_the_header() -> None:
    assert read(data_set() + explicit(0x00100020, b"LO", b"P9")) == EXPECTED
    assert read(data_set() + data_set(implicit)) == EXPECTED


def test_encapsulated_pixel_data_is_not_walked() -> None:
    head = data_set()[: -len(explicit(0x7FE00010, b"OW", b"\1\2" * 50))]
    assert read(head + explicit(0x7FE00010, b"OB", b"cut short in a fragm", length=UNDEFINED)) == EXPECTED


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 7, b"\0" * 500, explicit(0xFFFCFFFC, b"OB", b"\0" * 20)])
def test_padding_at_the_end_is_let_be(padding: bytes) -> None:
    assert read(data_set() + padding) == EXPECTED


@pytest.mark.parametrize("element", [explicit, implicit])
def test_a_data_set_that_ends_inside_an_element_is_refused_wherever_it_ends(element: Callable[..., bytes]) -> None:
    syntax = EXPLICIT if element is explicit else IMPLICIT
    whole = data_set(element, extra=NESTED + SEQUENCE_END if element is explicit else b"")
    ends = {0}
    for tag in (0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100010, 0x00100020, 0x0020000D, 0x0020000E):
        ends.add(whole.rindex(element(tag, b"XX")[:4]))
    for tag in (0x00081140, 0x00200013, 0x00280010, 0x00280011, 0x7FE00010):
        if element(tag, b"XX")[:4] in whole:
            ends.add(whole.index(element(tag, b"XX")[:4]))
    for end in range(len(whole)):
        if end in ends:
            continue  # between two elements nothing shows; the UIDs that are missing then will
        try:
            header = read(whole[:end], syntax)
        except HeaderError:
            continue
        # a few NULs of a cut tag look like padding
        assert not whole[max(position for position in ends if position <= end) : end].strip(b"\0"), (end, header)


def test_the_message_names_the_element_and_no_value() -> None:
    whole = data_set()
    with pytest.raises(HeaderError, match=r"^the data set ends inside element \(7FE0,0010\)$"):
        read(whole[:-1])
    cut = whole[: whole.index("Łoś".encode()) + 3]
    with pytest.raises(HeaderError, match=r"^the data set ends inside element \(0010,0010\)$"):
        read(cut)
    with pytest.raises(HeaderError, match=r"^the data set ends inside element \(0008,1140\)$"):
        read(explicit(0x00080016, b"UI", b"1.2\0") + NESTED)


@pytest.mark.parametrize("data", [b"", b"\0", b"\x08\0\x05\0CS"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_nothing_or_nearly_nothing_is_refused(data: bytes, syntax: str) -> None:
    with pytest.raises(HeaderError):
        read(data, syntax)


def test_garbage_is_refused_with_tag_and_offset() -> None:
    with pytest.raises(HeaderError, match=r"byte \d+"):
        read(explicit(0x00080005, b"CS", b"ISO_IR 192") + b"\x09\0\x10\0\xff\xff\xff\xff" + b"\xfe" * 400)


def test_garbage_that_looks_like_high_tags_is_refused() -> None:
    with pytest.raises(HeaderError):
        read(b"\xe2``ep\x0e\xe6b\xf0\x0c\xf6\x8f\xf7\x0cR0" * 20)


def test_text_elements_with_other_vrs_are_read_and_flagged() -> None:
    for vr in (b"UN", b"OB", b"LT", b"UT"):
        data = data_set().replace(explicit(0x00100020, b"LO", b"P1"), explicit(0x00100020, vr, b"P1"))
        assert flagged(read(data), "vr")


def test_a_number_where_text_should_be_is_left_out() -> None:
    number = explicit(0x00200013, b"US", b"\7\0")
    header = read(data_set().replace(explicit(0x00200013, b"IS", b"7 "), number))
    assert (header.instance_number, header.flags) == ("", ("vr",))


@pytest.mark.parametrize("rows", [explicit(0x00280010, b"UN", b"1"), explicit(0x00280010, b"US", b"\0\2\0\2")])
def test_rows_that_are_not_two_bytes_are_unknown(rows: bytes) -> None:
    header = read(data_set().replace(explicit(0x00280010, b"US", b"\0\2"), rows))
    assert (header.rows, header.columns, header.flags) == (None, 256, ("vr",))


def test_empty_rows_are_unknown_and_nothing_odd() -> None:
    header = read(data_set().replace(explicit(0x00280010, b"US", b"\0\2"), explicit(0x00280010, b"US")))
    assert (header.rows, header.flags) == (None, ())


def test_a_sequence_in_place_of_text_is_left_out() -> None:
    for sequence in (
        explicit(0x00100020, b"SQ", item(b"")),
        explicit(0x00100020, b"SQ", length=UNDEFINED) + item(b"") + SEQUENCE_END,
    ):
        header = read(data_set().replace(explicit(0x00100020, b"LO", b"P1"), sequence))
        assert (header.patient_id, header.patient_name, header.flags) == ("", "Łoś^Ewa", ("vr",))


def test_an_absurdly_long_text_is_cut() -> None:
    data = data_set().replace(explicit(0x00100020, b"LO", b"P1"), explicit(0x00100020, b"UT", b"P" * 70_000))
    header = read(data)
    assert (header.patient_id, header.columns, header.flags) == ("P" * 1024, 256, ("vr",))


@pytest.mark.parametrize("uid", [b"1.2.x ", b"../../etc", b"1" * 66, b"1.2\\1.3 ", b" 1.2", b"1.\x002 "])
def test_an_illegal_uid_is_kept_as_text_and_flagged(uid: bytes) -> None:
    header = read(data_set().replace(explicit(0x00080018, b"UI", b"1.2.3.4\0"), explicit(0x00080018, b"UI", uid)))
    assert header.sop_instance_uid == uid.decode().rstrip(" ").replace("\0", "\ufffd")
    assert header.flags == ("uid",)


def test_a_bad_character_set_is_flagged_and_refuses_nothing() -> None:
    header = read(data_set().replace(b"ISO_IR 192", b"ISO_IR 999"))
    assert (header.patient_name, header.flags) == ("Łoś^Ewa".encode().decode("latin-1"), ("charset",))
    header = read(data_set().replace("Łoś".encode(), b"\xc5o\0\xff\xfe"))
    assert (header.patient_name, header.flags) == ("\ufffdo\ufffd\ufffd\ufffd^Ewa", ("charset",))
