"""Text by Specific Character Set.

An input is the value of (0008,0005), a line feed, and the value to decode; the first byte says its VR. Oracle: a string
that any database takes; what pydicom makes of it where it is sound, as `text` promises, for the VRs that it affects.
"""

import warnings
from collections.abc import Iterator

from pydicom import values
from pydicom.charset import convert_encodings
from pydicom.multival import MultiValue

from noctis.repository.text import ABSENT, character_set, decode

VRS = (b"PN", b"LO", b"SH", b"UC", b"LT", b"ST", b"UT", b"CS", b"DA", b"IS", b"DS", b"UI", b"AE")
_AFFECTED = (b"PN", b"LO", b"SH", b"UC", b"LT", b"ST", b"UT")


def examine(data: bytes) -> None:
    if not data:
        return
    vr = VRS[data[0] % len(VRS)]
    declared, _, value = data[1:].partition(b"\n")
    characters = character_set(declared)
    assert 1 <= len(characters.encodings) <= 1 + declared.count(b"\\")
    text, sound = decode(vr, value, characters)
    assert isinstance(sound, bool)
    assert "\0" not in text
    assert len(text.encode()) <= 4 * max(1, len(value))
    assert decode(vr, value, characters) == (text, sound)
    absent, _ = decode(vr, value, ABSENT)
    if vr not in _AFFECTED:
        assert text == absent
    elif characters.sound and sound and b"\0" not in value:
        shown = by_pydicom(vr.decode(), value, declared)
        # of IR 58 pydicom leaves the escape sequence in the text
        assert shown is None or b"\x1b$)A" in value or text == shown


def by_pydicom(vr: str, value: bytes, declared: bytes) -> str | None:
    """None: pydicom warns, or refuses."""
    names = declared.decode("latin-1").split("\\")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encodings = convert_encodings([name.strip(" \0") for name in names])
            if vr == "PN":
                shown = values.convert_PN(value, encodings)
            elif vr in ("LO", "SH", "UC"):
                shown = values.convert_text(value, encodings, vr)
            else:
                shown = values.convert_single_string(value, encodings, vr)
        except Exception:  # noqa: BLE001 - not what is tested
            return None
    if isinstance(shown, MultiValue | list):
        return "\\".join(map(str, shown))
    return str(shown)


def seeds() -> Iterator[bytes]:
    yield b"\0ISO 2022 IR 13\\ISO 2022 IR 87\n\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
    yield b"\1ISO_IR 192\n\xe5\xb1\xb1\xe7\x94\xb0\\\xc3\x84 "
    yield b"\0\\ISO 2022 IR 149\nHong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
    yield b"\0\\ISO 2022 IR 58\nZhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"
    yield b"\4GB18030\n\xcd\xf5\r\n\xd0\xa1"
    yield b"\1ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144\nBuc\x1b-L\xbb\xee\x1b-A\xe4"
    yield b"\2ISO_IR 100\n\xc4neas  "
    yield b"\x09\n 7 \\ 8 "
    yield b"\1ISO-IR 101\n\xb3"
