"""Requests that pynetdicom's own service classes answer: everything that is neither C-STORE nor C-ECHO.

Takes a request whose event somebody is bound to; its data set is gathered, at most `DATA_SET_MAX` bytes. The service
runs on the association's thread: it sends its responses, and the requests of a C-GET, over the association's socket,
and sees a C-CANCEL or an abort that has come meanwhile whenever it sends or asks `is_cancelled`. What nobody is bound
to is answered "unrecognised operation" (0211H).
"""

from typing import TYPE_CHECKING, Any

import structlog
from pynetdicom import evt
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE, DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.sop_class import uid_to_service_class

from noctis.listener import events
from noctis.listener.commands import Command, Field, Status
from noctis.listener.operations import Answer, Operation, Refused
from noctis.listener.pdu import ConnectionEnded, ProtocolError, TimedOut
from noctis.listener.services import Dispatch

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation
    from noctis.listener.transfer import Transfer

log = structlog.get_logger()

DATA_SET_MAX = 1 << 20  # bytes; a query's identifier has some hundred
PDU_DEFAULT = 16382  # where the peer says nothing about its largest PDU
CANCELS_MAX = 10  # of one request
PROCESSING_FAILURE = 0x0110
RESOURCE_LIMITATION = 0x0213  # what A700 is to C- services, is this to N- ones (PS3.7 annex C)

EVENTS = {
    0x0010: evt.EVT_C_GET,
    0x0020: evt.EVT_C_FIND,
    0x0021: evt.EVT_C_MOVE,
    0x0030: evt.EVT_C_ECHO,
    0x0100: evt.EVT_N_EVENT_REPORT,
    0x0110: evt.EVT_N_GET,
    0x0120: evt.EVT_N_SET,
    0x0130: evt.EVT_N_ACTION,
    0x0140: evt.EVT_N_CREATE,
    0x0150: evt.EVT_N_DELETE,
}


class Drained(Exception):
    """The association is to end between two messages."""


class Aborted(Exception):
    """An A-ABORT has come, or a handler has sent one."""


ENDINGS = (ConnectionEnded, ProtocolError, TimedOut, Drained, Aborted)


class Sent(Answer):
    """The responses have gone out already; `status` is the last one's."""


def begin(
    transfer: "Transfer", command: Command, encoded: bytes | bytearray, context: PresentationContext
) -> Operation:
    """The operation of a request that is not ours."""
    service_class = _service_class(transfer.association, command.field, context)
    if service_class is None:
        return Refused(Status.UNRECOGNISED_OPERATION, "this service is not offered here")
    return Delegated(transfer, command, encoded, context, service_class)


def is_bound(association: "StreamingAssociation", event: evt.InterventionEvent, abstract_syntax: str) -> bool:
    """Whether somebody answers `event` on a context of `abstract_syntax`."""
    handler = association.get_handlers(event)[0]
    if isinstance(handler, Dispatch):
        return handler.answers(abstract_syntax)
    return handler is not evt.get_default_handler(event)


def _service_class(
    association: "StreamingAssociation", field: int, context: PresentationContext
) -> type[ServiceClass] | None:
    event = EVENTS.get(field)
    if event is None or not is_bound(association, event, str(context.abstract_syntax)):
        return None
    # By the context and not, as pynetdicom does it, by the UID that the command happens to name.
    found: type[ServiceClass] = uid_to_service_class(str(context.abstract_syntax))
    if event is evt.EVT_C_ECHO:
        found = VerificationServiceClass
    elif found in (ServiceClass, StorageServiceClass, VerificationServiceClass):
        return None
    return found


class Delegated:
    """One request on its way through one of pynetdicom's service classes."""

    def __init__(
        self,
        transfer: "Transfer",
        command: Command,
        encoded: bytes | bytearray,
        context: PresentationContext,
        service_class: type[ServiceClass],
    ) -> None:
        self._transfer = transfer
        self._command = command
        self._encoded = encoded
        self._context = context
        self._service_class = service_class
        self._data = bytearray()
        self._too_long = False

    def write(self, fragment: memoryview) -> None:
        if len(self._data) + len(fragment) > DATA_SET_MAX:
            self._too_long = True
            self._data.clear()
        if not self._too_long:
            self._data += fragment

    def finish(self) -> Answer:
        """Run the service. Unlike other operations it raises one of `ENDINGS` when the association has ended."""
        if self._too_long:
            is_n_service = self._command.field & 0x0100
            return Answer(
                RESOURCE_LIMITATION if is_n_service else Status.OUT_OF_RESOURCES,
                f"a data set of more than {DATA_SET_MAX} bytes",
            )
        association = self._transfer.association
        try:
            context_id = self._context.context_id
            message = events.message(self._encoded, context_id, self._data if self._command.has_data_set else None)
            evt.trigger(association, evt.EVT_DIMSE_RECV, {"message": message})
            request = message.message_to_primitive()
        except Exception as error:  # noqa: BLE001 - pydicom and pynetdicom raise anything
            log.warning("request.unreadable", field=f"0x{self._command.field:04x}", reason=type(error).__name__)
            return Answer(PROCESSING_FAILURE, "the command set cannot be read")
        if not request.is_valid_request:
            return Answer(Status.MISSING_ATTRIBUTE, "the command set is not complete")
        return self._run(request)

    def _run(self, request: Any) -> Answer:
        dimse = self._transfer.dimse()
        dimse.begin()
        try:
            self._service_class(self._transfer.association).SCP(request, self._context)
        except ENDINGS:
            raise
        except Exception as error:
            if not dimse.responses and isinstance(error, NotImplementedError | ValueError):
                return Answer(Status.UNRECOGNISED_OPERATION, "not an operation of this SOP class")
            log.exception("request.fault", field=f"0x{self._command.field:04x}")
            if not dimse.responses:
                return Answer(PROCESSING_FAILURE, "the service failed")
            self._transfer.association.abort()
        self._transfer.check()
        if not dimse.responses:
            return Answer(PROCESSING_FAILURE, "the service gave no answer")
        return Sent(dimse.status)

    def abandon(self) -> None:
        """There is nothing to leave behind."""


class StreamingDimse(DIMSEServiceProvider):  # type: ignore[misc]
    """What a service class sends and asks by: on the association's thread, with nothing queued for another one."""

    def __init__(self, transfer: "Transfer") -> None:
        self._transfer = transfer
        self._cancels: dict[int, C_CANCEL] = {}
        self.responses = 0  # to the request being served
        self.status = 0  # of the last one
        super().__init__(transfer.association)

    def begin(self) -> None:
        self._cancels = {}
        self.responses = self.status = 0

    @property
    def cancel_req(self) -> dict[int, C_CANCEL]:
        """Message ID → C-CANCEL; looks first whether one has come."""
        self._transfer.look()
        return self._cancels

    @cancel_req.setter
    def cancel_req(self, value: dict[int, C_CANCEL]) -> None:
        self._cancels = value

    @property
    def maximum_pdu_size(self) -> int:
        length = super().maximum_pdu_size
        return PDU_DEFAULT if length is None else length

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send one message, PDU by PDU."""
        self._transfer.look()
        is_response = primitive.MessageIDBeingRespondedTo is not None
        made = (_RSP_TO_MESSAGE if is_response else _RQ_TO_MESSAGE)[type(primitive)]()
        made.primitive_to_message(primitive)
        made.context_id = context_id
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": made})
        for pdata in made.encode_msg(context_id, self.maximum_pdu_size):
            self.dul.send_pdu(pdata)
            self._transfer.sent()
        if is_response:
            self.responses, self.status = self.responses + 1, primitive.Status

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The next answer to a request of ours, waited for as long as an association may be idle."""
        if block and self.msg_queue.empty():
            self._transfer.wait()
        return super().get_msg(False)  # type: ignore[no-any-return]

    def deliver(self, encoded: bytes, context_id: int, data_set: bytes | bytearray | None) -> None:
        """A C-CANCEL or a response has come.

        Raises
        ------
        ProtocolError
            Its command set cannot be read.
        """
        try:
            message = events.message(encoded, context_id, data_set)
            evt.trigger(self.assoc, evt.EVT_DIMSE_RECV, {"message": message})
            primitive = message.message_to_primitive()
        except Exception as error:
            raise ProtocolError(f"a command set that cannot be read: {error}") from error
        if not isinstance(primitive, C_CANCEL):
            self.msg_queue.put((context_id, primitive))
        elif len(self._cancels) < CANCELS_MAX and primitive.MessageIDBeingRespondedTo is not None:
            self._cancels[primitive.MessageIDBeingRespondedTo] = primitive


def is_request(field: int) -> bool:
    """Whether a message of this Command Field wants an answer."""
    return not field & 0x8000 and field != Field.C_CANCEL_RQ
