"""One association, from accept to its end: one thread, blocking reads, nothing polled.

A pynetdicom `Association` whose negotiation runs on pynetdicom's own PDUs and state machine, while P-DATA is taken
apart here: each PDV goes to its operation as it comes, so memory is bounded by the PDU and not by the image. A peer
that breaks the protocol is answered by one A-ABORT and the connection ends. `drain` lets the instance in flight
finish and be acknowledged, then ends the association.
"""

import queue
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE

from noctis.facilities.recognition import Refusal, Reject, strip_title
from noctis.facilities.snapshot import Facility
from noctis.listener import commands, negotiation
from noctis.listener.commands import RESPONSE, Command, Field, Status
from noctis.listener.messages import MessageReader
from noctis.listener.operations import Operation, Refused, Request
from noctis.listener.pdu import (
    SEND_SECONDS,
    AbortReason,
    ConnectionEnded,
    PduReader,
    PduType,
    ProtocolError,
    TimedOut,
    abort_pdu,
    linger,
    send,
    set_timeout,
)
from noctis.listener.tally import Outcome, Tally
from noctis.observability.scoreboard import Counter
from noctis.repository.filemeta import Origin

if TYPE_CHECKING:
    from noctis.listener.server import Listener

log = structlog.get_logger()

# What pynetdicom answers where nobody is bound to an event that wants an answer.
DEFAULT_HANDLERS = {event: (evt.get_default_handler(event), None) for event in evt._INTERVENTION_EVENTS}


class Drained(Exception):
    """The association is to end between two messages."""


class StreamingAssociation(Association):  # type: ignore[misc]
    """An acceptor. `run_reactor` is the whole life of its thread."""

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener.ae, "acceptor")
        self._listener = listener
        self.association_id = secrets.token_hex(6)
        self.daemon = True
        self._log: Any = log
        self._turn = threading.Lock()  # held while what follows changes
        self._busy = False  # inside a DIMSE message
        self._draining = False
        self._facility: Facility | None = None
        self._origin = Origin()
        self._tally = Tally(listener.scoreboard)

    def _bind_defaults(self) -> None:
        """pynetdicom binds its default handlers one by one; ours are made once, and shared until somebody binds."""
        self._handlers = dict(DEFAULT_HANDLERS)

    # -- the thread

    def run_reactor(self) -> None:
        """Serve the connection to its end; never raises."""
        sock: socket.socket = self.dul.socket.socket
        listener = self._listener
        self._dul_ready.set()
        self._started_dul = True
        outcome = Outcome.FAILED
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_timeout(sock, socket.SO_SNDTIMEO, SEND_SECONDS)
            outcome = self._serve(sock)
        except OSError as error:
            outcome = Outcome.DISCONNECTED
            self._log.info("connection.broken", reason=error.strerror or str(error))
        except Exception as error:  # noqa: BLE001 - one association's fault must not end the listener
            listener.scoreboard.error(f"association: {error!r}")
            self._log.exception("association.fault")
        finally:
            self._end(sock, outcome)

    def _serve(self, sock: socket.socket) -> Outcome:
        reader = PduReader(sock, self._listener.max_pdu, self._listener.limits)
        try:
            self._pump()
            if not self._establish(reader):
                linger(sock)
                return Outcome.FAILED
            return self._receive(sock, reader)
        except ProtocolError as error:
            self._log.warning("association.protocol_error", reason=str(error))
            self._listener.scoreboard.error(f"{self._origin.address}: {error}")
            self._abort(sock, error.reason)
            return Outcome.FAILED
        except TimedOut as error:
            self._log.info("association.timed_out", reason=str(error))
            self._abort(sock, AbortReason.NOT_SPECIFIED)
            return Outcome.TIMED_OUT
        except ConnectionEnded as error:
            self._log.info("connection.closed", reason=str(error))
            return Outcome.DISCONNECTED
        except Drained as drained:
            self._log.info("association.drained", reason=str(drained))
            self._abort(sock, None)
            return Outcome.DRAINED

    def _end(self, sock: socket.socket, outcome: Outcome) -> None:
        try:
            self.is_aborted = outcome in (Outcome.ABORTED, Outcome.FAILED, Outcome.DRAINED)
            self.is_released = outcome is Outcome.RELEASED
            facility = self._facility
            if facility is not None:
                scoreboard = self._listener.scoreboard
                scoreboard.add(Counter.LIVE, -1)
                if outcome is not Outcome.RELEASED:
                    scoreboard.add(Counter.ABORTED)
                self._log.info("association.ended", outcome=str(outcome), **self._tally.counts())
                self._listener.journal.append("association", **self._tally.record(facility.slug, self._origin, outcome))
            evt.trigger(self, evt.EVT_RELEASED if self.is_released else evt.EVT_ABORTED, {})
            sock.close()
            self.dul.socket.socket = None
        finally:
            self._kill, self.is_established = True, False
            self._listener.ended(self)

    def kill(self) -> None:
        """pynetdicom's own way out; there is no second thread to wait for."""
        self._kill, self.is_established = True, False

    def drain(self) -> None:
        """End after the message in flight, or at once when there is none. Called from another thread."""
        with self._turn:
            self._draining = True
            if not self._busy:
                self.hang_up()

    def hang_up(self) -> None:
        """Wake the thread from its read: it finds the connection ended."""
        sock = self.dul.socket.socket
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # the peer was faster

    # -- negotiation, on pynetdicom's state machine (PS3.8 §9.2)

    def _pump(self) -> None:
        """Run the state machine until it has nothing left to do."""
        while True:
            try:
                event = self.dul.event_queue.get_nowait()
            except queue.Empty:
                if not self.dul._process_recv_primitive():
                    return
                continue
            self.dul.state_machine.do_action(event)

    def _establish(self, reader: PduReader) -> bool:
        """Take the A-ASSOCIATE-RQ and answer it; False if it was rejected."""
        listener = self._listener
        _, content = reader.next(first=True)
        raw = bytearray(reader.raw_head(content) + content)
        negotiation.tolerate(raw)
        try:
            pdu, event = self.dul._decode_pdu(raw)
            self.dul._recv_pdu.put(pdu)
            self.dul.event_queue.put(event)
            self._pump()
            primitive = self.dul.receive_pdu()
            if not isinstance(primitive, A_ASSOCIATE):
                return False  # refused by the state machine, which has answered
            self.requestor.primitive = primitive
        except Exception as error:
            raise ProtocolError(f"an A-ASSOCIATE-RQ that cannot be read: {error}") from error
        called, calling = _printable(primitive.called_ae_title), _printable(primitive.calling_ae_title)
        self.requestor.ae_title = primitive.calling_ae_title
        self._origin = Origin(
            calling=calling,
            called=called,
            address=self._origin.address,
            port=listener.port,
            association=self.association_id,
        )
        self._log = self._log.bind(called=called, calling=calling)
        evt.trigger(self, evt.EVT_REQUESTED, {})
        found = listener.recognise(called, calling, self._origin.address)
        if isinstance(found, Facility) and not listener.admit(self):
            found = Refusal(
                f"the listener serves {listener.max_associations} associations, its limit",
                "raise listeners.max_associations, or let the sender retry",
                Reject.LOCAL_LIMIT_EXCEEDED,
            )
        if isinstance(found, Refusal):
            self._reject(found)
            return False
        self._accept(primitive, found)
        return True

    def _reject(self, refusal: Refusal) -> None:
        listener, origin = self._listener, self._origin
        self.acse.send_reject(*refusal.reject.value)
        self._pump()
        self.is_rejected = True
        evt.trigger(self, evt.EVT_REJECTED, {})
        listener.scoreboard.add(Counter.REFUSED)
        self._log.warning("association.refused", reason=refusal.reason, fix=refusal.fix)
        listener.journal.append(
            "refusal",
            at=datetime.now(UTC).isoformat(),
            port=origin.port,
            called=origin.called,
            calling=origin.calling,
            address=origin.address,
            reason=refusal.reason,
            fix=refusal.fix,
        )

    def _accept(self, request: A_ASSOCIATE, facility: Facility) -> None:
        answers = negotiation.negotiate(request.presentation_context_definition_list)
        self._accepted_cx = {each.context_id: each for each in answers if each.result == negotiation.ACCEPTED}
        self._rejected_cx = [each for each in answers if each.result != negotiation.ACCEPTED]
        for item in negotiation.answer_roles(self.requestor.role_selection):
            self.acceptor.add_negotiation_item(item)
        self._facility = facility
        self._listener.scoreboard.add(Counter.ASSOCIATIONS)
        self._listener.scoreboard.add(Counter.LIVE)
        self._log = self._log.bind(facility=facility.slug)
        self._log.info("association.accepted", contexts=len(self._accepted_cx), refused=len(self._rejected_cx))
        self.acse.send_accept()
        self._pump()
        self.is_established = True
        evt.trigger(self, evt.EVT_ACCEPTED, {})
        evt.trigger(self, evt.EVT_ESTABLISHED, {})

    # -- data transfer

    def _receive(self, sock: socket.socket, reader: PduReader) -> Outcome:
        messages = MessageReader(frozenset(self._accepted_cx))
        operation: Operation | None = None
        command: Command | None = None
        try:
            while True:
                kind, content = self._next(reader)
                if kind is PduType.DATA_TF:
                    for pdv in messages.read(content):
                        if pdv.is_command:
                            if pdv.is_last:
                                command = messages.command()
                                self._start_message()
                                operation = self._begin(command, pdv.context_id)
                                messages.expect_data(pdv.context_id, command.has_data_set)
                                if not command.has_data_set:
                                    self._answer(sock, pdv.context_id, command, operation)
                                    operation = command = None
                            continue
                        assert operation is not None
                        assert command is not None
                        operation.write(pdv.fragment)
                        if pdv.is_last:
                            self._answer(sock, pdv.context_id, command, operation)
                            operation = command = None
                elif kind is PduType.RELEASE_RQ:
                    return self._release(reader, content)
                elif kind is PduType.ABORT:
                    self._log.info("association.aborted", by="peer")
                    return Outcome.ABORTED
                else:
                    raise ProtocolError(f"{kind.name} inside an association", AbortReason.UNEXPECTED_PDU)
        finally:
            if operation is not None:
                operation.abandon()
                self._log.warning("instance.incomplete", reason="the association ended inside a message")

    def _next(self, reader: PduReader) -> tuple[PduType, memoryview]:
        try:
            return reader.next()
        except ConnectionEnded:
            if self._draining:
                raise Drained("the listener stops") from None
            raise

    def _release(self, reader: PduReader, content: memoryview) -> Outcome:
        pdu, event = self.dul._decode_pdu(bytearray(reader.raw_head(content) + content))
        self.dul._recv_pdu.put(pdu)
        self.dul.event_queue.put(event)
        self._pump()
        self.acse.is_release_requested()
        self.acse.send_release(is_response=True)
        self._pump()
        return Outcome.RELEASED

    def _start_message(self) -> None:
        """A message has come whole as far as its command: from here on it is in flight."""
        with self._turn:
            if self._draining:
                raise Drained("the listener stops")
            self._busy = True
        assert self._facility is not None
        current = self._listener.snapshot().by_slug.get(self._facility.slug)
        if current is None or not current.enabled:
            raise Drained(f"the facility '{self._facility.name}' is no longer served")
        self._facility = current  # its policies may have changed

    def _begin(self, command: Command, context_id: int) -> Operation:
        context = self._accepted_cx[context_id]
        service = self._listener.services.get(command.field)
        if command.message_id is None and command.field != Field.C_CANCEL_RQ:
            return Refused(Status.MISSING_ATTRIBUTE, "no Message ID in the command")
        if service is None:
            return Refused(Status.UNRECOGNISED_OPERATION, "this service is not offered here")
        assert self._facility is not None
        return service.begin(
            Request(
                facility=self._facility,
                origin=self._origin,
                command=command,
                abstract_syntax=str(context.abstract_syntax),
                transfer_syntax=str(context.transfer_syntax[0]),
            )
        )

    def _answer(self, sock: socket.socket, context_id: int, command: Command, operation: Operation) -> None:
        begun = time.monotonic()
        answer = operation.finish()
        if not command.field & RESPONSE and command.field != Field.C_CANCEL_RQ:
            send(sock, commands.response_pdu(context_id, command, answer.status, answer.comment))
        if answer.after is not None:
            answer.after()
        self._tally.count(self._log, command, answer, time.monotonic() - begun)
        with self._turn:
            self._busy = False
            if self._draining:
                raise Drained("the listener stops")

    def _abort(self, sock: socket.socket, reason: AbortReason | None) -> None:
        """One A-ABORT, then the end: never a second one."""
        try:
            send(sock, abort_pdu(reason))
            linger(sock)
        except OSError:
            pass  # the peer has gone already

    def opened_by(self, address: str, peer_port: int) -> None:
        """The peer's address, before the thread starts."""
        self._origin = Origin(address=address, port=self._listener.port, association=self.association_id)
        self._log = log.bind(association=self.association_id, peer=f"{address}:{peer_port}", port=self._listener.port)
        self._log.info("connection.opened")


def _printable(title: str) -> str:
    return strip_title(title) or "(empty)"
