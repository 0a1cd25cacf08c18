"""A command set, and the answer to it.

Oracle: `ProtocolError` or a `Command` of the documented types; where pydicom reads the set and would write it just so,
both say the same; the answer is a PDU that our own reader, pydicom and the limits of PS3.8 agree with.
"""

import io
import struct
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as decode_with_pydicom
from pynetdicom.dsutils import encode

from noctis.listener.commands import COMMENT_MAX, ECHOED_MAX, RESPONSE, Command, Field, Status, decode, response_pdu
from noctis.listener.messages import MessageReader
from noctis.listener.pdu import HEAD, PduType, ProtocolError

_UIDS = {0x00000002: "sop_class", 0x00001000: "sop_instance"}
_NUMBERS = {0x00000100: "field", 0x00000110: "message_id"}


def examine(data: bytes) -> None:
    try:
        command = decode(data)
    except ProtocolError:
        return
    assert 0 <= command.field <= 0xFFFF
    assert command.message_id is None or 0 <= command.message_id <= 0xFFFF
    assert all(
        isinstance(uid, bytes) and uid == uid.rstrip(b"\0 ") for uid in (command.sop_class, command.sop_instance)
    )
    assert isinstance(command.has_data_set, bool)
    assert tiled(data)
    as_pydicom(data, command)
    for comment in ("", "the disk is full \ud800 " * 9):
        answered(command, comment)


def tiled(data: bytes) -> bool:
    """Whether the elements are the whole of it, up to the last byte."""
    while data:
        data = data[4:]
        length, data = int.from_bytes(data[:4], "little"), data[4:]
        if length > len(data):
            return False
        data = data[length:]
    return True


def as_pydicom(data: bytes, command: Command) -> None:
    try:
        dataset = decode_with_pydicom(io.BytesIO(data), True, True)
        if encode(dataset, True, True) != data:
            return
        raw = {int(tag): dataset.get_item(tag).value or b"" for tag in dataset.keys()}  # noqa: SIM118 - not a dict
    except Exception:  # noqa: BLE001 - pydicom reads less than a receiver must
        return
    assert all(isinstance(value, bytes) for value in raw.values())
    for tag, name in _UIDS.items():
        assert getattr(command, name) == raw.get(tag, b"").rstrip(b"\0 ")
    for tag, name in _NUMBERS.items():
        value = raw.get(tag)
        assert getattr(command, name) == (None if value is None else int.from_bytes(value, "little"))
    assert command.has_data_set == (raw.get(0x00000800, b"\1\1") != b"\1\1")


def answered(command: Command, comment: str) -> None:
    pdu = response_pdu(5, command, Status.CANNOT_UNDERSTAND, comment)
    kind, length = struct.unpack_from(">BxL", pdu)
    assert (kind, length) == (PduType.DATA_TF, len(pdu) - HEAD)
    assert len(pdu) <= 4096  # what any peer takes
    body = pdu[HEAD + 6 :]
    (pdv,) = MessageReader(frozenset({5})).read(memoryview(pdu)[HEAD:])
    assert (pdv.context_id, pdv.is_command, pdv.is_last, bytes(pdv.fragment)) == (5, True, True, body)
    back = decode(body)
    assert back.field == command.field | RESPONSE
    assert back.sop_class == echoed(command.sop_class)
    assert not back.has_data_set
    if command.field == Field.C_STORE_RQ:
        assert back.sop_instance == echoed(command.sop_instance)
    answer = decode_with_pydicom(io.BytesIO(body), True, True)
    assert answer.CommandGroupLength == len(body) - 12
    assert answer.MessageIDBeingRespondedTo == (command.message_id or 0)
    assert len(answer.get("ErrorComment", "")) <= COMMENT_MAX


def echoed(uid: bytes) -> bytes:
    return uid if len(uid) <= ECHOED_MAX else b""


def seeds() -> Iterator[bytes]:
    for field, has_data_set in ((1, 1), (0x30, 0x101), (0x20, 1), (0xFFF, 0x101), (0x8001, 0x101)):
        dataset = Dataset()
        dataset.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.CommandField = field
        dataset.MessageID = 7
        dataset.Priority = 0
        dataset.CommandDataSetType = has_data_set
        if field == 1:
            dataset.AffectedSOPInstanceUID = "1.2.3"
        encoded = encode(dataset, True, True)
        assert encoded is not None
        yield encoded
        yield encoded[:-1]
        yield encoded.replace(b"840.10008.5.1.4.1.1.2\0", b"840.10008.5.1.4.1.1.2 ")
        yield struct.pack("<HHII", 0, 0, 4, len(encoded)) + encoded
