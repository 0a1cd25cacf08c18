"""Text of a data set into Unicode, by its Specific Character Set (0008,0005) (PS3.3 §C.12.1.1.2, PS3.5 §6.1).

Takes the bytes of one element and promises a string that any database takes: no NUL, no lone surrogate. What cannot
be decoded is replaced by U+FFFD and reported as not sound; nothing is refused. The result equals what pydicom shows
(`str` of the value; several values keep their backslashes), with these choices on padding:

- PN, LO, SH, CS, DA, TM, UI and everything else: trailing spaces and NULs go, leading spaces stay; LO, SH and UC lose
  the trailing ones of each of their values, PN the empty component groups at the end of each;
- IS and DS: spaces go at both sides of each value.

- the escape sequence of ISO 2022 IR 58 goes, like all others; pydicom leaves it in the text.

pydicom's tables are used, its functions are not: they tell of a bad value by way of `warnings`, whose state belongs
to all threads of a process.
"""

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache

ESCAPE = b"\x1b"
REPLACEMENT = "\ufffd"

_DEFAULT = "iso8859"  # ISO IR 6 as everybody reads it: latin-1
_CHARSET_MAX = 256  # bytes of (0008,0005) that are looked at
_NAME = b"PN"
_BY_VALUE = (b"LO", b"SH", b"UC")
_DECODED = frozenset((b"PN", b"LO", b"SH", b"UC", b"LT", b"ST", b"UT"))  # the VRs that (0008,0005) affects
_NUMBERS = (b"IS", b"DS")
_STATEFUL = ("iso2022_jp", "iso2022_jp_2")  # these codecs take the escape sequence themselves
_RESETS = re.compile(rb"[\t\n\f\r]")  # what ends the reach of an escape sequence, PS3.5 §6.1.2.5.3
_FRAGMENTS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")

_MISSPELT = (
    (re.compile(r"ISO[\W_]?IR[\W_]?(\d+)"), "ISO_IR "),
    (re.compile(r"ISO[\W_]?2022[\W_]?IR[\W_]?(\d+)"), "ISO 2022 IR "),
)
# Names of no standing in DICOM that devices write all the same, Python's among them; each a superset of ASCII.
_FOREIGN = re.compile(
    r"ascii|us_ascii|utf_?8|latin_?1|iso_?8859_\d{1,2}|(cp|windows_)(125\d|874|932|936|949|950)"
    r"|gb2312|big5|euc_kr|euc_jp|shift_jis|koi8_r"
)


_REMEMBERED_MAX = 64  # bytes of a value whose text is kept for the next one


@dataclass(frozen=True)
class CharacterSet:
    """What (0008,0005) says, as Python's codecs: the initial one, then those an escape sequence may switch to."""

    encodings: tuple[str, ...] = (_DEFAULT,)
    sound: bool = True  # a value as the standard has it
    declared: bool = False


ABSENT = CharacterSet()


@lru_cache(maxsize=256)
def character_set(value: bytes) -> CharacterSet:
    """The character set that a value of (0008,0005) names; the default one for what nobody knows."""
    cut = value[:_CHARSET_MAX]
    names = [name.strip(" \0") for name in cut.decode("latin-1").split("\\")]
    if not any(names):
        return ABSENT
    return _several(names, len(value) <= _CHARSET_MAX)


def decode(vr: bytes, value: bytes, characters: CharacterSet = ABSENT) -> tuple[str, bool]:
    """The text of a value with VR `vr`, and whether it could be decoded as `characters` says."""
    if value.isascii() and ESCAPE not in value:
        if len(value) <= _REMEMBERED_MAX:
            return _remembered(vr, value), True
        return _trimmed(vr, value.decode("ascii")), True
    if vr in _DECODED:
        text, sound = _decode(value, characters)
        return _trimmed(vr, text), sound
    return _trimmed(vr, value.decode("latin-1")), True


@lru_cache(maxsize=4096)
def _remembered(vr: bytes, value: bytes) -> str:
    """Most values of an instance are those of the one before it."""
    return _trimmed(vr, value.decode("ascii"))


def _trimmed(vr: bytes, text: str) -> str:
    """Without what pads it, or each of its parts (PS3.5 §6.2)."""
    text = text.rstrip("\0 ")
    if vr in _NUMBERS:
        text = "\\".join([part.strip("\0 ") for part in text.split("\\")]) if "\\" in text else text.strip("\0 ")
    elif vr == _NAME:
        text = "\\".join([part.rstrip("=") for part in text.split("\\")]) if "\\" in text else text.rstrip("=")
    elif vr in _BY_VALUE and "\\" in text:
        text = "\\".join([part.rstrip("\0 ") for part in text.split("\\")])
    return text.replace("\0", REPLACEMENT) if "\0" in text else text


def _decode(value: bytes, characters: CharacterSet) -> tuple[str, bool]:
    first = characters.encodings[0]
    if ESCAPE not in value:
        try:
            return value.decode(first), characters.declared or value.isascii()
        except UnicodeError:
            return value.decode(first, "replace"), False
    parts: list[str] = []
    sound = True
    for fragment in _FRAGMENTS.findall(value):
        text = _fragment(fragment, characters.encodings)
        if text is None:
            sound = False
            text = fragment.decode(first, "replace")
        parts.append(text)
    return "".join(parts), sound


def _fragment(fragment: bytes, encodings: tuple[str, ...]) -> str | None:
    """One piece between escape sequences (PS3.5 §6.1.2.5); None when it is not what (0008,0005) lets expect."""
    from pydicom.charset import CODES_TO_ENCODINGS

    try:
        if not fragment.startswith(ESCAPE):
            return fragment.decode(encodings[0])
        width = 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3
        encoding = CODES_TO_ENCODINGS.get(fragment[:width], "")
        if encoding not in encodings and encoding != _DEFAULT:
            return None
        if encoding in _STATEFUL:
            return fragment.decode(encoding)
        rest = fragment[width:]
        reset = _RESETS.search(rest)
        if reset is None:
            return rest.decode(encoding)
        return rest[: reset.start()].decode(encoding) + rest[reset.start() :].decode(encodings[0])
    except UnicodeError:
        return None


def _several(names: list[str], sound: bool) -> CharacterSet:
    from pydicom.charset import STAND_ALONE_ENCODINGS

    if not names[0]:
        names[0] = "ISO_IR 6"
    if len(names) > 1:  # some sets stand alone: no code extensions with them
        alone = names[0] in STAND_ALONE_ENCODINGS
        allowed = names[:1] + [name for name in names[1:] if not alone and name not in STAND_ALONE_ENCODINGS]
        sound = sound and len(allowed) == len(names)
        names = allowed
    encodings: list[str] = []
    for name in names:
        encoding, known = _one(name)
        sound = sound and known
        encodings.append(encoding)
    return CharacterSet(tuple(encodings), sound, declared=True)


def _one(name: str) -> tuple[str, bool]:
    """The codec of one defined term, and whether it is one."""
    from pydicom.charset import python_encoding

    if name in python_encoding:
        return str(python_encoding[name]), True
    for spelling, term in _MISSPELT:
        match = spelling.fullmatch(name)
        if match and term + match[1] in python_encoding:
            return str(python_encoding[term + match[1]]), False
    plain = name.lower().replace("-", "_").replace(" ", "_")
    if _FOREIGN.fullmatch(plain):
        try:
            codecs.lookup(plain)
        except LookupError:  # iso_8859_12
            return _DEFAULT, False
        return plain, False
    return _DEFAULT, False
