"""PDVs: fragmented in every way that is allowed, refused in every other."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.listener.messages import MessageReader
from noctis.listener.pdu import ProtocolError

COMMAND = (
    struct.pack("<HHIH", 0, 0x0100, 2, 1)
    + struct.pack("<HHIH", 0, 0x0110, 2, 9)
    + struct.pack("<HHIH", 0, 0x0800, 2, 1)
)


def pdv(fragment: bytes, control: int, context: int = 1) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, context, control) + fragment


def feed(reader: MessageReader, content: bytes) -> tuple[list[int], bytes]:
    """Message IDs of the commands and all data, as an association would take them."""
    ids, data = [], b""
    for each in reader.read(memoryview(content)):
        if not each.is_command:
            data += bytes(each.fragment)
        elif each.is_last:
            command = reader.command()
            ids.append(command.message_id or 0)
            reader.expect_data(each.context_id, command.has_data_set)
    return ids, data


@given(
    command_cuts=st.lists(st.integers(0, len(COMMAND)), max_size=5),
    data=st.binary(max_size=200),
    data_cuts=st.lists(st.integers(0, 200), max_size=5),
    pdu_size=st.integers(1, 4),
)
def test_every_fragmentation_gives_the_same_message(
    command_cuts: list[int], data: bytes, data_cuts: list[int], pdu_size: int
) -> None:
    def cut(whole: bytes, at: list[int]) -> list[bytes]:
        edges = [0, *sorted(min(each, len(whole)) for each in at), len(whole)]
        return [whole[a:b] for a, b in itertools.pairwise(edges)]

    pieces = [(piece, 1) for piece in cut(COMMAND, command_cuts)]
    pieces[-1] = (pieces[-1][0], 3)
    body = [(piece, 0) for piece in cut(data, data_cuts)]
    body[-1] = (body[-1][0], 2)
    pdvs = [pdv(*piece) for piece in pieces + body]
    reader, ids, got = MessageReader(frozenset({1})), [], b""
    for start in range(0, len(pdvs), pdu_size):
        some, more = feed(reader, b"".join(pdvs[start : start + pdu_size]))
        ids += some
        got += more
    assert ids == [9]
    assert got == data


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "without a PDV"),
        (b"\0\0\0", "3 bytes behind the last PDV"),
        (struct.pack(">LBB", 1, 1, 3), "too short"),
        (struct.pack(">LBB", 0, 1, 3), "too short"),
        (struct.pack(">LBB", 0xFFFFFFFF, 1, 3), "past its PDU"),
        (struct.pack(">LBB", 100, 1, 3) + b"x", "past its PDU"),
        (pdv(COMMAND, 3, context=3), "not accepted"),
        (pdv(b"data", 0), "without a command"),
        (pdv(COMMAND, 3) + pdv(COMMAND, 3), "command inside a data set"),
        (pdv(COMMAND, 3) + pdv(b"x", 2, context=5), "without a command"),
        (pdv(COMMAND[:4], 1) + pdv(COMMAND[4:], 3, context=5), "two contexts"),
        (pdv(b"x" * 60000, 1) + pdv(b"x" * 60000, 1), "more than 65536"),
    ],
)
def test_what_is_not_allowed(content: bytes, word: str) -> None:
    with pytest.raises(ProtocolError, match=word):
        feed(MessageReader(frozenset({1, 5})), content)


@given(st.binary(max_size=100))
def test_garbage_is_refused_or_read(garbage: bytes) -> None:
    try:
        feed(MessageReader(frozenset(range(256))), garbage)
    except ProtocolError:
        pass
