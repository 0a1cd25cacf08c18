"""One value of a data element as people read it, by its VR (PS3.5 §6.2), bounded whatever it holds. Pure.

Takes the bytes of a value, or as many of its beginning as were read; never raises for what they are.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

from noctis.repository.text import REPLACEMENT, CharacterSet, decode

TEXT_VRS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
ONE_VALUE = frozenset(("LT", "ST", "UT", "UR"))  # where a backslash is a backslash
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
BINARY_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
US_OR_SS = "US or SS"
SHOWN_BYTES = 24  # of a binary value, in hexadecimal


@dataclass(frozen=True)
class Shown:
    """A value as text."""

    text: str
    vm: int  # how many values it has; 0: empty
    cut: bool  # there is more of it than `text` has


def show(vr: str, value: bytes, length: int, order: str, characters: CharacterSet, text_max: int) -> Shown:
    """The text of a value.

    Parameters
    ----------
    value
        As much of its beginning as was read.
    length
        Its own length, bytes.
    order
        "<" or ">".
    text_max
        Characters.
    """
    if not length:
        return Shown("", 0, False)
    if vr in TEXT_VRS:
        text, _ = decode(vr.encode(), value, characters)
        vm = 1 if vr in ONE_VALUE else value.count(b"\\") + 1
        return _bounded(text, vm, text_max, len(value) < length)
    if vr == "AT" and not length % 4:
        size, many = 4, len(value) // 4
        numbers = struct.unpack(f"{order}{2 * many}H", value[: 4 * many])
        words = [f"({group:04X},{element:04X})" for group, element in zip(numbers[::2], numbers[1::2], strict=True)]
    elif vr in NUMBERS and not length % struct.calcsize(NUMBERS[vr]):
        size = struct.calcsize(NUMBERS[vr])
        many = len(value) // size
        words = [_number(vr, each) for each in struct.unpack(f"{order}{many}{NUMBERS[vr]}", value[: size * many])]
    else:
        return _binary(vr, value, length, text_max)
    return _bounded("\\".join(words), length // size, text_max, len(value) < length)


def _number(vr: str, value: float) -> str:
    return f"{value:.9g}" if vr == "FL" else repr(value)


def _binary(vr: str, value: bytes, length: int, text_max: int) -> Shown:
    plain = value.rstrip(b"\0 ")
    if vr in ("UN", "OB") and plain.isascii() and plain.decode("latin-1").isprintable() and len(plain) > 1:
        return _bounded(plain.decode("ascii"), 1, text_max, len(value) < length)  # text without a dictionary's help
    words = value[: max(SHOWN_BYTES, text_max // 4 if text_max > 4096 else 0)].hex(" ")
    return Shown(words, 1, len(words) < 3 * length - 1)


def _bounded(text: str, vm: int, text_max: int, cut: bool) -> Shown:
    if cut:
        text = text.rstrip(REPLACEMENT)  # half of a character
    return Shown(text[:text_max], vm, cut or len(text) > text_max)


@lru_cache(maxsize=8192)
def described(tag: int, creator: str) -> tuple[str, str, str]:
    """Keyword, name and VR that the dictionaries have for a tag; "" for what nobody knows."""
    from pydicom import datadict

    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "", "Group Length", "UL"
    if group & 1:
        if 0x10 <= element <= 0xFF:
            return "", "Private Creator", "LO"
        try:
            found = datadict.get_private_entry(tag, creator)
        except KeyError:
            return "", "", ""
        return "", str(found[2]), _one_vr(str(found[0]))
    try:
        vr, _, name, _, keyword = datadict.get_entry(tag)
    except KeyError:
        return "", "", ""
    return str(keyword), str(name), _one_vr(str(vr))


def _one_vr(vr: str) -> str:
    """Of several that a dictionary has, the one that takes any value; US or SS is left to Pixel Representation."""
    if vr == US_OR_SS:
        return vr
    choices = vr.split(" or ")
    return "OW" if "OW" in choices else choices[0] if len(choices[0]) == 2 else "UN"


@lru_cache(maxsize=1024)
def uid_name(uid: str) -> str:
    """What a UID of the standard stands for; "" for any other."""
    from pydicom.uid import UID_dictionary

    return str(UID_dictionary[uid][0]) if uid in UID_dictionary else ""
