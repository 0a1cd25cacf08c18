"""The same random traffic to stock pynetdicom and to ours: the same answers, the same bytes stored.

Messages are cut into PDVs and PDVs gathered into PDUs in every way that PS3.8 annex E allows: one-byte PDVs, empty
last PDVs, the command and the data set of one message in one PDU. Stock pynetdicom fails on a PDU that holds the end of
one message and the beginning of the next (it takes all PDVs of a PDU for one message), so those go to ours alone.
"""

import itertools
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from noctis.repository import filemeta
from tests.integration.listener.conftest import RunningListener
from tests.integration.listener.test_association import Peer, associate_rq
from tests.integration.listener.test_store import encoded


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
    message_id = draw(st.integers(1, 65535))
    if draw(st.booleans()):
        return Message(command(0x30, message_id, False, Verification), None, 1)
    dataset = Dataset()
    instance = f"1.2.{draw(st.integers(1, 10**9))}"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientID = draw(st.text("ABC123", max_size=16))
    if draw(st.booleans()):
        item = Dataset()
        item.PatientComments = draw(st.text("xyz", max_size=200))
        dataset.RequestAttributesSequence = [item] * draw(st.integers(0, 3))
    dataset.PixelData = draw(st.binary(max_size=300).map(lambda raw: raw + b"\0" * (len(raw) & 1)))
    dataset["PixelData"].VR = "OW"
    return Message(command(1, message_id, True, CTImageStorage, instance), encoded(dataset, explicit=False), 3)


def cut(whole: bytes, edges: list[int]) -> list[bytes]:
    at = sorted({0, len(whole), *(edge % (len(whole) + 1) for edge in edges)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(at)]
    return pieces or [b""]


@st.composite
def traffic(draw: st.DrawFn, *, mixed: bool) -> tuple[list[Message], list[bytes]]:
    """Some messages, and the PDUs that carry them; mixed: one PDU may hold PDVs of several messages."""
    sent = draw(st.lists(messages(), min_size=1, max_size=4))
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
            edges = list(range(len(whole))) if one_by_one else draw(st.lists(st.integers(0, 5000), max_size=6))
            pieces = cut(whole, edges)
            if draw(st.booleans()):
                pieces.append(b"")
            for number, piece in enumerate(pieces):
                last = 2 if number == len(pieces) - 1 else 0
                pdvs.append(struct.pack(">LBB", len(piece) + 2, message.context, bit | last) + piece)
    return sent, pdus + gather(draw, pdvs)


def gather(draw: st.DrawFn, pdvs: list[bytes]) -> list[bytes]:
    """`pdvs` in order, one to six in a PDU."""
    pdus = []
    while pdvs:
        count = draw(st.integers(1, 6))
        content, pdvs = b"".join(pdvs[:count]), pdvs[count:]
        pdus.append(struct.pack(">BBL", 4, 0, len(content)) + content)
    return pdus


def answers(sock: socket.socket, peer: Peer, count: int, pdus: list[bytes]) -> list[tuple[int, int, int, int]]:
    """(context, field, message id, status) of each answer."""
    found = []
    for pdu in pdus:
        sock.sendall(pdu)
    for _ in range(count):
        kind, content = peer.read()
        assert kind == 4, f"PDU type {kind}"
        values, at = {}, 6
        while at < len(content):
            _, element, length = struct.unpack_from("<HHI", content, at)
            values[element] = content[at + 8 : at + 8 + length]
            at += 8 + length
        numbers = [int.from_bytes(values[element][:2], "little") for element in (0x100, 0x120, 0x900)]
        found.append((content[4], *numbers))
    return found  # type: ignore[return-value]


class Stock:
    """pynetdicom's own storage SCP."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        ae = AE("CENTRAL")
        ae.add_supported_context(Verification)
        ae.add_supported_context(CTImageStorage)
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


def exchange(port: int, sent: tuple[list[Message], list[bytes]]) -> list[tuple[int, int, int, int]]:
    """One association that carries the traffic: its answers."""
    wanted, pdus = sent
    with Peer(Address(port)) as peer:  # type: ignore[arg-type]
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sock.sendall(associate_rq())
        assert peer.read()[0] == 2
        got = answers(peer.sock, peer, len(wanted), pdus)
        peer.sock.sendall(b"\5\0\0\0\0\4\0\0\0\0")
        assert peer.read()[0] == 6
        return got


def data_sets(messages: list[Message]) -> list[bytes]:
    return [message.data for message in messages if message.data is not None]


def spooled(listener: RunningListener) -> list[bytes]:
    """The data sets in the spool, in their order; the spool is empty afterwards."""
    found = [data_set(path) for path in listener.spooled()]
    for path in listener.spooled():
        path.unlink()
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=traffic(mixed=False))
def test_stock_and_ours_answer_and_store_the_same(
    listener: RunningListener, stock: Stock, sent: tuple[list[Message], list[bytes]]
) -> None:
    stock.stored.clear()
    spooled(listener)
    assert exchange(stock.port, sent) == exchange(listener.port, sent)
    assert spooled(listener) == stock.stored == data_sets(sent[0])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=traffic(mixed=True))
def test_messages_that_share_a_pdu(listener: RunningListener, sent: tuple[list[Message], list[bytes]]) -> None:
    spooled(listener)
    assert [status for *_, status in exchange(listener.port, sent)] == [0] * len(sent[0])
    assert spooled(listener) == data_sets(sent[0])


def data_set(path: Path) -> bytes:
    with path.open("rb") as file:
        return path.read_bytes()[filemeta.read(file.fileno()).dataset_start :]
