"""Every element of a file: its file meta, its data set, what is nested in sequences, private ones too.

Takes the path of a DICOM file (PS3.10) and gives its `Element`s in order, flat, each with its place. Promises bounded
work whatever the file holds: no value is loaded beyond what is shown of it, pixel data are passed over by offset, the
number of elements and the depth are limited, nothing is recursive. What cannot be read ends the list, and the list
says why; what came before stays. Text is Unicode by the character set in force where it stands.

`elements` is the whole list, `read_elements` one with its `problem` and choices, `differences` two files side by side.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from struct import Struct

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.element_differences import Difference, Kind, align
from noctis.repository.element_values import BINARY_VRS, TEXT_VRS, US_OR_SS, described, show, uid_name
from noctis.repository.header import BIG_ENDIAN, DEFLATED, IMPLICIT, HeaderError, encoding, inflate
from noctis.repository.text import ABSENT, CharacterSet, character_set
from noctis.repository.walk import (
    LONG_VRS,
    SHORT_VRS,
    UNDEFINED,
    NotUnderstood,
    Source,
    Truncated,
    tag_name,
    unknown_vr,
)
from noctis.text import counted

__all__ = ["Difference", "Element", "Kind", "Listing", "differences", "elements", "read_elements"]

ELEMENTS_MAX = 20_000  # of one list
HEADERS_MAX = 200_000  # element and item headers that are looked at
DEPTH_MAX = 32  # sequences inside each other
TEXT_MAX = 512  # characters shown of a value, unless more are asked for
WHOLE_MAX = 256 << 10  # characters shown of one value at the most
DIGEST_MAX = 1 << 20  # bytes of a value whose digest costs no thought
INFLATED_MAX = 16 << 20  # bytes of a deflated data set
_PIECE = 1 << 20  # bytes
_META_START = 132  # bytes: the preamble and DICM
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHARACTER_SET, _PIXEL_REPRESENTATION, _TRANSFER_SYNTAX = 0x00080005, 0x00280103, 0x00020010


@dataclass(frozen=True)
class Element:
    """One data element."""

    place: tuple[int, ...]  # tag, or tag of a sequence, item (from 1), tag of an element in it, and so on
    vr: str
    keyword: str  # "": private or unknown
    name: str
    length: int  # bytes of the value; -1: undefined
    vm: int  # values; of a sequence its items
    text: str  # the value, cut; of a binary one its first bytes in hexadecimal
    cut: bool  # there is more of the value than `text` has
    digest: str  # SHA-256 (hex) of the bytes of a binary or cut value; "": it was not asked for, or none is needed
    meaning: str = ""  # of a UID of the standard
    at: int = field(default=-1, compare=False)  # where in the file its value begins; -1: the data set is deflated

    @property
    def tag(self) -> str:
        return tag_name(self.place[-1])

    @property
    def depth(self) -> int:
        return len(self.place) // 2

    @property
    def path(self) -> str:
        """The place as people write it: (0008,1140)[1].(0008,1150)."""
        pairs = zip(self.place[::2], (*self.place[1::2], 0), strict=True)
        return ".".join(tag_name(tag) + (f"[{item}]" if item else "") for tag, item in pairs)


@dataclass(frozen=True)
class Listing:
    """The elements of a file."""

    elements: list[Element]
    problem: str = ""  # why it ends before the file does


class _End(Exception):
    """The walk cannot go on; why."""


@dataclass
class _Level:
    """A data set, or a sequence (`items`), that the walk is in."""

    prefix: tuple[int, ...]
    end: int | None  # where it ends; None: at its delimiter
    limit: int  # beyond which nothing of it may be
    implicit: bool
    characters: CharacterSet
    items: bool = False
    fragments: bool = False  # of encapsulated pixel data, in place of items
    count: int = 0  # of items so far
    row: int = 0  # of the sequence's own element
    begin: int = 0
    signed: bool = False
    creators: dict[int, str] = field(default_factory=dict)


class _Walk:
    """One walk over one source."""

    def __init__(
        self, source: Source, order: str, found: list[Element], digests: int | None, limit: int, whole: str, long: int
    ) -> None:
        self.source = source
        self.order = order
        self.found = found  # what is found is added to it
        self.problem = ""
        self._whole = whole
        self._spare = long
        self._digest_max = digests
        self._limit = limit
        self._headers = HEADERS_MAX
        self._short = Struct(order + "HHI").unpack_from
        self._explicit = Struct(order + "HH2sH").unpack_from
        self._long = Struct(order + "I").unpack_from
        self._levels: list[_Level] = []

    def run(self, position: int, implicit: bool, stop: Callable[[int], bool] = lambda tag: False) -> int:
        """Walk from `position` to the end, or to the first tag of the top level that `stop` wants; where that is.

        Raises
        ------
        _End
            It cannot go on.
        """
        size = self.source.size
        self._levels = [_Level((), size, size, implicit, ABSENT)]
        while self._levels:
            level = self._levels[-1]
            if level.end is not None and position >= level.end:
                self._close(level, level.end)
                position = level.end
                continue
            head = self._head(position)
            if len(head) < 8 or position + 8 > level.limit:
                if len(self._levels) == 1 and not head.strip(b"\0"):
                    return position  # padding
                raise _End(f"the file ends inside an element, {self._where()}")
            self._headers -= 1
            if self._headers < 0:
                raise _End(f"only the first {HEADERS_MAX} elements and items were looked at")
            group, element, length = self._short(head)
            tag = group << 16 | element
            if level.items:
                position = self._item(level, tag, length, position)
            elif not tag and not length and len(self._levels) == 1:
                return position  # padding
            elif group == 0xFFFE:
                if tag != _ITEM_END or level.end is not None:
                    raise _End(f"an item out of place at byte {position}, {self._where()}")
                self._levels.pop()
                position += 8
            else:
                if len(self._levels) == 1 and stop(tag):
                    return position
                position = self._element(level, tag, head, position)
        return position

    def _head(self, position: int) -> bytes:
        source = self.source
        at = position - source.base
        if at < 0 or at + 12 > len(source.data):
            at = position - source.load(position)
        return bytes(source.data[at : at + 12])

    def _where(self) -> str:
        return f"behind {self.found[-1].path}" if self.found else "at its beginning"

    def _item(self, level: _Level, tag: int, length: int, position: int) -> int:
        position += 8
        if tag == _SEQUENCE_END and level.end is None:
            self._close(level, position)
            return position
        if tag != _ITEM:
            raise _End(f"no item where one was expected at byte {position - 8}, {self._where()}")
        level.count += 1
        if level.fragments:
            if length == UNDEFINED or position + length > level.limit:
                raise _End(f"a fragment of {self._where()[7:]} reaches past the end")
            return position + length
        end = self._end(level, position, length)
        above = self._levels[-2]
        implicit = level.implicit or (length != 0 and not self._letters(position))
        made = _Level(
            (*level.prefix, level.count), end, level.limit if end is None else end, implicit, above.characters
        )
        made.signed = above.signed
        self._levels.append(made)
        return position

    def _letters(self, position: int) -> bool:
        """Whether the element at `position` has a VR: what is implicit inside explicit shows in the first one."""
        vr = self.source.read(position + 4, 2)
        return vr.isalpha() and vr.isupper()

    def _element(self, level: _Level, tag: int, head: bytes, position: int) -> int:
        creator = ""
        if tag >> 16 & 1 and tag & 0xFFFF > 0xFF:
            creator = level.creators.get(tag >> 8, "")
        keyword, name, known = described(tag, creator)
        said, length, value = self._vr(level, head, position)
        vr = said or "UN"
        if vr == "UN":
            vr = known or "UN"
            if vr == US_OR_SS:
                vr = "SS" if level.signed else "US"
        if len(self.found) >= self._limit:
            raise _End(f"only the first {self._limit} elements are listed")
        at = self.source.start + value if self.source.start else -1
        row = Element((*level.prefix, tag), vr, keyword, name, length, 0, "", False, "", at=at)
        if length == UNDEFINED or (vr == "SQ" and self._is_sequence(value, length)):
            implicit = level.implicit or said == "UN"  # PS3.5 §6.2.2 note 2
            return self._open(level, row, value, implicit)
        self._take(level, row, value)
        if value + length > level.limit:
            raise _End(f"element {tag_name(tag)} near byte {position} reaches past the end")
        return value + length

    def _vr(self, level: _Level, head: bytes, position: int) -> tuple[str | None, int, int]:
        if level.implicit:
            return None, int(self._short(head)[2]), position + 8
        _, _, vr, length = self._explicit(head)
        if vr in SHORT_VRS:
            return vr.decode(), int(length), position + 8
        if vr in LONG_VRS and len(head) == 12:
            return vr.decode(), int(self._long(head, 8)[0]), position + 12
        guess = unknown_vr(self.source, position, self.order, nested=len(self._levels) > 1)
        if guess is None:
            raise _End(f"an unknown VR at byte {position}, {self._where()}")
        named = guess[0]
        return named.decode("latin-1") if named and named.isalpha() else None, guess[1], guess[2]

    def _end(self, level: _Level, begin: int, length: int) -> int | None:
        """Where a sequence or an item ends; None: at its delimiter. One that reaches too far ends where it must."""
        if length == UNDEFINED:
            return None
        if begin + length > level.limit and not self.problem:
            self.problem = f"a sequence reaches past the end, {self._where()}"
        return min(begin + length, level.limit)

    def _is_sequence(self, value: int, length: int) -> bool:
        """Whether items are where a sequence of a known length should have them; else its bytes are shown as such."""
        head = self.source.read(value, 4)
        return not length or (
            len(head) == 4 and Struct(self.order + "HH").unpack(head) == (_ITEM >> 16, _ITEM & 0xFFFF)
        )

    def _open(self, level: _Level, row: Element, value: int, implicit: bool) -> int:
        """A sequence, or encapsulated pixel data; what is of undefined length and no known VR is a sequence."""
        if len(self._levels) > 2 * DEPTH_MAX:
            raise _End(f"sequences inside each other deeper than {DEPTH_MAX} levels, {self._where()}")
        fragments = row.length == UNDEFINED and row.place[-1] >> 16 == 0x7FE0
        end = self._end(level, value, row.length)
        made = _Level(row.place, end, level.limit if end is None else end, implicit, level.characters, items=True)
        made.fragments, made.row, made.begin, made.signed = fragments, len(self.found), value, level.signed
        self.found.append(replace(row, vr=row.vr if fragments else "SQ", length=-1 if end is None else row.length))
        self._levels.append(made)
        return value

    def _close(self, level: _Level, position: int) -> None:
        self._levels.pop()
        if not level.items:
            return
        row = self.found[level.row]
        if level.fragments:
            digest = self._digest(level.begin, position - level.begin)
            many = max(0, level.count - 1)  # the first is the offset table
            text = f"{counted(many, 'fragment')}, {position - level.begin} bytes"
            self.found[level.row] = replace(row, vm=1, text=text, digest=digest)
        else:
            text = counted(level.count, "item")
            self.found[level.row] = replace(row, vm=level.count, text=text)

    def _take(self, level: _Level, made: Element, value: int) -> None:
        """The element's value, and what it means for those behind it."""
        tag, length = made.place[-1], made.length
        text_max = max(TEXT_MAX, self._spare) if made.vr in TEXT_VRS else TEXT_MAX
        text_max = WHOLE_MAX if self._whole and self._whole == made.path else text_max
        raw = self.source.read(value, min(length, 4 * text_max, level.limit - value))
        if tag == _CHARACTER_SET:
            level.characters = character_set(raw)
        elif tag == _PIXEL_REPRESENTATION:
            level.signed = raw[:2] in (b"\1\0", b"\0\1")
        shown = show(made.vr, raw, length, self.order, level.characters, text_max)
        self._spare -= max(0, len(shown.text) - TEXT_MAX)
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            level.creators[(tag >> 16) << 8 | tag & 0xFF] = shown.text
        digest = self._digest(value, length) if (made.vr in BINARY_VRS or shown.cut) and length else ""
        meaning = uid_name(shown.text) if made.vr == "UI" else ""
        self.found.append(replace(made, vm=shown.vm, text=shown.text, cut=shown.cut, digest=digest, meaning=meaning))

    def _digest(self, position: int, length: int) -> str:
        if self._digest_max is not None and length > self._digest_max:
            return ""
        digest = hashlib.sha256()
        while length > 0:
            piece = self.source.read(position, min(length, _PIECE))
            if not piece:
                break
            digest.update(piece)
            position += len(piece)
            length -= len(piece)
        return digest.hexdigest()


def elements(path: Path) -> list[Element]:
    """The elements of a file, with the digest of every binary value, pixel data included; see `read_elements`."""
    return read_elements(path, digest_max=None).elements


def read_elements(
    path: Path, *, digest_max: int | None = DIGEST_MAX, limit: int = ELEMENTS_MAX, whole: str = ""
) -> Listing:
    """The elements of a file.

    Parameters
    ----------
    digest_max
        Bytes of a value up to which it gets a digest; None: each does, which reads the whole file.
    limit
        Elements.
    whole
        The path of an element of which `WHOLE_MAX` characters are shown in place of `TEXT_MAX`.

    Raises
    ------
    StorageError
        It is no DICOM file.
    OSError
        It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return read_open(descriptor, digest_max=digest_max, limit=limit, whole=whole)
    finally:
        os.close(descriptor)


def read_open(
    descriptor: int, *, digest_max: int | None = DIGEST_MAX, limit: int = ELEMENTS_MAX, whole: str = "", long: int = 0
) -> Listing:
    """`read_elements` of an open file; its position is neither used nor moved.

    Parameters
    ----------
    long
        Characters beyond `TEXT_MAX` that may be shown of long texts, in all.
    """
    if os.pread(descriptor, _META_START, 0)[128:] != b"DICM":
        raise StorageError("this is no DICOM file", fix="its first 132 bytes are not those of PS3.10 §7.1")
    found: list[Element] = []
    meta = _Walk(Source(descriptor, _META_START), "<", found, digest_max, limit, whole, long)
    try:
        start = meta.run(0, False, stop=lambda tag: tag >> 16 != 2)
        syntax = next((each.text for each in found if each.place == (_TRANSFER_SYNTAX,)), "")
        source = Source(descriptor, _META_START + start, size=_size(descriptor, _META_START + start))
        if source.size <= 0:
            return Listing(found, "there is no data set")
        problem = ""
        if syntax in DEFLATED:
            inflated = inflate(source, INFLATED_MAX)
            if inflated is not None:
                source = inflated
                problem = f"only the first {INFLATED_MAX >> 20} MiB were inflated" if source.cut else ""
        implicit, big = encoding(source, (syntax in IMPLICIT, syntax == BIG_ENDIAN))
        walk = _Walk(source, ">" if big else "<", found, digest_max, limit, whole, long)
        walk.run(0, implicit)
        problem = problem or walk.problem
    except (_End, NotUnderstood, Truncated, HeaderError) as error:
        return Listing(found, str(error))
    return Listing(found, problem)


def _size(descriptor: int, start: int) -> int | None:
    """Bytes of the data set as the commit record says, where there is one: behind it may be an earlier instance's."""
    try:
        record = filemeta.read(descriptor).record
    except StorageError:
        return None
    return None if record is None else min(record.length, os.fstat(descriptor).st_size - start)


def differences(left: Path, right: Path, *, limit: int = ELEMENTS_MAX) -> list[Difference]:
    """Two files, element by element, in the order of their tags; values are compared whole, by digest where long."""
    lists = (read_elements(path, digest_max=None, limit=limit).elements for path in (left, right))
    return align(*lists)
