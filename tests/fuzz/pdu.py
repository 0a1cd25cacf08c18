"""A whole connection: PDUs off the wire, the A-ASSOCIATE-RQ negotiated, messages read and answered.

The first two bytes of an input say how large a PDU may be and how the bytes come in; the rest is what the peer sends
before it closes. Oracle: PDUs are those that a plain reading of the whole stream finds, and it ends where and as that
says; no read is asked for nothing; the buffer stays bounded. A request that can be read is negotiated without an error,
agrees with pynetdicom, and its answer is an A-ASSOCIATE-AC that pynetdicom reads back. PDVs tile their PDU.
"""

import math
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association, ServiceUser
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from noctis.listener import associate, negotiation
from noctis.listener.messages import MessageReader
from noctis.listener.negotiation import ACCEPTED, Offer
from noctis.listener.pdu import (
    ASSOCIATE_RQ_MAX,
    HEAD,
    SMALL_PDU_MAX,
    TLS_HANDSHAKE,
    ConnectionEnded,
    PduReader,
    PduType,
    ProtocolError,
    TimeLimits,
    TlsHello,
)
from noctis.repository.names import is_uid
from tests.fuzz import commands
from tests.fuzz.targets import HERE

MAX_PDUS = (16, 4096, 16384, 65536)
STEPS = (1, 5, 6, 7, 100, 4096, 1 << 20)
LIMITS = TimeLimits(3600, 3600, 3600)
CONTROL = b"\2\6"  # 16384 bytes, all at once
QUERY = Offer(frozenset({"1.2.840.10008.5.1.4.1.2.2.3"}), sends_instances=True)


class Wire:
    """A connected socket whose peer has sent `stream` and closed."""

    def __init__(self, stream: bytes, step: int) -> None:
        self._stream, self._step, self._at = stream, step, 0

    def setsockopt(self, *_: object) -> None:
        """Timeouts: nothing here waits."""

    def recv_into(self, view: memoryview) -> int:
        assert len(view), "a read of nothing is taken for the end"
        piece = self._stream[self._at : self._at + min(self._step, len(view))]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def plain(stream: bytes, max_pdu: int) -> Iterator[tuple[int, bytes] | type[Exception]]:
    """What the stream holds: each PDU, at last how it ends."""
    at = 0
    while True:
        if len(stream) - at < HEAD:
            yield ConnectionEnded
            return
        kind, length = struct.unpack_from(">BxL", stream, at)
        if at == 0 and (kind == PduType.ABORT or (kind == TLS_HANDSHAKE and stream[1] == 3)):
            # an A-ABORT is not answered by another
            yield ConnectionEnded if kind == PduType.ABORT else TlsHello
            return
        limit = {1: ASSOCIATE_RQ_MAX, 4: max_pdu}.get(kind, SMALL_PDU_MAX)
        if not 1 <= kind <= 7 or (at == 0 and kind != 1) or length > limit:
            yield ProtocolError
            return
        if len(stream) - at < HEAD + length:
            yield ConnectionEnded
            return
        yield kind, stream[at + HEAD : at + HEAD + length]
        at += HEAD + length


def examine(data: bytes) -> None:
    if len(data) < 2:
        return
    max_pdu, step, stream = MAX_PDUS[data[0] % 4], STEPS[data[1] % 7], data[2:]
    if step < 100:
        stream = stream[:20_000]
    reader = PduReader(Wire(stream, step), max_pdu, LIMITS, math.inf)  # type: ignore[arg-type]
    messages: MessageReader | None = None
    for number, expected in enumerate(plain(stream, max_pdu)):
        try:
            kind, content = reader.next(first=number == 0)
        except (ConnectionEnded, ProtocolError) as error:
            assert isinstance(expected, type)
            assert isinstance(error, expected)
            return
        assert (kind, content) == expected
        assert len(reader._buffer) <= max(2 * (max_pdu + HEAD), ASSOCIATE_RQ_MAX + HEAD)
        raw = bytearray(reader.raw_head(content) + content)
        assert raw[0] == kind
        assert int.from_bytes(raw[2:6]) == len(content)
        try:
            if kind is PduType.ASSOCIATE_RQ:
                messages = MessageReader(negotiated(raw))
            elif kind is PduType.DATA_TF and messages is not None:
                read_messages(messages, content)
        except ProtocolError:
            return


@cache
def requestor() -> ServiceUser:
    return ServiceUser(Association(AE(), "acceptor"), "requestor")


def negotiated(raw: bytearray) -> frozenset[int]:
    """The ids of the accepted contexts, as `establishment` finds them."""
    negotiation.tolerate(raw)
    request = associate.Request()
    request.decode(bytes(raw))  # what cannot be read was refused, or is left out
    primitive = request.to_primitive()
    theirs = read_by_pynetdicom(bytes(raw))
    if theirs is not None and all(is_uid(uid) for context in theirs for uid in (context[1], *context[2])):
        assert theirs == contexts(primitive)
    user = requestor()
    user.primitive = primitive
    roles = user.role_selection
    for title in (primitive.calling_ae_title, primitive.called_ae_title):
        assert title.isascii()
        assert len(title) <= 16
    proposed = primitive.presentation_context_definition_list
    accepted: frozenset[int] = frozenset()
    for offer in (negotiation.NOTHING_ADDED, QUERY):
        answers = negotiation.negotiate(proposed, offer, roles)
        assert [each.context_id for each in answers] == [each.context_id for each in proposed]
        for context, answer in zip(proposed, answers, strict=True):
            assert answer.result != ACCEPTED or answer.transfer_syntax[0] in context.transfer_syntax
        items = negotiation.answer_roles(roles, offer)
        pdu = associate.acceptance_pdu(associate.acceptance(primitive, answers, items))
        back = A_ASSOCIATE_AC()
        back.decode(pdu)
        assert [(each.context_id, each.result) for each in back.presentation_context] == [
            (each.context_id, each.result) for each in answers
        ]
        if offer is negotiation.NOTHING_ADDED:
            accepted = frozenset(each.context_id for each in answers if each.result == ACCEPTED)
    return accepted


def read_by_pynetdicom(raw: bytes) -> list[tuple[Any, ...]] | None:
    """Its contexts; None for what it cannot read."""
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(raw)
        return contexts(pdu.to_primitive())
    except Exception:  # noqa: BLE001 - it raises anything
        return None


def contexts(request: A_ASSOCIATE) -> list[tuple[Any, ...]]:
    """Id, abstract syntax and transfer syntaxes, each once, of what is proposed."""
    proposed = request.presentation_context_definition_list
    return [
        (each.context_id, each.abstract_syntax or "", list(dict.fromkeys(each.transfer_syntax))) for each in proposed
    ]


def read_messages(messages: MessageReader, content: memoryview) -> None:
    """One PDU's PDVs, as `transfer` takes them."""
    size = 0
    for pdv in messages.read(content):
        size += HEAD + len(pdv.fragment)
        if pdv.is_command and pdv.is_last:
            peeked = messages.peek()
            command = messages.command()
            assert command == peeked
            commands.examine(bytes(messages.encoded))
            messages.expect_data(pdv.context_id, command.has_data_set)
    assert size == len(content)


def seeds() -> Iterator[bytes]:
    """What dcmtk's senders send, in several pieces; and PDUs as large as they may be, and larger."""
    request = (HERE / "corpus" / "pdu" / "echoscu.bin").read_bytes()
    request = request[: HEAD + int.from_bytes(request[2:HEAD])]
    for index, limit in enumerate(MAX_PDUS[:2]):
        for length in (limit, limit + 1):
            yield bytes((index, 6)) + request + struct.pack(">BxL", 4, length) + bytes(length)
    for kind in (2, 5, 8):
        yield CONTROL + request + struct.pack(">BxL", kind, SMALL_PDU_MAX + 1) + bytes(SMALL_PDU_MAX + 1)
    for number, path in enumerate(sorted((HERE / "corpus" / "pdu").iterdir())):
        yield CONTROL + path.read_bytes()
        yield bytes((number % 4, number % 7)) + path.read_bytes()
