"""pynetdicom's events at our listener beside stock pynetdicom's: the same traffic fires the same ones."""

from collections import Counter as Bag
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from noctis.listener import events, process
from tests.integration.listener.conftest import RunningListener
from tests.integration.listener.peers import ABORT, ECHO, RELEASE, Peer, associate_rq, p_data
from tests.integration.listener.test_differential import command
from tests.integration.listener.test_store import encoded, image
from tests.support import wait_for

NOTIFICATIONS = list(evt._NOTIFICATION_EVENTS)


class Witness:
    """What fired, in order, with what tells one firing from another."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.messages: list[Any] = []

    def __call__(self, event: evt.Event) -> None:
        self.seen.append((event.event.name, self._detail(event)))

    def _detail(self, event: evt.Event) -> str:
        kind = event.event
        if kind is evt.EVT_FSM_TRANSITION:
            return f"{event.current_state} {event.fsm_event} {event.action} {event.next_state}"
        if kind in (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT):
            return type(event.pdu).__name__
        if kind in (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT):
            # what differs: how an A-ASSOCIATE-AC names the implementation, and why there is an A-ABORT
            return f"{event.data[0]}" if event.data[0] in (2, 7) else event.data.hex()
        if kind in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT):
            self.messages.append(event.message)
            return f"{type(event.message).__name__} {event.message.context_id} {event.message.command_set}"
        if kind in (evt.EVT_ACSE_RECV, evt.EVT_ACSE_SENT):
            return type(event.primitive).__name__
        return ""

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


@pytest.fixture
def stock() -> Iterator[tuple[Witness, Any]]:
    witness = Witness()
    ae = AE("CENTRAL")
    ae.require_called_aet = True
    ae.add_supported_context(Verification)
    ae.add_supported_context(CTImageStorage)
    handlers: list[Any] = [(event, witness) for event in NOTIFICATIONS]
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[*handlers, (evt.EVT_C_STORE, lambda event: 0)]
    )
    server.port = server.server_address[1]
    yield witness, server
    server.shutdown()


@pytest.fixture
def ours(listener: RunningListener) -> tuple[Witness, RunningListener]:
    witness = Witness()
    for event in NOTIFICATIONS:
        listener.listener.bind(event, witness)
    return witness, listener


def echo_and_release(peer: Peer) -> None:
    peer.associate()
    assert peer.echo()[0] == 4
    peer.sock.sendall(RELEASE)
    assert peer.read()[0] == 6


def abort(peer: Peer) -> None:
    peer.associate()
    assert peer.echo()[0] == 4
    peer.sock.sendall(ABORT)
    assert peer.read()[0] == 0


def close(peer: Peer) -> None:
    peer.associate()


def be_rejected(peer: Peer) -> None:
    assert peer.associate(called="NOBODY")[0] == 3


def connect(peer: Peer) -> None:
    """And say nothing."""


def break_the_protocol(peer: Peer) -> None:
    peer.associate()
    peer.sock.sendall(b"\x09\0\0\0\0\4\0\0\0\0")
    assert peer.read()[0] == 7


def store(peer: Peer) -> None:
    peer.associate()
    dataset = image()
    dataset.SOPInstanceUID = dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.3.4"
    peer.sock.sendall(p_data(command(1, 7, True, CTImageStorage, "1.2.3.4"), context=3))
    peer.sock.sendall(p_data(encoded(dataset, explicit=False), control=2, context=3))
    assert peer.read()[0] == 4
    peer.sock.sendall(RELEASE)
    assert peer.read()[0] == 6


@pytest.mark.parametrize("traffic", [echo_and_release, store, abort, close, be_rejected, connect, break_the_protocol])
def test_the_same_events_as_stock_pynetdicom(
    stock: tuple[Witness, Any], ours: tuple[Witness, RunningListener], traffic: Callable[[Peer], None]
) -> None:
    for witness, receiver in (stock, ours):
        with Peer(receiver) as peer:
            traffic(peer)
        wait_for(lambda witness=witness: "EVT_CONN_CLOSE" in witness.names(), what="the end")
    try:
        wait_for(lambda: not difference(ours[0], stock[0]))
    except AssertionError:
        assert difference(ours[0], stock[0]) == {}


def difference(ours: Witness, stock: Witness) -> dict[str, list[tuple[str, str]]]:
    lost, more = Bag(stock.seen) - Bag(ours.seen), Bag(ours.seen) - Bag(stock.seen)
    return {name: list(bag.elements()) for name, bag in (("lost", lost), ("more", more)) if bag}


def test_an_instances_message_comes_without_its_data_set(ours: tuple[Witness, RunningListener]) -> None:
    witness, listener = ours
    with Peer(listener) as peer:
        store(peer)
    received, sent = witness.messages
    assert received.command_set.AffectedSOPInstanceUID == "1.2.3.4"
    assert received.data_set.getvalue() == b""
    assert sent.command_set.Status == 0
    assert len(listener.spooled()) == 1


def test_nothing_of_pynetdicoms_is_made_where_nobody_is_bound(
    listener: RunningListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for name in ("message", "P_DATA_TF", "data_received", "message_received", "answering", "answered"):
        monkeypatch.setattr(events, name, lambda *_, name=name: made.append(name))
    witness = Witness()
    listener.listener.bind(evt.EVT_RELEASED, witness)
    with Peer(listener) as peer:
        store(peer)
    wait_for(witness.names, what="the release")
    assert made == []


def test_only_what_is_bound_is_made(listener: RunningListener, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for name in ("message", "P_DATA_TF"):
        monkeypatch.setattr(events, name, lambda *_, name=name: made.append(name))
    witness = Witness()
    listener.listener.bind(evt.EVT_DATA_RECV, witness)
    with Peer(listener) as peer:
        store(peer)
    assert witness.names() == ["EVT_DATA_RECV"] * 4  # request, command, data set, release
    assert made == []


def test_handlers_of_an_open_association(listener: RunningListener) -> None:
    first, second = Witness(), Witness()
    with Peer(listener) as peer:
        peer.associate()
        listener.listener.bind(evt.EVT_DIMSE_RECV, first)
        (association,) = listener.listener.associations()
        association.bind(evt.EVT_DIMSE_SENT, second)
        assert peer.echo()[0] == 4
        listener.listener.unbind(evt.EVT_DIMSE_RECV, first)
        assert peer.echo()[0] == 4
    assert (len(first.seen), len(second.seen)) == (1, 2)
    with Peer(listener) as peer:
        echo_and_release(peer)
    assert (len(first.seen), len(second.seen)) == (1, 2)


def test_a_handler_that_fails_disturbs_nothing(listener: RunningListener) -> None:
    def fail(event: evt.Event) -> None:
        raise RuntimeError(event.event.name)

    for event in NOTIFICATIONS:
        listener.listener.bind(event, fail)
    with Peer(listener) as peer:
        store(peer)
    assert len(listener.spooled()) == 1


def test_an_echo_is_answered_by_the_handler_bound_to_it(listener: RunningListener) -> None:
    listener.listener.bind(evt.EVT_C_ECHO, lambda event: 0x0122)
    with Peer(listener) as peer:
        peer.associate()
        kind, content = peer.echo()
        assert (kind, content[-2:]) == (4, b"\x22\x01")
        store_after = p_data(command(1, 7, True, CTImageStorage, "1.2.3.4"), context=3)
        peer.sock.sendall(store_after + p_data(b"", control=2, context=3))
        assert peer.read()[0] == 4


def test_instances_have_no_handler(listener: RunningListener) -> None:
    with pytest.raises(ValueError, match="EVT_C_STORE"):
        listener.listener.bind(evt.EVT_C_STORE, lambda event: 0)


@pytest.mark.parametrize(
    "event", [evt.EVT_REQUESTED, evt.EVT_ACCEPTED, evt.EVT_PDU_RECV, evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT]
)
def test_a_handler_may_abort(listener: RunningListener, event: evt.NotificationEvent) -> None:
    listener.listener.bind(event, lambda event: event.assoc.abort())
    witness = Witness()
    listener.listener.bind(evt.EVT_ABORTED, witness)
    with Peer(listener) as peer:
        peer.sock.sendall(associate_rq() + p_data(ECHO))
        kinds = [peer.read()[0]]
        while kinds[-1]:
            kinds.append(peer.read()[0])
    assert kinds in ([7, 0], [2, 7, 0])
    wait_for(lambda: not listener.listener.live, what="the end")
    assert len(witness.seen) == 1


def test_a_handler_may_reject(listener: RunningListener) -> None:
    listener.listener.bind(evt.EVT_REQUESTED, lambda event: event.assoc.acse.send_reject(2, 1, 1))
    with Peer(listener) as peer:
        kind, content = peer.associate()
    assert (kind, tuple(content[1:4])) == (3, (2, 1, 1))


@pytest.mark.parametrize("associated", [False, True])
def test_another_thread_may_abort(listener: RunningListener, associated: bool) -> None:
    with Peer(listener) as peer:
        if associated:
            peer.associate()
        (association,) = wait_for(listener.listener.associations, what="the connection")
        association.abort()
        assert not associated or peer.read()[0] == 7
        assert peer.read()[0] == 0


def test_an_association_that_is_drained_says_so(ours: tuple[Witness, RunningListener]) -> None:
    witness, listener = ours
    with Peer(listener) as peer:
        peer.associate()
        process.drain(listener.listener, 5.0)
        assert peer.read()[0] == 7
    wait_for(lambda: "EVT_ABORTED" in witness.names(), what="the end")
    assert ("EVT_ACSE_SENT", "A_ABORT") in witness.seen
    assert ("EVT_FSM_TRANSITION", "Sta6 Evt15 AA-1 Sta13") in witness.seen
