"""The same random traffic to stock pynetdicom and to ours: the same answers, the same bytes stored.

C-ECHOs and C-STOREs alternate as they like, on five contexts with both VRs. Messages are cut into PDVs and PDVs
gathered into PDUs in every way that PS3.8 annex E allows: one-byte PDVs, empty ones at the end and within, the command
and the data set of one message in one PDU; and the PDUs reach the receiver in pieces that begin and end anywhere.

One difference is meant (docs/conformance.md): an empty data set has no UIDs, so it is put into quarantine and
answered with C000, where stock pynetdicom gives its handler nothing to store and answers with whatever that says.

Stock pynetdicom fails on a PDU that holds the end of one message and the beginning of the next (it takes all PDVs of a
PDU for one message), so those go to ours alone and are compared to what was sent.
"""

import itertools
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from noctis.repository import filemeta
from tests.integration.listener.conftest import RunningListener
from tests.integration.listener.peers import RELEASE, Peer, associate_rq
from tests.integration.listener.test_store import encoded

CONTEXTS = {
    1: (Verification, ImplicitVRLittleEndian),
    3: (CTImageStorage, ImplicitVRLittleEndian),
    5: (CTImageStorage, ExplicitVRLittleEndian),
    7: (MRImageStorage, ExplicitVRLittleEndian),
    9: (Verification, ExplicitVRLittleEndian),
}
PDU_MAX = 100_000  # bytes of PDVs gathered into one; what is offered is 131072
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True)
class Message:
    """One request: its command set and, for a C-STORE, its data set."""

    command: bytes
    data: bytes | None
    context: int


def command(field: int, message_id: int, has_data: bool, sop_class: str, instance: str = "") -> bytes:
    def even(text: str) -> bytes:
        raw = text.encode()
        return raw + b"\0" * (len(raw) & 1)

    elements = [(2, even(sop_class)), (0x100, struct.pack("<H", field)), (0x110, struct.pack("<H", message_id))]
    if field == 1:
        elements.append((0x700, b"\0\0"))
    elements.append((0x800, b"\1\0" if has_data else b"\1\1"))
    if instance:
        elements.append((0x1000, even(instance)))
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


@st.composite
def messages(draw: st.DrawFn) -> Message:
    context = draw(st.sampled_from(sorted(CONTEXTS)))
    sop_class, transfer_syntax = CONTEXTS[context]
    message_id = draw(st.integers(0, 65535))
    if sop_class == Verification:
        return Message(command(0x30, message_id, False, Verification), None, context)
    instance = f"1.2.{draw(st.integers(1, 10**9))}"
    data = b""
    if draw(st.integers(0, 7)):
        dataset = draw(data_sets_of(sop_class, instance))
        data = encoded(dataset, explicit=transfer_syntax == ExplicitVRLittleEndian)
    return Message(command(1, message_id, True, sop_class, instance), data, context)


@st.composite
def data_sets_of(draw: st.DrawFn, sop_class: str, instance: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientID = draw(st.text("ABC123", max_size=16))
    if draw(st.booleans()):
        item = Dataset()
        item.PatientComments = draw(st.text("xyz", max_size=200))
        dataset.RequestAttributesSequence = [item] * draw(st.integers(0, 3))
        dataset["RequestAttributesSequence"].is_undefined_length = draw(st.booleans())
    size = draw(st.integers(0, 150) if draw(st.integers(0, 5)) else st.integers(4_000, 50_000))
    dataset.PixelData = random.Random(size).randbytes(2 * size)
    dataset["PixelData"].VR = "OW"
    return dataset


def cut(whole: bytes, edges: list[int]) -> list[bytes]:
    """`whole` in pieces; an edge that comes twice makes an empty one."""
    at = [0, *sorted(edge % (len(whole) + 1) for edge in edges), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(at)]


def edges(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 1 << 17), max_size=most)


@st.composite
def traffic(draw: st.DrawFn, *, mixed: bool) -> tuple[list[Message], list[bytes]]:
    """Some messages, and the pieces of their PDUs; mixed: one PDU may hold PDVs of several messages."""
    sent = draw(st.lists(messages(), min_size=1, max_size=6))
    pdvs: list[bytes] = []
    pdus: list[bytes] = []
    for message in sent:
        if not mixed:
            pdus += gather(draw, pdvs)
            pdvs = []
        for whole, bit in ((message.command, 1), (message.data, 0)):
            if whole is None:
                continue
            one_by_one = len(whole) < 300 and draw(st.integers(0, 9)) == 0
            pieces = cut(whole, list(range(1, len(whole))) if one_by_one else draw(edges(6)))
            if draw(st.booleans()):
                pieces.append(b"")
            for number, piece in enumerate(pieces):
                last = 2 if number == len(pieces) - 1 else 0
                pdvs.append(struct.pack(">LBB", len(piece) + 2, message.context, bit | last) + piece)
    stream = b"".join(pdus + gather(draw, pdvs))
    one_by_one = len(stream) < 1000 and draw(st.integers(0, 9)) == 0
    return sent, cut(stream, list(range(1, len(stream))) if one_by_one else draw(edges(20)))


def gather(draw: st.DrawFn, pdvs: list[bytes]) -> list[bytes]:
    """`pdvs` in order, one to six in a PDU."""
    pdus = []
    while pdvs:
        content, pdvs = pdvs[0], pdvs[1:]
        for _ in range(draw(st.integers(0, 5))):
            if pdvs and len(content) + len(pdvs[0]) <= PDU_MAX:
                content, pdvs = content + pdvs[0], pdvs[1:]
        pdus.append(struct.pack(">BBL", 4, 0, len(content)) + content)
    return pdus


@dataclass(frozen=True)
class Answer:
    """What a response says; the Error Comment is ours alone."""

    context: int
    field: int
    message_id: int
    status: int
    sop_class: bytes
    sop_instance: bytes

    @classmethod
    def read(cls, content: bytes) -> "Answer":
        """The one that a PDU holds."""
        values = elements(content[6:])
        field, message_id, status = (int.from_bytes(values[element], "little") for element in (0x100, 0x120, 0x900))
        assert values[0x800] == b"\1\1"  # no data set
        return cls(content[4], field, message_id, status, values.get(2, b""), values.get(0x1000, b""))

    @classmethod
    def success(cls, message: Message) -> "Answer":
        """Of a receiver that knows nothing against `message`."""
        values = elements(message.command)
        field, message_id = (int.from_bytes(values[element], "little") for element in (0x100, 0x110))
        return cls(message.context, field | 0x8000, message_id, 0, values[2], values.get(0x1000, b""))


def elements(command_set: bytes) -> dict[int, bytes]:
    """Of a command set."""
    values, at = {}, 0
    while at < len(command_set):
        _, element, length = struct.unpack_from("<HHI", command_set, at)
        values[element] = command_set[at + 8 : at + 8 + length]
        at += 8 + length
    return values


class Stock:
    """pynetdicom's own storage SCP."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        ae = AE("CENTRAL")
        for sop_class, transfer_syntax in CONTEXTS.values():
            ae.add_supported_context(sop_class, transfer_syntax)
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.keep)])
        self.port = self.server.server_address[1]

    def keep(self, event: evt.Event) -> int:
        self.stored.append(event.request.DataSet.getvalue())
        return 0


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    running = Stock()
    yield running
    running.server.shutdown()


class Address:
    """What `Peer` needs to know of a receiver."""

    def __init__(self, port: int) -> None:
        self.port = port


def contexts() -> list[PresentationContext]:
    made = [build_context(*pair) for pair in CONTEXTS.values()]
    for number, context in zip(CONTEXTS, made, strict=True):
        context.context_id = number
    return made


def exchange(port: int, sent: tuple[list[Message], list[bytes]]) -> list[Answer]:
    """One association that carries the traffic: its answers."""
    wanted, pieces = sent
    with Peer(Address(port)) as peer:  # type: ignore[arg-type]
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sock.sendall(associate_rq(contexts=contexts()))
        assert peer.read()[0] == 2
        for piece in pieces:
            peer.sock.sendall(piece)
        got = []
        for _ in wanted:
            kind, content = peer.read()
            assert kind == 4, f"PDU type {kind}"
            got.append(Answer.read(content))
        peer.sock.sendall(RELEASE)
        assert peer.read()[0] == 6
        return got


def kept(listener: RunningListener) -> tuple[list[bytes], set[bytes]]:
    """The data sets in the spool, in their order, and those in quarantine; both are empty afterwards."""
    spooled = [data_set(path) for path in listener.spooled()]
    quarantined = {data_set(path) for path in listener.quarantined()}
    for path in listener.spooled() + listener.quarantined():
        path.unlink()
    return spooled, quarantined


def data_set(path: Path) -> bytes:
    with path.open("rb") as file:
        return path.read_bytes()[filemeta.read(file.fileno()).dataset_start :]


def data_sets(sent: list[Message]) -> list[bytes]:
    return [message.data for message in sent if message.data is not None]


def check_ours(listener: RunningListener, sent: list[Message], got: list[Answer], as_stock: list[Answer]) -> None:
    """Everything answered and stored as stock would, but for empty data sets."""
    empty = [message.data == b"" for message in sent]
    assert got == [
        replace(answer, status=CANNOT_UNDERSTAND) if is_empty else answer
        for answer, is_empty in zip(as_stock, empty, strict=True)
    ]
    spooled, quarantined = kept(listener)
    assert spooled == [data for data in data_sets(sent) if data]
    assert quarantined == ({b""} if any(empty) else set())


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=traffic(mixed=False))
def test_stock_and_ours_answer_and_store_the_same(
    listener: RunningListener, stock: Stock, sent: tuple[list[Message], list[bytes]]
) -> None:
    kept(listener)
    stock.stored.clear()
    from_stock = exchange(stock.port, sent)
    assert [answer.status for answer in from_stock] == [0] * len(sent[0])
    assert stock.stored == data_sets(sent[0])
    check_ours(listener, sent[0], exchange(listener.port, sent), from_stock)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=traffic(mixed=True))
def test_messages_that_share_a_pdu(listener: RunningListener, sent: tuple[list[Message], list[bytes]]) -> None:
    kept(listener)
    check_ours(listener, sent[0], exchange(listener.port, sent), [Answer.success(message) for message in sent[0]])
