"""What an instance wraps: a document (PS3.3 §A.45), or the stream of a video (PS3.5 §A.4.5 to §A.4.10).

Takes the elements of an open file and gives the places in it where the wrapped bytes lie; nothing is loaded, whatever
their length. What they are is told by themselves: a sender's own word for it is not believed, and what is no PDF is
never called one.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from noctis.repository.elements import Element

PARTS_MAX = 100_000  # fragments
_DOCUMENT, _LENGTH, _PIXELS = 0x00420011, 0x00420015, 0x7FE00010
_ITEM = 0xFFFEE000
_LOOKED_AT = 4096  # bytes of the beginning
PDF = "application/pdf"
MP4 = "video/mp4"
BYTES = "application/octet-stream"
_MODELS = {  # of the SOP classes 1.2.840.10008.5.1.4.1.1.104.…: media type and a file's suffix
    "2": ("application/xml", "xml"),
    "3": ("model/stl", "stl"),
    "4": ("model/obj", "obj"),
    "5": ("model/mtl", "mtl"),
}
_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."
_VIDEOS = {"0": ("video/mpeg", "mpg"), "4": ("video/h264", "h264"), "7": ("video/h265", "h265")}
# The last part of the transfer syntaxes 1.2.840.10008.1.2.4.…: which of them it is.
_SYNTAXES = dict.fromkeys(("100", "101"), "0") | dict.fromkeys(("102", "103", "104", "105", "106"), "4")
_SYNTAXES |= dict.fromkeys(("107", "108"), "7")


@dataclass(frozen=True)
class Embedded:
    """Wrapped bytes."""

    parts: tuple[tuple[int, int], ...]  # where in the file, and how many bytes
    media_type: str
    suffix: str  # of a file's name

    @property
    def bytes(self) -> int:
        return sum(length for _, length in self.parts)

    @property
    def opens(self) -> bool:
        """Whether a browser shows it without any help."""
        return self.media_type in (PDF, MP4)


def embedded(
    descriptor: int, elements: Sequence[Element], sop_class_uid: str, transfer_syntax_uid: str
) -> Embedded | None:
    """What an open file wraps; None: nothing, or nothing that can be got at (a deflated data set, a broken one)."""
    found = {each.place[0]: each for each in elements if len(each.place) == 1}
    if (document := found.get(_DOCUMENT)) is not None:
        return _document(descriptor, document, found.get(_LENGTH), sop_class_uid)
    pixels = found.get(_PIXELS)
    syntax = transfer_syntax_uid.removeprefix("1.2.840.10008.1.2.4.").split(".")[0]
    if pixels is not None and pixels.length < 0 and syntax in _SYNTAXES:
        return _video(descriptor, pixels, _SYNTAXES[syntax])
    return None


def _document(descriptor: int, element: Element, length: Element | None, sop_class_uid: str) -> Embedded | None:
    at, size = element.at, element.length
    if at < 0 or size <= 0 or at + size > os.fstat(descriptor).st_size:
        return None
    said = int(length.text) if length is not None and length.text.isdigit() and len(length.text) < 12 else 0
    if said and size - 1 <= said <= size:
        size = said  # without the byte that makes it even
    elif os.pread(descriptor, 1, at + size - 1) == b"\0":
        size -= 1
    media_type, suffix = BYTES, "bin"
    if b"%PDF-" in os.pread(descriptor, min(size, 1024), at):  # a reader looks no further for it (ISO 32000-1 H.3)
        media_type, suffix = PDF, "pdf"
    elif sop_class_uid.startswith(_DOCUMENTS):
        media_type, suffix = _MODELS.get(sop_class_uid.removeprefix(_DOCUMENTS), (BYTES, "bin"))
    return Embedded(((at, size),), media_type, suffix)


def _video(descriptor: int, pixels: Element, kind: str) -> Embedded | None:
    parts = tuple(_fragments(descriptor, pixels.at)) if pixels.at >= 0 else ()
    if not parts:
        return None
    at, length = parts[0]
    head = os.pread(descriptor, min(length, _LOOKED_AT), at)
    media_type, suffix = _VIDEOS[kind]
    if head[4:8] == b"ftyp":  # ISO/IEC 14496-12
        media_type, suffix = MP4, "mp4"
    elif head[:1] == b"\x47" and head[188:189] == b"\x47":  # ISO/IEC 13818-1 §2.4.3
        media_type, suffix = "video/mp2t", "ts"
    return Embedded(parts, media_type, suffix)


def _fragments(descriptor: int, at: int) -> list[tuple[int, int]]:
    """The fragments behind the offset table; nothing if they are broken or too many."""
    size = os.fstat(descriptor).st_size
    found: list[tuple[int, int]] = []
    for _ in range(PARTS_MAX):
        head = os.pread(descriptor, 8, at)
        if len(head) < 8:
            return []
        group, number, length = struct.unpack("<HHI", head)
        if group << 16 | number != _ITEM:
            return found[1:]
        at += 8
        if at + length > size:
            return []
        found.append((at, length))
        at += length
    return []
