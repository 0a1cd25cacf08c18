"""pynetdicom's notification events of what goes past its state machine: P-DATA, and our own answers.

Called only where somebody is bound to one of `WIRE_EVENTS` (`StreamingAssociation.watched`): each object of pynetdicom
is made only if its own event has a handler. A C-STORE's message has its command set and an empty data set, for the data
set is never in memory.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu import A_ABORT_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, P_DATA

from noctis.listener.pdu import HEAD

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation

WIRE_EVENTS = frozenset(
    {
        evt.EVT_CONN_CLOSE,
        evt.EVT_DATA_RECV,
        evt.EVT_DATA_SENT,
        evt.EVT_DIMSE_RECV,
        evt.EVT_DIMSE_SENT,
        evt.EVT_FSM_TRANSITION,
        evt.EVT_PDU_RECV,
        evt.EVT_PDU_SENT,
        evt.EVT_ACSE_RECV,
        evt.EVT_ACSE_SENT,
    }
)


Handlers = dict[evt.EventType, Any]

# What pynetdicom answers where nobody is bound to an event that wants an answer.
DEFAULT_HANDLERS: Handlers = {event: (evt.get_default_handler(event), None) for event in evt._INTERVENTION_EVENTS}


def with_handler(
    handlers: Handlers, event: evt.EventType, handler: Callable[..., Any], args: list[Any] | None
) -> Handlers:
    """`handlers`, which stay as they are, and one more.

    Raises
    ------
    ValueError
        The event is EVT_C_STORE.
    """
    if event is evt.EVT_C_STORE:
        raise ValueError("EVT_C_STORE has no handler here: instances go to the spool as they come, never into memory")
    changed = _copy(handlers)
    evt._add_handler(event, changed, (handler, args))
    return changed


def without_handler(handlers: Handlers, event: evt.EventType, handler: Callable[..., Any]) -> Handlers:
    """`handlers`, which stay as they are, without one."""
    changed = _copy(handlers)
    evt._remove_handler(event, changed, handler)
    return changed


def are_watched(handlers: Handlers) -> bool:
    """Whether somebody is bound to one of `WIRE_EVENTS`."""
    return not WIRE_EVENTS.isdisjoint(handlers)


def _copy(handlers: Handlers) -> Handlers:
    """Shared by every association: never changed in place."""
    return {event: list(bound) if isinstance(bound, list) else bound for event, bound in handlers.items()}


def message(encoded: bytes | bytearray, context_id: int, data_set: bytes | bytearray | None = None) -> DIMSEMessage:
    """pynetdicom's message of an encoded command set, and of a data set where one is given.

    Raises
    ------
    Exception
        Whatever pydicom and pynetdicom raise for a command set that they cannot read.
    """
    primitive, made = P_DATA(), DIMSEMessage()
    primitive.presentation_data_value_list.append((context_id, b"\3" + encoded))
    if data_set is not None:
        primitive.presentation_data_value_list.append((context_id, b"\2" + data_set))
    made.decode_msg(primitive)
    return made


def data_received(association: "StreamingAssociation", pdu: bytes) -> None:
    """A P-DATA-TF PDU has come."""
    evt.trigger(association, evt.EVT_DATA_RECV, {"data": pdu})
    if association.get_handlers(evt.EVT_PDU_RECV):
        decoded = P_DATA_TF()
        decoded.decode(pdu)
        evt.trigger(association, evt.EVT_PDU_RECV, {"pdu": decoded})
    _transition(association, "Evt10", "DT-2", "Sta6")


def message_received(association: "StreamingAssociation", encoded: bytes | bytearray, context_id: int) -> None:
    """A message that our own services answer has come whole."""
    if association.get_handlers(evt.EVT_DIMSE_RECV):
        evt.trigger(association, evt.EVT_DIMSE_RECV, {"message": message(encoded, context_id)})


def answering(association: "StreamingAssociation", pdu: bytes, context_id: int) -> None:
    """`pdu` is about to be sent; it holds the whole of one response."""
    if association.get_handlers(evt.EVT_DIMSE_SENT):
        evt.trigger(association, evt.EVT_DIMSE_SENT, {"message": message(pdu[HEAD + 6 :], context_id)})


def answered(association: "StreamingAssociation", pdu: bytes) -> None:
    """`pdu` has been sent."""
    _sent(association, pdu, P_DATA_TF)
    _transition(association, "Evt9", "DT-1", "Sta6")


def aborted(association: "StreamingAssociation", pdu: bytes, reason: int | None) -> None:
    """We have sent an A-ABORT: for the peer has broken the protocol or a time limit, or (None) since we stop."""
    _sent(association, pdu, A_ABORT_RQ)
    if reason is None:
        primitive = A_ABORT()
        primitive.abort_source = 0
        evt.trigger(association, evt.EVT_ACSE_SENT, {"primitive": primitive})
        _transition(association, "Evt15", "AA-1", "Sta13")
    elif association.dul.state_machine.current_state == "Sta2":
        _transition(association, "Evt19", "AA-1", "Sta13")
    else:
        indication = A_P_ABORT()
        indication.provider_reason = reason
        evt.trigger(association, evt.EVT_ACSE_RECV, {"primitive": indication})
        _transition(association, "Evt19", "AA-8", "Sta13")


def _sent(association: "StreamingAssociation", pdu: bytes, kind: Any) -> None:
    evt.trigger(association, evt.EVT_DATA_SENT, {"data": pdu})
    if association.get_handlers(evt.EVT_PDU_SENT):
        decoded = kind()
        decoded.decode(pdu)
        evt.trigger(association, evt.EVT_PDU_SENT, {"pdu": decoded})


def _transition(association: "StreamingAssociation", event: str, action: str, state: str) -> None:
    machine = association.dul.state_machine
    evt.trigger(
        association,
        evt.EVT_FSM_TRANSITION,
        {"action": action, "current_state": machine.current_state, "fsm_event": event, "next_state": state},
    )
    machine.transition(state)
