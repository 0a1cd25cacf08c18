"""Command sets: equal to pynetdicom's, and never more than a ProtocolError on garbage."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as decode_with_pydicom
from pynetdicom.dsutils import encode

from noctis.listener import commands
from noctis.listener.commands import Command, Status, decode, response_pdu
from noctis.listener.pdu import ProtocolError


def command_set(**elements: object) -> bytes:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    encoded = encode(dataset, True, True)
    assert encoded is not None
    return encoded


def test_a_c_store_request() -> None:
    encoded = command_set(
        AffectedSOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        CommandField=1,
        MessageID=7,
        Priority=0,
        CommandDataSetType=0x0001,
        AffectedSOPInstanceUID="1.2.3",
    )
    assert decode(encoded) == Command(1, 7, b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3", True)


def test_a_c_echo_request_has_no_data_set() -> None:
    encoded = command_set(
        AffectedSOPClassUID="1.2.840.10008.1.1", CommandField=0x30, MessageID=1, CommandDataSetType=0x0101
    )
    assert not decode(encoded).has_data_set


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.OUT_OF_RESOURCES])
def test_the_answer_is_what_pydicom_reads(status: Status) -> None:
    request = Command(1, 65535, b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3.4", True)
    pdu = response_pdu(5, request, status, "" if status is Status.SUCCESS else "disk full " * 20)
    kind, length, item, context, control = struct.unpack_from(">BxLLBB", pdu)
    assert (kind, length, item, context, control) == (4, len(pdu) - 6, len(pdu) - 10, 5, 3)
    from io import BytesIO

    answer = decode_with_pydicom(BytesIO(pdu[12:]), True, True)
    assert answer.CommandGroupLength == len(pdu) - 12 - 12
    assert answer.CommandField == 0x8001
    assert answer.MessageIDBeingRespondedTo == 65535
    assert answer.Status == status
    assert answer.AffectedSOPInstanceUID == "1.2.3.4"
    assert len(answer.get("ErrorComment", "")) <= 64


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\0" * 7,
        struct.pack("<HHI", 0, 0x0100, 100) + b"\1\0",  # past the end
        struct.pack("<HHIH", 0, 0x0100, 2, 1) * 2,  # repeated
        struct.pack("<HHIH", 8, 0x0100, 2, 1),  # another group
        struct.pack("<HHII", 0, 0x0100, 4, 1),  # a field of four bytes
        struct.pack("<HHIH", 0, 0x0110, 2, 1),  # no Command Field
        struct.pack("<HHI", 0, 0x0100, 0xFFFFFFFF),
    ],
)
def test_what_is_no_command_set_is_refused(encoded: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(encoded)


@given(st.binary(max_size=400))
def test_garbage_is_a_protocol_error_or_a_command(garbage: bytes) -> None:
    try:
        assert isinstance(decode(garbage), Command)
    except ProtocolError:
        pass


def test_the_limit_of_a_command_set_is_64_kib() -> None:
    assert commands.COMMAND_SET_MAX == 65536
