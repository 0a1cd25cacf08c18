"""The data transfer phase of one association: messages in, answers out, until it ends.

Each PDV goes to its operation as it comes, so memory is bounded by the PDU and not by the image. While a service of
pynetdicom's runs (`delegation`), it reads on by `look` and `wait`: C-CANCELs and the responses to its own requests are
taken; what else has come, a further request or the release, waits until the service has ended, and nothing behind it is
read.
"""

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from noctis.listener import commands, delegation, events
from noctis.listener.commands import RESPONSE, Command, Field, Status
from noctis.listener.delegation import Aborted, Delegated, Sent, StreamingDimse
from noctis.listener.messages import MessageReader, Pdv
from noctis.listener.operations import Operation, Refused, Request
from noctis.listener.pdu import (
    AbortReason,
    Connection,
    ConnectionEnded,
    PduReader,
    PduType,
    ProtocolError,
    received_abort,
    release_pdu,
    send,
)
from noctis.listener.tally import Outcome

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation


class Transfer:
    """One association's messages, from its acceptance to its end."""

    def __init__(self, association: "StreamingAssociation", sock: Connection, reader: PduReader) -> None:
        self.association = association
        self._socket = sock
        self._reader = reader
        self._messages = MessageReader(frozenset(association._accepted_cx))
        self._services = association.own_services()
        self._pdvs: Iterator[Pdv] = iter(())  # what is left of the PDU at hand
        self._pending: tuple[PduType, memoryview] | None = None  # read while a service ran
        self._dimse: StreamingDimse | None = None
        # Of a service that runs:
        self._held = False  # something has come that has to wait for its end
        self._ended: BaseException | None = None  # why the association has ended meanwhile
        self._response: tuple[bytes, int, bytearray, bool] | None = None  # a message whose data set is coming

    def run(self) -> Outcome:
        """Serve until the peer ends it.

        Raises
        ------
        ConnectionEnded, TimedOut, ProtocolError, Drained, Aborted
        """
        messages, reader = self._messages, self._reader
        operation: Operation | None = None
        command: Command | None = None
        try:
            while True:
                pdvs = self._pdvs
                for pdv in pdvs:
                    if pdv.is_command:
                        if messages.has_begun:
                            reader.message_begins()
                        if pdv.is_last:
                            command = messages.command()
                            self.association.start_message()
                            operation = self._begin(command, pdv.context_id)
                            messages.expect_data(pdv.context_id, command.has_data_set)
                            if not command.has_data_set:
                                whole, operation = operation, None
                                self._answer(pdv.context_id, command, whole)
                        continue
                    assert operation is not None
                    assert command is not None
                    operation.write(pdv.fragment)
                    if pdv.is_last:
                        whole, operation = operation, None
                        self._answer(pdv.context_id, command, whole)
                if self._pdvs is not pdvs:
                    continue  # a service has read on
                kind, content = self._pending or self._next()
                self._pending = None
                if kind is PduType.DATA_TF:
                    self._pdvs = messages.read(content)
                elif kind is PduType.RELEASE_RQ:
                    self.association.answer_release(release_pdu())  # as it should be, however it came
                    return Outcome.RELEASED
                else:
                    self._refuse(kind, content)
        finally:
            if operation is not None:
                operation.abandon()
                self.association.log.warning("instance.incomplete", reason="the association ended inside a message")

    def _next(self) -> tuple[PduType, memoryview]:
        try:
            kind, content = self._reader.next()
        except ConnectionEnded:
            self.association.check_ending()
            raise
        if self.association.watched and kind is PduType.DATA_TF:
            events.data_received(self.association, self._reader.raw_head(content) + content)
            self.check()
        return kind, content

    def _refuse(self, kind: PduType, content: memoryview) -> None:
        """A PDU that ends the association."""
        if kind is PduType.ABORT:
            self.association.feed(received_abort(content))
            self.association.dul.receive_pdu()
            self.association.log.info("association.aborted", by="peer")
            raise Aborted("by the peer")
        raise ProtocolError(f"{kind.name} inside an association", AbortReason.UNEXPECTED_PDU)

    def _begin(self, command: Command, context_id: int) -> Operation:
        association = self.association
        context = association._accepted_cx[context_id]
        service = self._services.get(command.field)
        if command.message_id is None and command.field != Field.C_CANCEL_RQ:
            return Refused(Status.MISSING_ATTRIBUTE, "no Message ID in the command")
        if association.is_unknown:
            if command.field == Field.C_ECHO_RQ:
                return Refused(Status.SUCCESS, "")
            return Refused(Status.UNRECOGNISED_OPERATION, "an unknown caller may echo and nothing else")
        if service is None:
            return delegation.begin(self, command, self._messages.encoded, context)
        return service.begin(
            Request(
                facility=association.facility,
                origin=association.origin,
                command=command,
                abstract_syntax=str(context.abstract_syntax),
                transfer_syntax=str(context.transfer_syntax[0]),
            )
        )

    def _answer(self, context_id: int, command: Command, operation: Operation) -> None:
        self._reader.message_ends()
        association = self.association
        if association.watched and not isinstance(operation, Delegated):
            events.message_received(association, self._messages.encoded, context_id)
        begun = time.monotonic()
        answer = operation.finish()
        if isinstance(answer, Sent):
            seconds = time.monotonic() - begun
            association.log.info(
                "request.served",
                field=f"0x{command.field:04x}",
                status=f"{answer.status:04X}",
                seconds=round(seconds, 3),
            )
        else:
            if not command.field & RESPONSE and command.field != Field.C_CANCEL_RQ:
                pdu = commands.response_pdu(context_id, command, answer.status, answer.comment)
                if association.watched:
                    self._send_watched(pdu, context_id)
                else:
                    send(self._socket, pdu)
            seconds = time.monotonic() - begun
            if answer.after is not None:
                answer.after()
            association.tally.count(association.log, command, answer, seconds)
        association.end_message()

    def _send_watched(self, pdu: bytes, context_id: int) -> None:
        events.answering(self.association, pdu, context_id)
        self.check()
        send(self._socket, pdu)
        events.answered(self.association, pdu)

    # -- while a service of pynetdicom's runs

    def dimse(self) -> StreamingDimse:
        """What the service sends by; nothing is held for the one before."""
        if self._dimse is None:
            self._dimse = self.association.dimse = StreamingDimse(self)
        self._held = False
        return self._dimse

    def look(self) -> None:
        """Take what the peer has sent, without waiting for it. Raises why the association has ended, if it has."""
        self._read_on(wait=False)

    def wait(self) -> None:
        """Wait for the response to a request of ours. Raises as `look`."""
        self._read_on(wait=True)

    def sent(self) -> None:
        """pynetdicom has a PDU to send: send it. Raises as `look`."""
        self.association.pump()
        if self.association.dul._kill_thread:
            self._ended = ConnectionEnded("the peer does not read its answers, or has gone")
        self.check()

    def check(self) -> None:
        """Raise why the association has ended, if it has."""
        if self._ended is not None:
            raise self._ended
        if self.association.is_aborted:
            self._ended = Aborted("by a handler")
            raise self._ended

    def _read_on(self, *, wait: bool) -> None:
        self.check()
        try:
            while not self._held:
                pdv = next(self._pdvs, None)
                if pdv is not None:
                    if self._take(pdv) and wait:
                        return
                elif wait or self._reader.has_input():
                    self._read_pdu()
                else:
                    return
            if wait:
                raise ProtocolError("a request where a response was awaited", AbortReason.UNEXPECTED_PDU)
        except delegation.ENDINGS as error:
            self._ended = error
            raise

    def _read_pdu(self) -> None:
        kind, content = self._next()
        if kind is PduType.DATA_TF:
            self._pdvs = self._messages.read(content)
        elif kind is PduType.RELEASE_RQ:
            self._pending, self._held = (kind, content), True
        else:
            self._refuse(kind, content)

    def _take(self, pdv: Pdv) -> bool:
        """Take one PDV; True if a response has become whole by it."""
        messages = self._messages
        if pdv.is_command:
            if messages.has_begun:
                self._reader.message_begins()
            if not pdv.is_last:
                return False
            command = messages.peek()
            if delegation.is_request(command.field):
                self._pdvs, self._held = itertools.chain((pdv,), self._pdvs), True
                return False
            messages.command()
            messages.expect_data(pdv.context_id, command.has_data_set)
            self._response = (bytes(messages.encoded), pdv.context_id, bytearray(), command.has_data_set)
            if command.has_data_set:
                return False
        assert self._response is not None
        encoded, context_id, data, has_data_set = self._response
        if not pdv.is_command:
            if len(data) + len(pdv.fragment) > delegation.DATA_SET_MAX:
                raise ProtocolError(f"a response of more than {delegation.DATA_SET_MAX} bytes")
            data += pdv.fragment
            if not pdv.is_last:
                return False
        self._reader.message_ends()
        assert self._dimse is not None
        self._dimse.deliver(encoded, context_id, data if has_data_set else None)
        return not self._dimse.msg_queue.empty()
