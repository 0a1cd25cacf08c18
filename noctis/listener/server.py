"""The AE of one port: a pynetdicom AE and association server on a listening socket that somebody else bound.

Takes the socket, the settings and whose port it is. Promises never to shut the socket down (it is the parent's too)
and to start one thread per connection; keeps the list of live associations.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pynetdicom import AE, evt
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from noctis.config import Settings
from noctis.facilities.recognition import Refusal, Reject, recognise
from noctis.facilities.remedies import Kind, Remedy
from noctis.facilities.snapshot import Facility, Snapshot, SnapshotReader
from noctis.listener import events, services
from noctis.listener.addresses import address_information, plain
from noctis.listener.admission import Admission
from noctis.listener.association import StreamingAssociation
from noctis.listener.connections import Connections, Displaced
from noctis.listener.live import LiveReport
from noctis.listener.negotiation import Offer
from noctis.listener.pdu import TimeLimits
from noctis.listener.services import AddedService, dispatches, make_services
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.observability.words import RefusalKind
from noctis.repository import filemeta
from noctis.repository.journal import Journal
from noctis.tls.contexts import Contexts
from noctis.tls.policy import Policy, policy_of

log = structlog.get_logger()

PATIENCE_SECONDS = 1.0  # for which a newcomer waits at the most while all others are being answered
_STEP_SECONDS = 0.002
DISPLACE_SECONDS = 1.0  # for which a newcomer waits at the most until the connection that it displaces has ended

_TEMPLATE = AE("NOCTIS")
_TEMPLATE.implementation_class_uid = filemeta.IMPLEMENTATION_CLASS_UID
_TEMPLATE.implementation_version_name = filemeta.IMPLEMENTATION_VERSION_NAME


def _make_ae(title: str, max_pdu: int) -> AE:
    """An AE of its own, made from one that was checked before the fork: building it anew costs 0.6 MB a process."""
    ae = AE.__new__(AE)
    ae.__dict__.update(_TEMPLATE.__dict__)
    ae._ae_title, ae._maximum_pdu_size = title, max_pdu
    ae._servers, ae._lock = [], threading.Lock()
    ae._requested_contexts, ae._supported_contexts, ae._require_calling_aet = [], {}, []
    return ae


class Listener(AssociationServer):  # type: ignore[misc]
    """One port's server; all its associations share it."""

    def __init__(
        self,
        sock: socket.socket,
        settings: Settings,
        title: str,
        scoreboard: Scoreboard,
        name: str,
        snapshots: SnapshotReader | None = None,
        added: Sequence[AddedService] | None = None,
    ) -> None:
        self._inherited = sock
        self.settings = settings
        self.scoreboard = scoreboard
        self.port: int = sock.getsockname()[1]
        self.max_pdu = settings.listeners.max_pdu_bytes
        self.limits = TimeLimits(
            association_request=settings.listeners.association_request_seconds,
            pdu=settings.listeners.pdu_seconds,
            idle=settings.listeners.idle_association_seconds,
            message=settings.listeners.message_seconds,
        )
        self.tls_contexts = Contexts(scoreboard.error)
        self.journal = Journal(settings.paths.journal, name)
        self.services = make_services(settings, scoreboard, self.journal)
        added = services.ADDED_SERVICES if added is None else added
        self.offer = Offer(
            frozenset().union(*(each.abstract_syntaxes for each in added)),
            any(each.sends_instances for each in added),
        )
        self.watched = False  # somebody is bound to an event of the data transfer
        self._snapshots = snapshots or SnapshotReader(settings.paths.snapshot)
        self._proxies = tuple(ipaddress.ip_network(each) for each in settings.listeners.proxies)
        self._connections = Connections(settings.listeners.max_unassociated)
        self._live = LiveReport(settings.paths.live, self.port, self._connections)
        self._admission = Admission(
            settings.listeners, settings.paths.associations, is_default=self.port == settings.server.port
        )
        ae = _make_ae(title, self.max_pdu)
        super().__init__(ae, sock.getsockname()[:2], title, [], request_handler=StreamingRequestHandler)

        for event, dispatch in dispatches(added).items():
            self.bind(event, dispatch)

    # -- handlers of pynetdicom's events (docs/architecture.md says which fire)

    def _bind_defaults(self) -> None:
        """pynetdicom binds its default handlers one by one, which costs each forked listener 2 MB."""
        self._handlers = events.DEFAULT_HANDLERS

    def bind(self, event: evt.EventType, handler: Callable[..., Any], args: list[Any] | None = None) -> None:
        """Have `handler` called with each `event` of associations to come, and of those that are open.

        Raises
        ------
        ValueError
            The event is EVT_C_STORE.
        """
        self._handlers = events.with_handler(self._handlers, event, handler, args)
        self.watched = events.are_watched(self._handlers)
        for association in self.active_associations:
            association.bind(event, handler, args)

    def unbind(self, event: evt.EventType, handler: Callable[..., Any]) -> None:
        """The contrary of `bind`."""
        self._handlers = events.without_handler(self._handlers, event, handler)
        self.watched = events.are_watched(self._handlers)
        for association in self.active_associations:
            association.unbind(event, handler)

    # -- the inherited socket

    def server_bind(self) -> None:
        """Use the parent's socket; the one that TCPServer made is thrown away."""
        made: socket.socket = self.socket  # type: ignore[has-type]
        made.close()
        self.socket = self._inherited
        self.socket.setblocking(False)  # several workers share it: losing the race must not block
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """The parent listens already."""

    def server_close(self) -> None:
        """Close this process's copy; `shutdown` would end the parent's listening too."""
        self.socket.close()

    def close_services(self) -> None:
        """After the last association has ended."""
        for service in self.services.values():
            service.close()
        self._live.close()
        self._admission.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = self.socket.accept()
        client.setblocking(True)
        return client, address

    # -- what associations ask

    @property
    def has_siblings(self) -> bool:
        """Whether other processes accept on the same port."""
        facility = self.snapshot().by_port.get(self.port)
        return facility is not None and facility.workers > 1

    def snapshot(self) -> Snapshot:
        return self._snapshots.current()

    def recognise(
        self, called: str, calling: str, address: str, certificate: str | None, *, plain: bool
    ) -> Facility | Refusal:
        server = self.settings.server
        return recognise(
            self.snapshot(),
            server.ae_title,
            self.port,
            called,
            calling,
            address,
            server.port,
            certificate,
            trust=self.settings.listeners.trust,
            plain=plain,
        )

    @property
    def slug(self) -> str | None:
        """Of the facility whose port this is; None: the default one."""
        facility = self.snapshot().by_port.get(self.port)
        return facility.slug if facility is not None else None

    def tls_policy(self) -> Policy | None:
        """TLS as it is at this port now; None: it is plain."""
        return policy_of(self.settings, self.snapshot().by_port.get(self.port))

    def is_proxy(self, address: str) -> bool:
        """Whether connections from there begin with a PROXY header."""
        if not self._proxies:
            return False
        peer = ipaddress.ip_address(address.partition("%")[0])
        return any(peer in network for network in self._proxies)

    def admit(self, association: StreamingAssociation, facility: Facility) -> Refusal | None:
        """Count one more association of `facility`, or say which limit is reached.

        Raises
        ------
        Displaced
            The connection has had to go meanwhile.
        """
        place = self._admission.admit(facility, self.snapshot())
        if isinstance(place, Refusal):
            return place
        association.place = place
        if not self._connections.associate(association):
            raise Displaced
        self._live.begun()
        return None

    def leave(self, association: StreamingAssociation) -> None:
        """It does not count any more. Only on its own thread."""
        place, association.place = association.place, None
        if place is not None:
            self._admission.give_back(place)

    @property
    def displacement(self) -> Refusal:
        """What is said of a connection that went for a newcomer."""
        limit = self.settings.listeners.max_unassociated
        return Refusal(
            f"{limit} connections had no association, and this was the oldest one of the address with the most",
            "see what opens connections there and asks for no association, or raise listeners.max_unassociated",
            Reject.TEMPORARY_CONGESTION,
            Remedy(Kind.LIMIT),
            RefusalKind.CONGESTION,
        )

    @property
    def live(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def started(self, association: StreamingAssociation) -> None:
        """One more connection; where there are too many without an association, another one goes for it."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while self._connections.is_full:
            victim = self._connections.displace(patient=time.monotonic() < patience)
            if victim is not None:
                victim.displace()
                victim.join(DISPLACE_SECONDS)  # so that there are never many more threads than connections
            else:
                time.sleep(_STEP_SECONDS)
        self._connections.add(association)
        self.scoreboard.add(Counter.CONNECTIONS)
        self.scoreboard.add(Counter.OPEN)

    def ended(self, association: StreamingAssociation) -> None:
        self.leave(association)
        self._connections.remove(association)
        self.scoreboard.add(Counter.OPEN, -1)

    def associations(self) -> list[StreamingAssociation]:
        """Of every open connection."""
        return self._connections.all()


class StreamingRequestHandler(RequestHandler):  # type: ignore[misc]
    """Makes and starts the association of one connection."""

    server: Listener

    def handle(self) -> None:
        listener = self.server
        address, peer_port = self.client_address[0], self.client_address[1]
        association = self._create_association()
        association.opened_by(plain(address), peer_port)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        listener.started(association)
        try:
            association.start()
        except RuntimeError as error:  # no more threads
            listener.ended(association)
            self.request.close()
            log.error("connection.closed_at_once", peer=address, port=listener.port, reason=str(error))

    def _create_association(self) -> StreamingAssociation:
        listener = self.server
        association = StreamingAssociation(listener)
        association._server = listener
        association.name = "AcceptorThread"  # pynetdicom finds acceptors by it
        association.set_socket(AssociationSocket(association, client_socket=self.request))
        acceptor = association.acceptor
        acceptor.maximum_length = listener.max_pdu
        acceptor.ae_title = listener.ae_title
        acceptor.address_info = address_information(listener.server_address)
        acceptor.implementation_class_uid = listener.ae.implementation_class_uid
        acceptor.implementation_version_name = listener.ae.implementation_version_name
        association.requestor.address_info = address_information(self.client_address)
        return association
