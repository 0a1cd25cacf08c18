"""The header of a data set in every transfer syntax.

The first two bytes of an input say which syntax is declared and how much of the beginning is given from memory; the
rest is the data set. Oracle: `HeaderError` or a `Header` of the documented types and flags, the same whether the data
set ends the file or not and however much of it is in memory; no more is read than the walk may; where pydicom reads
the data set, would write it just so, and nothing is odd, both say the same, and it is not refused.
"""

import io
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue

from noctis.repository import walk
from noctis.repository.header import _FIELDS, INFLATED_MAX, Header, HeaderError, read_header
from noctis.repository.text import REPLACEMENT
from tests.unit.repository import header_data
from tests.unit.repository.header_data import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG, deflated, in_memory

FLAGS = {"charset", "syntax", "uid", "vr"}
COMPRESS = "deflate it"  # the input is the data set as it is before it is deflated
SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, COMPRESS, JPEG, "1.2.3", "")
_BEFORE, _BEHIND = b"meta" * 25, b"\x08\0\x18\0UI\x04\x009.9\0" * 3


class CountingOs:
    """`os` for the walk, which counts what is read."""

    def __init__(self) -> None:
        self.bytes = self.calls = 0

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        assert 0 <= length <= 1 << 20
        piece = os.pread(descriptor, length, offset)
        self.calls += 1
        self.bytes += len(piece)
        return piece

    def fstat(self, descriptor: int) -> os.stat_result:
        return os.fstat(descriptor)


def examine(data: bytes) -> None:
    if len(data) < 2:
        return
    syntax, known, data_set = SYNTAXES[data[0] % 8], data[1] * 64, data[2:]
    if syntax == COMPRESS:
        syntax, data_set = DEFLATED, deflated(data_set)
    found = outcome(_BEFORE + data_set, syntax, length=None, beginning=None)
    again = outcome(_BEFORE + data_set + _BEHIND, syntax, length=len(data_set), beginning=data_set[:known])
    assert found == again, "it depends on where the bytes come from"
    if found is not None:
        sound(found)
    if found is None or not found.flags:
        as_pydicom(found, data_set, syntax)


def outcome(file: bytes, syntax: str, **how: Any) -> Header | None:
    """None: refused."""
    counting = CountingOs()
    walk.os = counting  # type: ignore[attr-defined]
    try:
        with in_memory(file) as descriptor:
            return read_header(descriptor, len(_BEFORE), syntax, **how)
    except HeaderError as error:
        assert len(str(error)) < 400
        return None
    finally:
        walk.os = os  # type: ignore[attr-defined]
        assert counting.bytes <= 4 * len(file) + (1 << 20)


def sound(header: Header) -> None:
    for name, value in header._asdict().items():
        if name == "flags":
            assert set(value) <= FLAGS
            assert list(value) == sorted(set(value))
        elif name in ("rows", "columns"):
            assert value is None or (type(value) is int and 0 <= value <= 0xFFFF)
        else:
            assert type(value) is str
            assert "\0" not in value
            assert len(value.encode()) <= 4 * walk.VALUE_MAX  # no lone surrogate


def as_pydicom(header: Header | None, data_set: bytes, syntax: str) -> None:
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    if syntax == DEFLATED:
        with suppress(zlib.error):
            data_set = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, INFLATED_MAX)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            dataset = read_dataset(io.BytesIO(data_set), implicit, little)
            written = DicomBytesIO()
            written.is_implicit_VR, written.is_little_endian = implicit, little
            write_dataset(written, dataset)
            if written.getvalue() != data_set or not dataset.get("SOPInstanceUID"):
                return
            fields: dict[str, Any] = {}
            for tag, (field, vr) in _FIELDS.items():
                if field:
                    value = dataset[tag].value if tag in dataset else None
                    fields[field] = value if vr == b"US" else plain(value)
        except Exception:  # noqa: BLE001 - pydicom warns of, or refuses, what a receiver takes
            return
    assert header == Header(**fields)


def plain(value: Any) -> str:
    if value is None:
        return ""
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    return text.replace("\0", REPLACEMENT)  # no database takes a NUL


# A sequence whose item is implicit inside explicit (PS3.5 §6.2.2), and both without a length.
_IMPLICIT_INSIDE = (
    header_data.explicit(0x00081140, b"UN", length=header_data.UNDEFINED)
    + header_data.item(header_data.implicit(0x00081150, b"UI", b"1.2\0"))
    + header_data.SEQUENCE_END
)


def seeds() -> Iterator[bytes]:
    explicit, implicit = header_data.data_set(), header_data.data_set(header_data.implicit)
    big = header_data.data_set(header_data.big, order=">")
    nested = header_data.data_set(extra=header_data.NESTED)
    for number, data_set in enumerate(
        (explicit, implicit, big, deflated(explicit), explicit, explicit, nested, nested)
    ):
        yield bytes((number, 0)) + data_set
        yield bytes((number, 2)) + data_set[:300]
    yield b"\4\0" + nested
    yield b"\0\0" + header_data.data_set(extra=_IMPLICIT_INSIDE)
    yield b"\0\0" + explicit.replace(b"OT", b"O\0").replace(b"P1", b"\0P")
    yield b"\1\0" + explicit
    yield b"\0\0" + big
