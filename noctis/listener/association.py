"""One association, from accept to its end: one thread, blocking reads, nothing polled.

A pynetdicom `Association` whose negotiation and release run on pynetdicom's own PDUs and state machine, while P-DATA is
taken apart by `transfer`. A peer that breaks the protocol is answered by one A-ABORT and the connection ends. `drain`
lets the message in flight finish and be answered, then ends the association.
"""

import math
import os
import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from pynetdicom import evt
from pynetdicom.association import Association

from noctis.config import Settings
from noctis.facilities.recognition import Refusal, Reject
from noctis.facilities.remedies import Kind, Remedy
from noctis.facilities.snapshot import Facility
from noctis.listener import events, negotiation, proxy_protocol
from noctis.listener.addresses import address_information
from noctis.listener.admission import Place
from noctis.listener.commands import Field
from noctis.listener.connections import Displaced
from noctis.listener.delegation import Aborted, Drained, is_bound
from noctis.listener.establishment import establish, note_refusal
from noctis.listener.operations import Service
from noctis.listener.pdu import (
    SEND_SECONDS,
    AbortReason,
    Connection,
    ConnectionEnded,
    PduReader,
    ProtocolError,
    TimedOut,
    Unread,
    abort_pdu,
    linger,
    send,
    set_timeout,
    tick_seconds,
)
from noctis.listener.proxy_protocol import ProxyError
from noctis.listener.security import secure
from noctis.listener.tally import Outcome, Tally
from noctis.listener.transfer import Transfer
from noctis.observability.scoreboard import Counter
from noctis.observability.words import RefusalKind
from noctis.repository.filemeta import Origin

if TYPE_CHECKING:
    from noctis.listener.server import Listener

log = structlog.get_logger()

GRACE_SECONDS = 0.1  # from the first byte of a connection: by then its request has been read, or is not whole


class StreamingAssociation(Association):  # type: ignore[misc]
    """An acceptor. `run_reactor` is the whole life of its thread.

    Handlers of pynetdicom's events find here what they do in pynetdicom; besides, `facility`, `origin` and `settings`.
    """

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        super().__init__(listener.ae, "acceptor")
        self.association_id = os.urandom(6).hex()
        self.daemon = True
        self.watched = listener.watched  # somebody is bound to an event of the data transfer
        self.log: Any = log
        self.origin = Origin()
        self.tally = Tally(listener.scoreboard)
        self._is_paused = True  # what pynetdicom's requests wait for: no other thread reads
        self._turn = threading.Lock()  # held while what follows changes
        self._busy = False  # inside a DIMSE message
        self._draining = False
        self._abort_wanted = False  # by another thread
        self.accepted_facility: Facility | None = None  # None: not yet, or refused, or an unknown caller
        self.is_unknown = False  # accepted for Verification alone: a caller of no facility
        self.place: Place | None = None  # among the associations that there may be
        self.displaced = False
        self.connection: Connection | None = None  # TLS over the socket, where it is spoken
        # The fingerprint of the client's certificate; "": one was asked for and not shown; None: none was asked for.
        self.certificate: str | None = None
        self.is_ourselves = False  # the client's certificate is that of this machine's own commands
        self.answering = False  # its request is whole, and being answered
        self._seen_at = -math.inf  # monotonic: when its first byte was seen, before anything was read

    @property
    def facility(self) -> Facility:
        """Whose association it is, once it is accepted."""
        assert self.accepted_facility is not None
        return self.accepted_facility

    @property
    def settings(self) -> Settings:
        return self.listener.settings

    # -- handlers: the listener's own table, until somebody binds to this association alone

    def _bind_defaults(self) -> None:
        self._handlers = self.listener._handlers

    def bind(self, event: evt.EventType, handler: Callable[..., Any], args: list[Any] | None = None) -> None:
        with self.lock:
            self._handlers = events.with_handler(self._handlers, event, handler, args)
        self.watched = events.are_watched(self._handlers)

    def unbind(self, event: evt.EventType, handler: Callable[..., Any]) -> None:
        with self.lock:
            self._handlers = events.without_handler(self._handlers, event, handler)
        self.watched = events.are_watched(self._handlers)

    def own_services(self) -> dict[int, Service]:
        """Command Field → our own service; C-ECHO goes to pynetdicom's where a handler is bound to it."""
        own = self.listener.services
        if is_bound(self, evt.EVT_C_ECHO, negotiation.VERIFICATION):
            own = {field: service for field, service in own.items() if field != Field.C_ECHO_RQ}
        return own

    # -- the thread

    def run_reactor(self) -> None:
        """Serve the connection to its end; never raises."""
        sock: socket.socket = self.dul.socket.socket
        listener = self.listener
        self._dul_ready.set()
        self._started_dul = True
        outcome = Outcome.FAILED
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_timeout(sock, socket.SO_SNDTIMEO, min(SEND_SECONDS, listener.limits.pdu))
            outcome = self._serve(sock)
        except OSError as error:
            outcome = Outcome.DISCONNECTED
            self.log.info("connection.broken", reason=error.strerror or str(error))
        except Exception as error:
            listener.scoreboard.error(f"association: {error!r}")
            self.log.exception("association.fault")
        finally:
            self._end(sock, outcome)

    def _serve(self, accepted: socket.socket) -> Outcome:
        limits = self.listener.limits
        deadline = time.monotonic() + limits.association_request
        sock: Connection = accepted
        try:
            set_timeout(accepted, socket.SO_RCVTIMEO, tick_seconds(limits))
            self.pump()
            self._take_proxy_header(accepted, deadline)
            secured = secure(self, accepted, deadline)
            if secured is None:
                return Outcome.FAILED
            sock = secured
            reader = PduReader(sock, self.listener.max_pdu, limits, deadline)
            if not establish(self, reader):
                linger(sock)
                return Outcome.FAILED
            return Transfer(self, sock, reader).run()
        except ProtocolError as error:
            self.log.warning("association.protocol_error", reason=str(error))
            self.listener.scoreboard.error(f"{self.origin.address}: {error}")
            if self.accepted_facility is None and not self.is_unknown:
                self.listener.scoreboard.refused(RefusalKind.PROTOCOL)
            self._abort(sock, error.reason)
            return Outcome.FAILED
        except TimedOut as error:
            self.log.info("association.timed_out", reason=str(error))
            if not isinstance(error, Unread):  # it would not read the A-ABORT either, behind half an answer
                self._abort(sock, AbortReason.NOT_SPECIFIED)
            return Outcome.TIMED_OUT
        except ConnectionEnded as error:
            self.log.info("connection.closed", reason=str(error))
            return Outcome.DISCONNECTED
        except ProxyError as error:
            note_refusal(
                self, Refusal(str(error), error.fix, Reject.NO_REASON, Remedy(Kind.PROTOCOL), RefusalKind.PROXY)
            )
            return Outcome.FAILED
        except Displaced:
            note_refusal(self, self.listener.displacement)
            return Outcome.FAILED
        except Drained as drained:
            self.log.info("association.drained", reason=str(drained))
            self._abort(sock, None)
            return Outcome.DRAINED
        except Aborted:
            linger(sock)
            return Outcome.ABORTED

    def _end(self, sock: socket.socket, outcome: Outcome) -> None:
        try:
            facility = self.accepted_facility
            self.is_released = outcome is Outcome.RELEASED
            if facility is not None or self.is_unknown:
                if not self.is_released:
                    self.is_aborted = True
                self.log.info("association.ended", outcome=str(outcome), **self.tally.counts())
            if facility is not None:
                self.tally.counts_on.add(Counter.LIVE, -1)
                if outcome is not Outcome.RELEASED:
                    self.tally.counts_on.add(Counter.ABORTED)
                self.listener.journal.append("association", **self.tally.record(facility.slug, self.origin, outcome))
            self._close(sock)
        finally:
            self._kill, self.is_established = True, False
            self.listener.ended(self)

    def _close(self, sock: socket.socket) -> None:
        """Close the connection, and say so to whom it concerns in pynetdicom's order."""
        event = evt.EVT_RELEASED if self.is_released else evt.EVT_ABORTED if self.is_aborted else None
        machine = self.dul.state_machine
        said = machine.current_state == "Sta13"  # what ended it was ours: the peer closes afterwards
        if said and event is not None:
            evt.trigger(self, event, {})
        (self.connection or sock).close()
        self.dul.socket.socket = None
        if self.watched and machine.current_state != "Sta1":
            machine.do_action("Evt17")
            self.dul.receive_pdu()
        if not said and event is not None:
            evt.trigger(self, event, {})

    # -- ways out

    def kill(self) -> None:
        """pynetdicom's own way out; there is no second thread to wait for."""
        self._kill, self.is_established = True, False

    def _abort_blocking(self, block: bool = True) -> None:
        """What `abort` is: a handler, or another thread, ends the association."""
        if self.is_aborted or self.is_released or self._kill:
            return
        if threading.current_thread() is not self:
            self._abort_wanted = True
            self.hang_up()
            return
        self.log.info("association.aborted", by="handler")
        self.acse.send_abort(0x00)
        self.pump()

    def release(self) -> None:
        """Not for acceptors here: only the requestor knows when it has no more to send."""
        raise RuntimeError("an acceptor's association is released by its requestor; abort() ends it")

    def check_ending(self) -> None:
        """The connection's reading side has ended: raise why, if it was we who ended it."""
        if self.displaced:
            raise Displaced
        if self._draining:
            raise Drained("the listener stops")
        if self._abort_wanted:
            if self.accepted_facility is None and not self.is_unknown:
                raise ConnectionEnded("aborted before there was an association")
            self._abort_blocking()
            raise Aborted("by the listener")

    def drain(self) -> None:
        """End after the message in flight, or at once when there is none. Called from another thread."""
        with self._turn:
            self._draining = True
            if not self._busy:
                self.hang_up()

    def waits(self) -> bool:
        """Whether the peer has to do something next, and not we. For other threads.

        What was read and not looked at yet is known to nobody, so whose first byte has just come has `GRACE_SECONDS`.
        """
        sock = self.dul.socket.socket
        poll = select.poll()
        try:
            if sock is None:
                return False
            poll.register(sock, select.POLLIN)
            if poll.poll(0):
                return False
        except (OSError, ValueError):
            return False  # closed meanwhile
        # Only now: the first byte is noted before it is read, so of one that has just been read it is known here.
        return not self.answering and time.monotonic() - self._seen_at >= GRACE_SECONDS

    def displace(self) -> None:
        """End at once, whatever the peer does. Called from another thread, once `displaced` is set."""
        self.hang_up(socket.SHUT_RDWR)

    def hang_up(self, how: int = socket.SHUT_RD) -> None:
        """Wake the thread from its read: it finds the connection ended."""
        sock = self.dul.socket.socket
        if sock is not None:
            try:
                sock.shutdown(how)
            except OSError:
                pass  # the peer was faster

    # -- pynetdicom's state machine (PS3.8 §9.2)

    def pump(self) -> None:
        """Run the state machine until it has nothing left to do."""
        dul = self.dul
        while not dul._kill_thread:
            try:
                event = dul.event_queue.get_nowait()
            except queue.Empty:
                if not dul._process_recv_primitive():
                    return
                continue
            dul.state_machine.do_action(event)

    def feed(self, raw: bytes | bytearray) -> None:
        """Give the state machine a PDU that has come."""
        pdu, event = self.dul._decode_pdu(raw)
        self.dul._recv_pdu.put(pdu)
        self.dul.event_queue.put(event)
        self.pump()

    # -- release, and what the data transfer asks

    def answer_release(self, raw: bytes) -> None:
        """The peer has asked for the release, by the PDU given: grant it."""
        self.feed(raw)
        self.acse.is_release_requested()
        self.listener.leave(self)  # before the peer can ask for its next one
        self.acse.send_release(is_response=True)
        self.pump()

    def start_message(self) -> None:
        """A message has come whole as far as its command: from here on it is in flight."""
        with self._turn:
            if self._draining:
                raise Drained("the listener stops")
            self._busy = True
        if self.is_unknown:
            return
        current = self.listener.snapshot().by_slug.get(self.facility.slug)
        if current is None or not current.enabled:
            raise Drained(f"the facility '{self.facility.name}' is no longer served")
        self.accepted_facility = current  # its policies may have changed

    def end_message(self) -> None:
        """It has been answered."""
        with self._turn:
            self._busy = False
            if self._draining:
                raise Drained("the listener stops")

    def _abort(self, sock: Connection, reason: AbortReason | None) -> None:
        """One A-ABORT, then the end: never a second one. At a TLS port nothing is said in plain text."""
        if self.connection is None and self.listener.tls_policy() is not None:
            return
        try:
            pdu = abort_pdu(reason)
            send(sock, pdu)
            if self.watched:
                events.aborted(self, pdu, reason)
            linger(sock)
        except (OSError, TimedOut):
            pass  # the peer has gone already

    def opened_by(self, address: str, peer_port: int) -> None:
        """The peer's address, before the thread starts."""
        self._come_from(address)
        self.log = log.bind(association=self.association_id, peer=f"{address}:{peer_port}", port=self.listener.port)
        self.log.info("connection.opened")

    def _come_from(self, address: str) -> None:
        self.origin = Origin(address=address, port=self.listener.port, association=self.association_id)

    def _take_proxy_header(self, sock: socket.socket, deadline: float) -> None:
        """Before anything else: whose connection it is, where a load balancer says it."""
        address = self.origin.address
        try:
            peer = proxy_protocol.take_header(sock, deadline, expected=self.listener.is_proxy(address), address=address)
        except ConnectionEnded:
            self.check_ending()
            raise
        self._seen_at = time.monotonic()
        if peer is not None:
            self._come_from(peer.address)
            self.requestor.address_info = address_information((peer.address, peer.port))
            self.log = self.log.bind(peer=f"{peer.address}:{peer.port}", proxy=address)
            self.log.info("connection.proxied")
