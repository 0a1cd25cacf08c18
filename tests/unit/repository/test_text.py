"""Text by Specific Character Set: equal to pydicom's, and never anything that a database refuses."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import values
from pydicom.charset import convert_encodings, python_encoding
from pydicom.multival import MultiValue

from noctis.repository.text import ABSENT, character_set, decode

SETS = [
    "",
    "ISO_IR 6",
    "ISO_IR 100",
    "ISO_IR 192",
    "ISO_IR 13",
    "ISO_IR 144",
    "GB18030",
    "GBK",
    "\\ISO 2022 IR 87",
    "\\ISO 2022 IR 149",
    "ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 144",
    "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159",
    "ISO_IR 192\\ISO 2022 IR 87",
    "ISO_IR 100\\GB18030",
    "NO SUCH SET",
    "ISO 2022 IR 100\\NO SUCH SET",
    "ISO-IR 101",
    "utf-8",
]
PIECES = [
    b"Yamada",
    b"^",
    b"=",
    b"\\",
    b" ",
    b"\n",
    b"\r\n",
    b"\x1b$B;3ED\x1b(B",
    b"\x1b$B;3",
    b"\x1b(J",
    b"\x1b)I",
    b"\xd4\xcf\xc0\xde",
    b'\x1b$(D"/',
    b"\x1b-F",
    b"\x1b-L",
    b"\x1b-A",
    b"\x1b$)C\xb1\xe8",
    b"\x1b",
    b"\x1b(Z",
    b"\xe5\xb1\xb1",
    b"\xff",
    b"\x81",
    b"\xed\xa0\x80",  # a surrogate in UTF-8
    "Ärger".encode("latin-1"),
]


def by_pydicom(vr: str, raw: bytes, sets: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encodings = convert_encodings(sets.split("\\"))
        if vr == "PN":
            value = values.convert_PN(raw, encodings)
        elif vr in ("LT", "ST", "UT"):
            value = values.convert_single_string(raw, encodings)
        elif vr in ("LO", "SH", "UC"):
            value = values.convert_text(raw, encodings)
        else:
            value = values.convert_string(raw, True)
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


@settings(max_examples=300, deadline=None)
@given(
    vr=st.sampled_from(["PN", "LO", "SH", "LT", "CS", "DA"]),
    raw=st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), st.binary(max_size=24)),
    sets=st.sampled_from(SETS),
)
def test_the_text_is_pydicoms(vr: str, raw: bytes, sets: str) -> None:
    text, _ = decode(vr.encode(), raw, character_set(sets.encode()))
    assert text == by_pydicom(vr, raw, sets).replace("\0", "\ufffd")
    text.encode("utf-8")  # no lone surrogate


@given(raw=st.binary(max_size=40), sets=st.binary(max_size=40), vr=st.sampled_from([b"PN", b"LO", b"UI", b"IS", b"UT"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_in_any_set_give_text_for_a_database(raw: bytes, sets: bytes, vr: bytes) -> None:
    text, _ = decode(vr, raw, character_set(sets))
    assert "\0" not in text
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("sets", "raw", "expected"),
    [  # PS3.5 Annexes H, I, J
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            "Hong^Gildong=洪^吉洞",
        ),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        (
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
            "Zhang^XiaoDong=张^小东",
        ),
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        (" ISO_IR 100 ", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    ],
)
def test_the_standards_examples(sets: str, raw: bytes, expected: str) -> None:
    characters = character_set(sets.encode())
    assert characters.sound
    assert decode(b"PN", raw, characters) == (expected, True)


@pytest.mark.parametrize(
    "sets", ["NO SUCH SET", "ISO_IR 999", "ISO-IR 100", "ISO_IR 192\\ISO 2022 IR 87", "utf-8", "zip"]
)
def test_what_is_no_term_of_the_standard_is_not_sound(sets: str) -> None:
    assert not character_set(sets.encode()).sound


@pytest.mark.parametrize("term", sorted(python_encoding))
def test_every_term_of_the_standard_is_sound_and_ascii_below_128(term: str) -> None:
    characters = character_set(term.encode())
    assert characters.sound
    printable = bytes(range(0x20, 0x7F))
    assert printable.decode(characters.encodings[0]) == printable.decode("ascii")  # the short cut of `decode`


@pytest.mark.parametrize("spelling", [b"ISO-IR 192", b"ISO IR 192", b"ISO_IR192", b"UTF-8", b"utf8"])
def test_a_known_misspelling_is_understood(spelling: bytes) -> None:
    assert decode(b"LO", "Łódź".encode(), character_set(spelling)) == ("Łódź", True)


def test_a_codec_that_is_no_character_set_is_not_used() -> None:
    for name in (b"unicode_escape", b"utf_7", b"idna", b"rot13", b"cp037", b"iso8859_12"):
        assert character_set(name).encodings == ("iso8859",)


def test_an_absurdly_long_character_set_is_cut() -> None:
    assert not character_set(b"\\ISO 2022 IR 87" * 5000).sound


@pytest.mark.parametrize(
    ("vr", "raw", "expected"),
    [
        (b"LO", b" leading stays, trailing goes \0", " leading stays, trailing goes"),
        (b"LO", b"one \\two \0", "one\\two"),
        (b"IS", b" 12 ", "12"),
        (b"IS", b" 1 \\ 2 ", "1\\2"),
        (b"PN", b"Doe^John==", "Doe^John"),
        (b"PN", b"A^B=\\C^D", "A^B\\C^D"),
        (b"UI", b"1.2.3\0", "1.2.3"),
        (b"CS", b"\0 \0", ""),
        (b"LO", b"a\0b\0\0", "a\ufffdb"),
    ],
)
def test_padding_and_nuls(vr: bytes, raw: bytes, expected: str) -> None:
    assert decode(vr, raw) == (expected, True)


def test_bytes_without_a_declared_set_are_latin_1_and_not_sound() -> None:
    assert decode(b"PN", b"M\xfcller", ABSENT) == ("Müller", False)


def test_what_does_not_decode_is_replaced_and_not_sound() -> None:
    assert decode(b"PN", b"M\xfcller", character_set(b"ISO_IR 192")) == ("M\ufffdller", False)
    text, sound = decode(b"PN", b"A\x1b$)C\xb1\xe8", character_set(b"\\ISO 2022 IR 87"))  # Korean was not declared
    assert text.startswith("A")
    assert not sound
