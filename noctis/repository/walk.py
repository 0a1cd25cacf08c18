"""The walk over the elements of a data set (PS3.5 §7): finds a few, skips the rest, touches no more than it must.

Takes a `Source` (an open file or bytes) and the tags that are wanted; gives the raw values of those at the top level.
Explicit and Implicit VR Little Endian and Explicit VR Big Endian; values are skipped by offset, sequences of undefined
length are walked without recursion. Promises bounded work: the number of elements and the depth of sequences are
limited, a piece of the file is read at most once, no value is read beyond `VALUE_MAX`.

Behind the last wanted tag the walk goes on, for a while, only to notice a data set that ends too early: whatever it
does not understand there is let be, if anything was found. Before it, `NotUnderstood` says that this is not how the
data set is built.
"""

import os
from struct import Struct

UNDEFINED = 0xFFFFFFFF
VALUE_MAX = 65536  # bytes of a wanted value that count as a value; of a longer one LONG_CUT are read
LONG_CUT = 4096  # bytes
ELEMENTS_MAX = 100_000  # element headers up to the last wanted tag
TAIL_MAX = 4096  # element headers behind it
PIXEL_DATA_GROUP = 0x7FE00000
DEPTH_MAX = 64  # sequences of undefined length inside each other

_FIRST_PIECE = 16 << 10  # bytes
_JUMP_PIECE = 1 << 10  # after a value was skipped
_PIECE_MAX = 256 << 10
_LOOK = 16  # bytes that the walk wants in its window: a header, or an item's and the VR behind it

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # 2 bytes reserved, 4 bytes of length

Found = dict[int, tuple[bytes | None, bytes, int]]  # tag: VR (None: implicit), value, its declared length


class NotUnderstood(Exception):
    """The data set is not built as the walk takes it."""


class Truncated(Exception):
    """The data set ends inside an element."""


class TooMuch(Exception):
    """More elements or deeper sequences than the walk is willing to go through."""


class Source:
    """The bytes of a data set. Positions count from its beginning.

    Parameters
    ----------
    descriptor, start
        An open file, and where the data set begins in it.
    data
        The data set itself, or as much of its beginning as is in memory already.
    size
        Bytes of the data set; None: all of `data` or, without it, up to the end of the file.
    cut
        There would be more than `size`.
    """

    def __init__(
        self,
        descriptor: int,
        start: int,
        data: bytes | bytearray | None = None,
        *,
        size: int | None = None,
        cut: bool = False,
    ) -> None:
        self.descriptor = descriptor
        self.start = start
        if size is None:
            size = len(data) if data is not None else os.fstat(descriptor).st_size - start
        self.size = size
        self.cut = cut
        self.data: bytes | bytearray = b"" if data is None else data  # the window
        self.base = 0  # its position
        self._piece = _FIRST_PIECE

    def load(self, position: int) -> int:
        """Move the window so that it begins at `position`, unless it holds all there is; gives its base."""
        if position < self.base or self.base + len(self.data) < self.size:
            if self.base <= position <= self.base + len(self.data):
                piece, self._piece = self._piece, min(self._piece * 4, _PIECE_MAX)
            else:
                piece, self._piece = _JUMP_PIECE, _JUMP_PIECE * 4
            self.data = os.pread(self.descriptor, max(0, min(piece, self.size - position)), self.start + position)
            self.base = position
        return self.base

    def read(self, position: int, length: int) -> bytes:
        """Bytes at `position`, from the window where it has them; the window stays."""
        at = position - self.base
        if at >= 0 and (at + length <= len(self.data) or self.base + len(self.data) >= self.size):
            return bytes(self.data[at : at + length])
        return os.pread(self.descriptor, max(0, min(length, self.size - position)), self.start + position)


def tag_name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def walk(source: Source, wanted: frozenset[int], *, implicit: bool, big: bool) -> Found:
    """The wanted elements of the top level; the last one where a tag comes twice.

    Raises
    ------
    NotUnderstood
        An element before the last wanted tag cannot be made sense of.
    Truncated
        The data set ends inside an element.
    TooMuch
        The limits are reached before the last wanted tag, or sequences nest deeper than `DEPTH_MAX`.
    """
    order = ">" if big else "<"
    explicit_header = Struct(order + "HH2sH").unpack_from
    implicit_header = Struct(order + "HHI").unpack_from
    long_length = Struct(order + "I").unpack_from
    short_vrs, long_vrs = SHORT_VRS, LONG_VRS
    last, size = max(wanted), source.size
    found: Found = {}
    modes: list[bool] = []  # of each open sequence: whether what is around it is implicit
    items = False  # inside a sequence, between its items
    tail = False  # behind the last wanted tag
    sure = True  # nothing had to be guessed
    tag = 0  # of the top level
    budget = ELEMENTS_MAX
    data, base, held, position = source.data, source.base, len(source.data), 0

    while True:
        at = position - base
        if at + _LOOK > held:
            base, data = source.load(position), source.data
            at, held = position - base, len(data)
            if at + 8 > held:
                if modes or source.read(position, 8).strip(b"\0"):  # a few NULs are somebody's padding
                    break
                return found
        budget -= 1
        if budget < 0:
            if tail:
                return found
            raise TooMuch(f"more than {ELEMENTS_MAX} elements before {tag_name(last)}")

        vr: bytes | None
        if implicit:
            group, element, length = implicit_header(data, at)
            vr = None
        else:
            group, element, vr, length = explicit_header(data, at)
        value = position + 8

        if group == 0xFFFE:  # items and delimiters have no VR (PS3.5 §7.5)
            (length,) = long_length(data, at + 4)
            if items and element == 0xE000:
                if length == UNDEFINED:
                    # what is implicit inside explicit (PS3.5 §6.2.2 note 2, and others) shows in the first element
                    implicit = modes[-1] or not _letters(data[at + 12 : at + 14])
                    items = False
                else:
                    value += length
                    if value > size:
                        break
            elif items and element == 0xE0DD:
                implicit = modes.pop()
                items = False
            elif modes and not items and element == 0xE00D:
                items = True
            elif tail and found:
                return found
            elif modes or length:
                raise NotUnderstood(f"an item out of place at byte {position}, near {tag_name(tag)}")
            position = value
            continue
        if items:
            if tail and found:
                return found
            raise NotUnderstood(f"no item where one was expected at byte {position}, in {tag_name(tag)}")

        if not modes:
            before, tag = tag, group << 16 | element
            if not tail:
                if tag > last:
                    tail = True
                    budget = TAIL_MAX
            elif tag <= before:
                if before >= PIXEL_DATA_GROUP:  # nothing but padding and signatures follows pixel data
                    return found
                sure = False

        if vr is None or vr in short_vrs:
            pass
        elif vr in long_vrs:
            if at + 12 > held:
                break
            (length,) = long_length(data, at + 8)
            value += 4
        else:
            guess = unknown_vr(source, position, order, nested=bool(modes))
            if guess is None:
                if tail and found:
                    return found
                raise NotUnderstood(f"an unknown VR at byte {position}, in {tag_name(tag)}")
            vr, length, value = guess
            sure = False

        if length == UNDEFINED and vr not in short_vrs:
            if not modes:
                if group == PIXEL_DATA_GROUP >> 16:
                    return found
                if tag in wanted:
                    found[tag] = (b"SQ", b"", 0)
            modes.append(implicit)
            items = True
            if len(modes) > DEPTH_MAX:
                raise TooMuch(f"sequences inside each other deeper than {DEPTH_MAX} levels, in {tag_name(tag)}")
        else:
            if value + length > size:
                break
            if not modes and tag in wanted:
                begin = value - base
                if length <= VALUE_MAX and begin + length <= held:
                    found[tag] = (vr, bytes(data[begin : begin + length]), length)
                else:
                    found[tag] = (vr, source.read(value, length if length <= VALUE_MAX else LONG_CUT), length)
            value += length
        position = value

    if tail and found and (source.cut or not sure):
        return found
    if sure:
        raise Truncated(f"the data set ends inside element {tag_name(tag)}")
    raise NotUnderstood(f"element {tag_name(tag)} near byte {position} reaches past the end of the data set")


def _letters(vr: bytes | bytearray) -> bool:
    return vr.isalpha() and vr.isupper()


def unknown_vr(source: Source, position: int, order: str, *, nested: bool) -> tuple[bytes | None, int, int] | None:
    """VR, length and position of the value of an element the VR of which is not known: the first form that fits.

    Two letters are a VR of a later edition, with four bytes of length (PS3.5 §7.1.2), or else one with two; what are
    no letters is an element written as Implicit VR, or else a VR that somebody spoilt.
    """
    head = source.read(position, 12).ljust(12, b"\0")
    group, element, vr, short = Struct(order + "HH2sH").unpack_from(head)
    length, long = Struct(order + "II").unpack_from(head, 4)
    forms: list[tuple[bytes | None, int, int]] = [(vr, short, position + 8)]
    if head[6:8] == b"\0\0":
        forms.insert(0 if _letters(vr) else 1, (vr, long, position + 12))
    if not _letters(vr):
        forms.insert(0, (None, length, position + 8))
    for form in forms:
        end = form[2] + form[1]
        if form[1] == UNDEFINED:
            follows = source.read(form[2], 4)
            if len(follows) == 4 and Struct(order + "HH").unpack(follows) == (0xFFFE, 0xE000):
                return form
        elif end == source.size or (end < source.size and _fits(source, end, order, group << 16 | element, nested)):
            return form
    return None


def _fits(source: Source, position: int, order: str, before: int, nested: bool) -> bool:
    """Whether what begins at `position` looks like the element behind the one with tag `before`."""
    head = source.read(position, 8)
    if len(head) < 8:
        return False
    group, element, length = Struct(order + "HHI").unpack(head)
    if group == 0xFFFE:
        return nested
    if int(group << 16 | element) <= before:
        return False
    return _letters(head[4:6]) or length == UNDEFINED or position + 8 + int(length) <= source.size
