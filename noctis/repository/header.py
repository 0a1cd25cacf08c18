"""The header of a data set: exactly what the index needs, read from an open file without reading the image.

Takes a descriptor, where the data set begins and the transfer syntax it is said to have; gives a `Header`. The elements
are found by `walk`; what the walk does not understand pydicom may try, on a piece of bounded size. A data set that
is really in another encoding than declared is read the way it is. Text comes out as `text` promises.

Refused, with `HeaderError`: what cannot be read as a data set, one that ends inside an element (pixel data included,
where that costs no more than a look), and one that would take unbounded work or memory to find out. Values never
stand in the message: it names tags and offsets.

Flags of a header, for what was odd and let in all the same:

- "charset": Specific Character Set is not one of the standard's, or a text is not written in it;
- "vr": an element has another VR than the dictionary's, or a value of the wrong or an absurd length;
- "uid": a UID with illegal characters or more than 64 of them;
- "syntax": the data set is not encoded as its transfer syntax says.
"""

import io
import struct
import threading
import warnings
import zlib
from typing import NamedTuple

from noctis.repository.names import is_uid
from noctis.repository.text import ABSENT, character_set, decode
from noctis.repository.walk import (
    LONG_CUT,
    LONG_VRS,
    PIXEL_DATA_GROUP,
    SHORT_VRS,
    UNDEFINED,
    VALUE_MAX,
    Found,
    NotUnderstood,
    Source,
    TooMuch,
    Truncated,
    tag_name,
    walk,
)

INFLATED_MAX = 8 << 20  # bytes that are inflated to find the header of a deflated data set
_INFLATED_FIRST = 256 << 10  # bytes that suffice nearly always
_FALLBACK_MAX = 1 << 20  # bytes that pydicom gets to see
_TEXT_CUT = 1024  # characters left of a value longer than VALUE_MAX

IMPLICIT = ("1.2.840.10008.1.2", "1.2.840.10008.1.20", "1.2.840.113619.5.2")  # the default, Papyrus 3, GE private
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")  # and JPIP deflated

_CHARACTER_SET = 0x00080005
_SOP_INSTANCE_UID = 0x00080018
_FIELDS: dict[int, tuple[str, bytes]] = {  # tag: field of Header, VR (PS3.6 §6)
    _CHARACTER_SET: ("", b"CS"),
    0x00080016: ("sop_class_uid", b"UI"),
    _SOP_INSTANCE_UID: ("sop_instance_uid", b"UI"),
    0x00080020: ("study_date", b"DA"),
    0x00080021: ("series_date", b"DA"),
    0x00080030: ("study_time", b"TM"),
    0x00080050: ("accession_number", b"SH"),
    0x00080060: ("modality", b"CS"),
    0x00080070: ("manufacturer", b"LO"),
    0x00080090: ("referring_physician_name", b"PN"),
    0x00081010: ("station_name", b"SH"),
    0x00081030: ("study_description", b"LO"),
    0x0008103E: ("series_description", b"LO"),
    0x00100010: ("patient_name", b"PN"),
    0x00100020: ("patient_id", b"LO"),
    0x00100021: ("issuer_of_patient_id", b"LO"),
    0x00100030: ("patient_birth_date", b"DA"),
    0x00100040: ("patient_sex", b"CS"),
    0x00180015: ("body_part_examined", b"CS"),
    0x0020000D: ("study_instance_uid", b"UI"),
    0x0020000E: ("series_instance_uid", b"UI"),
    0x00200010: ("study_id", b"SH"),
    0x00200011: ("series_number", b"IS"),
    0x00200013: ("instance_number", b"IS"),
    0x00280008: ("frames", b"IS"),
    0x00280010: ("rows", b"US"),
    0x00280011: ("columns", b"US"),
}
_WANTED = frozenset(_FIELDS)
_TEXT_VRS = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_OPAQUE_VRS = frozenset((b"UN", b"OB", b"OW"))  # text by somebody who had no dictionary

_quiet = threading.Lock()  # held while warnings are off


class Header(NamedTuple):  # a frozen dataclass of so many fields takes several times as long to make
    """What the index needs of a data set. Text is Unicode; an absent or empty element is ""."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    modality: str = ""
    series_number: str = ""
    series_date: str = ""
    series_description: str = ""
    body_part_examined: str = ""
    manufacturer: str = ""
    station_name: str = ""
    instance_number: str = ""
    frames: str = ""
    rows: int | None = None
    columns: int | None = None
    flags: tuple[str, ...] = ()  # what was odd: "charset", "syntax", "uid", "vr"

    @property
    def missing_uids(self) -> str:
        """Which of the UIDs that make it an instance it lacks, as "Study or SOP Instance UID"; "" when it has all."""
        named = (
            ("Study", self.study_instance_uid),
            ("Series", self.series_instance_uid),
            ("SOP", self.sop_instance_uid),
        )
        words = [word for word, uid in named if not uid]
        return f"{' or '.join(words)} Instance UID" if words else ""


class HeaderError(Exception):
    """The data set cannot be read."""


def read_header(
    descriptor: int, start: int, transfer_syntax_uid: str, *, length: int | None = None, beginning: bytes | None = None
) -> Header:
    """The header of the data set that begins `start` bytes into an open file.

    The position of the descriptor is neither used nor moved.

    Parameters
    ----------
    length
        Bytes of the data set; None: up to the end of the file.
    beginning
        As much of it as is in memory already, which saves reading it.

    Raises
    ------
    HeaderError
        It cannot be read as a data set of that transfer syntax.
    OSError
        The file cannot be read.
    """
    source = Source(descriptor, start, beginning, size=length)
    if source.size <= 0:
        raise HeaderError("the data set is empty")
    try:
        if transfer_syntax_uid in DEFLATED:
            return _deflated(source)
        return _plain(source, transfer_syntax_uid)
    except (Truncated, TooMuch, NotUnderstood) as error:
        raise HeaderError(str(error)) from None


def _plain(source: Source, transfer_syntax_uid: str) -> Header:
    declared = (transfer_syntax_uid in IMPLICIT, transfer_syntax_uid == BIG_ENDIAN)
    implicit, big = encoding(source, declared)
    flags = {"syntax"} if (implicit, big) != declared else set()
    try:
        found = walk(source, _WANTED, implicit=implicit, big=big)
    except NotUnderstood as reason:
        found = _by_pydicom(source, reason, implicit=implicit, big=big)
    return _header(found, ">" if big else "<", flags)


def _deflated(source: Source) -> Header:
    for limit in (_INFLATED_FIRST, INFLATED_MAX):
        inflated = inflate(source, limit)
        if inflated is None:
            try:
                header = _plain(source, "")
            except (Truncated, TooMuch, NotUnderstood) as error:
                raise HeaderError(f"it is not deflated, or damaged; and taken as it is, {error}") from None
            return header._replace(flags=tuple(sorted({*header.flags, "syntax"})))
        try:
            return _plain(inflated, "")
        except Truncated:
            if not inflated.cut:
                raise
    raise HeaderError(f"the header is larger than {INFLATED_MAX >> 20} MiB when inflated")


def inflate(source: Source, limit: int) -> Source | None:
    """At most `limit` bytes of a deflated data set (PS3.5 §A.5: a raw stream); None when it is not deflated."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = bytearray()
    position = 0
    try:
        while not machine.eof and len(data) < limit:
            piece = machine.unconsumed_tail
            if not piece:
                piece = source.read(position, 65536)
                position += len(piece)
                if not piece:
                    raise HeaderError(f"the deflated data set ends early, at byte {position}")
                if position > 2 * limit + 65536:  # blocks of nothing
                    raise HeaderError(f"the deflated data set has no header in its first {position} bytes")
            data += machine.decompress(piece, limit - len(data))
    except zlib.error:
        if not data:
            return None
        raise HeaderError(f"the deflated data set is damaged before byte {position}") from None
    return Source(source.descriptor, 0, data, cut=not machine.eof)


def encoding(source: Source, declared: tuple[bool, bool]) -> tuple[bool, bool]:
    """Whether the data set is really Implicit VR, and whether really Big Endian, by its first element."""
    head = source.read(0, 8)
    if len(head) < 8:
        raise Truncated("the data set ends inside its first element")
    if head.startswith(b"\2\0") or source.read(128, 4) == b"DICM":
        # Behind our own file meta a reader would take its elements, the transfer syntax among them, for ours.
        raise NotUnderstood("a file's preamble or File Meta Information stands where the data set should begin")
    vr = head[4:6]
    known = vr in SHORT_VRS or vr in LONG_VRS
    if not known:
        (length,) = struct.unpack_from("<I", head, 4)
        fits = length == UNDEFINED or length <= source.size - 8
        return (True, False) if declared[0] or fits else declared
    if head[0] and not head[1]:
        return False, False
    if head[1] and not head[0]:
        return False, True
    return False, declared[1]


def _by_pydicom(source: Source, reason: NotUnderstood, *, implicit: bool, big: bool) -> Found:
    """What pydicom finds at the beginning of a data set that the walk is lost in, for the `reason` it gives."""
    from pydicom.dataelem import RawDataElement
    from pydicom.filereader import data_element_generator

    elements = data_element_generator(
        io.BytesIO(source.read(0, _FALLBACK_MAX)),
        implicit,
        not big,
        stop_when=lambda tag, vr, length: int(tag) >= PIXEL_DATA_GROUP,
        specific_tags=list(_WANTED),
    )
    found: Found = {}
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for element in elements:
                if not isinstance(element, RawDataElement) or element.tag not in _WANTED:
                    continue
                tag, value = int(element.tag), element.value or b""
                if len(value) < element.length != UNDEFINED:
                    raise Truncated(f"the data set ends inside element {tag_name(tag)}")
                vr = element.VR.encode("latin-1") if element.VR and not element.is_implicit_VR else None
                found[tag] = (vr, value[:LONG_CUT] if len(value) > VALUE_MAX else value, len(value))
        except Truncated:
            raise
        except Exception as error:
            raise reason from error
    if _SOP_INSTANCE_UID not in found:  # pydicom stops without a word where it is lost
        raise reason
    return found


def _header(found: Found, order: str, flags: set[str]) -> Header:
    characters = ABSENT
    declared = found.get(_CHARACTER_SET)
    if declared is not None:
        characters = character_set(declared[1])
        if not characters.sound:
            flags.add("charset")
    fields: dict[str, str | int | None] = {}
    for tag, (vr, value, length) in found.items():
        field, expected = _FIELDS[tag]
        if vr is None:
            vr = expected
        elif vr != expected:
            flags.add("vr")
        if not length or not field:
            continue
        if expected == b"US":
            if length == 2:
                fields[field] = struct.unpack(order + "H", value)[0]
            else:
                flags.add("vr")
            continue
        if vr not in _TEXT_VRS:
            if vr in SHORT_VRS or (vr in LONG_VRS and vr not in _OPAQUE_VRS):
                continue  # a number or a sequence
            vr = expected
        text, sound = decode(expected if expected == b"UI" else vr, value, characters)
        if length > VALUE_MAX:
            text = text[:_TEXT_CUT]
            flags.add("vr")
        elif not sound:
            flags.add("charset")
        if expected == b"UI" and text and not is_uid(text):
            flags.add("uid")
        fields[field] = text
    if flags:
        return Header(**fields, flags=tuple(sorted(flags)))  # type: ignore[arg-type]
    return Header(**fields)  # type: ignore[arg-type]
