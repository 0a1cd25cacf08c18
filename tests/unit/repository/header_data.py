"""Small data sets made by hand, element by element, and reading a header from memory."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from noctis.repository.header import Header, read_header

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OX")
UNDEFINED = 0xFFFFFFFF


def explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HI", 0, size) if vr in LONG else struct.pack("<H", size)) + value


def implicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def big(tag: int, vr: bytes, value: bytes = b"") -> bytes:
    head = struct.pack(">HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack(">HI", 0, len(value)) if vr in LONG else struct.pack(">H", len(value))) + value


def item(content: bytes, *, defined: bool = False) -> bytes:
    if defined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    return struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + content + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def data_set(element: Callable[..., bytes] = explicit, *, order: str = "<", extra: bytes = b"") -> bytes:
    """A small image; `extra` stands in front of (0010,0010)."""
    return b"".join(
        (
            element(0x00080005, b"CS", b"ISO_IR 192"),
            element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
            element(0x00080018, b"UI", b"1.2.3.4\0"),
            element(0x00080060, b"CS", b"OT"),
            extra,
            element(0x00100010, b"PN", "Łoś^Ewa ".encode()),
            element(0x00100020, b"LO", b"P1"),
            element(0x0020000D, b"UI", b"1.2.3\0"),
            element(0x0020000E, b"UI", b"1.2.3.5\0"),
            element(0x00200013, b"IS", b"7 "),
            element(0x00280010, b"US", struct.pack(order + "H", 512)),
            element(0x00280011, b"US", struct.pack(order + "H", 256)),
            element(0x7FE00010, b"OW", b"\1\2" * 50),
        )
    )


EXPECTED = Header(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
    sop_instance_uid="1.2.3.4",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.5",
    modality="OT",
    patient_name="Łoś^Ewa",
    patient_id="P1",
    instance_number="7",
    rows=512,
    columns=256,
)

NESTED = explicit(0x00081140, b"SQ", length=UNDEFINED) + item(
    explicit(0x00100010, b"PN", b"Nobody") + explicit(0x00081199, b"SQ", item(b"", defined=True))
)


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """A descriptor of a file that is never on disk."""
    descriptor = os.memfd_create("data set")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def read(data: bytes, transfer_syntax: str = EXPLICIT) -> Header:
    """The header of a data set that lies behind some other bytes; the descriptor is not moved."""
    with in_memory(b"meta" * 25 + data) as descriptor:
        try:
            return read_header(descriptor, 100, transfer_syntax)
        finally:
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0


def flagged(header: Header, *flags: str) -> bool:
    return header == EXPECTED._replace(flags=flags)


def deflated(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()
