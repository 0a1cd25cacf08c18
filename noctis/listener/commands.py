"""Command sets (PS3.7 §6.3, §9.3): group 0000, Implicit VR Little Endian, read and written without pydicom.

Takes bytes from the wire; a set that cannot be one raises `ProtocolError`, never anything else.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from noctis.listener.pdu import AbortReason, PduType, ProtocolError

COMMAND_SET_MAX = 64 << 10  # bytes
NO_DATA_SET = 0x0101
COMMENT_MAX = 64  # characters, VR LO
ECHOED_MAX = 512  # bytes of a UID that a response repeats: it must fit into any PDU


class Field(IntEnum):
    """Command Field (0000,0100)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


RESPONSE = 0x8000  # set in the Command Field of every response


class Status(IntEnum):
    """Status (0000,0900): PS3.7 annex C and, for C-STORE, PS3.4 §B.2.3."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    MISSING_ATTRIBUTE = 0x0120
    UNRECOGNISED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Command(NamedTuple):
    """One command set. UIDs are bytes as they came, without their padding."""

    field: int
    message_id: int | None
    sop_class: bytes
    sop_instance: bytes
    has_data_set: bool


def decode(encoded: bytes | bytearray) -> Command:
    """Read a command set.

    Raises
    ------
    ProtocolError
        An element goes past the end, is repeated, of another group, or the Command Field is missing.
    """
    values: dict[int, bytes] = {}
    at, end = 0, len(encoded)
    while at < end:
        if end - at < 8:
            raise ProtocolError("a command set that ends inside an element")
        group, element, length = struct.unpack_from("<HHI", encoded, at)
        at += 8
        if group != 0 or length > end - at or element in values:
            raise ProtocolError(f"a broken element ({group:04x},{element:04x}) in a command set")
        values[element] = bytes(encoded[at : at + length])
        at += length
    field = _number(values, 0x0100)
    if field is None:
        raise ProtocolError("a command set without a Command Field", AbortReason.UNEXPECTED_PARAMETER)
    return Command(
        field=field,
        message_id=_number(values, 0x0110),
        sop_class=values.get(0x0002, b"").rstrip(b"\0 "),
        sop_instance=values.get(0x1000, b"").rstrip(b"\0 "),
        has_data_set=_number(values, 0x0800) not in (None, NO_DATA_SET),
    )


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element)
    if value is None:
        return None
    if len(value) != 2:
        raise ProtocolError(f"element (0000,{element:04x}) of a command set has {len(value)} bytes, expected 2")
    return int.from_bytes(value, "little")


def response_pdu(context_id: int, request: Command, status: int, comment: str = "") -> bytes:
    """The whole P-DATA-TF PDU that answers `request`, to be sent with one call."""
    parts = [_element(0x0002, _even(request.sop_class))] if 0 < len(request.sop_class) <= ECHOED_MAX else []
    parts += [
        _element(0x0100, struct.pack("<H", request.field | RESPONSE)),
        _element(0x0120, struct.pack("<H", request.message_id or 0)),
        _element(0x0800, struct.pack("<H", NO_DATA_SET)),
        _element(0x0900, struct.pack("<H", status)),
    ]
    if comment:
        parts.append(_element(0x0902, _even(comment[:COMMENT_MAX].encode("ascii", "replace"), b" ")))
    if 0 < len(request.sop_instance) <= ECHOED_MAX and request.field == Field.C_STORE_RQ:
        parts.append(_element(0x1000, _even(request.sop_instance)))
    body = b"".join(parts)
    body = _element(0x0000, struct.pack("<I", len(body))) + body
    return struct.pack(">BBLLBB", PduType.DATA_TF, 0, len(body) + 6, len(body) + 2, context_id, 3) + body


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _even(value: bytes, padding: bytes = b"\0") -> bytes:
    return value + padding if len(value) & 1 else value
