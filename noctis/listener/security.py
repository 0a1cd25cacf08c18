"""TLS at the beginning of a connection: the handshake on the association's own thread, within its time limit.

Takes an accepted socket. Gives back what the association reads and writes from then on: the socket as it is where the
port is plain. At a TLS port nothing is served in plain text: an A-ASSOCIATE-RQ is read for its AE titles and rejected.
Every caller that is turned away is in the refusals ledger, in plain words and with what mends it.
"""

import contextlib
import socket
from typing import TYPE_CHECKING

from pynetdicom import evt

from noctis.facilities.recognition import Refusal, Reject, strip_title
from noctis.facilities.remedies import Kind, Remedy
from noctis.listener import establishment, negotiation
from noctis.listener.delegation import ENDINGS
from noctis.listener.pdu import (
    Connection,
    ConnectionEnded,
    PduReader,
    PduType,
    TimedOut,
    linger,
    receive,
    send,
)
from noctis.observability.words import RefusalKind
from noctis.tls import failures
from noctis.tls.connection import HandshakeEnded, HandshakeFailed, HandshakeTimedOut, TlsConnection
from noctis.tls.contexts import Serving, TlsUnavailable
from noctis.tls.policy import Policy

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation

INTERNAL_ERROR_ALERT = b"\x15\3\3\0\2\2\x50"  # RFC 8446 §6.2


def secure(association: "StreamingAssociation", sock: socket.socket, deadline: float) -> Connection | None:
    """What the association goes on with; None: the connection is over, and why is noted.

    Parameters
    ----------
    deadline
        Until when the caller has to have sent its A-ASSOCIATE-RQ (monotonic); the handshake is within that time.

    Raises
    ------
    OSError
        The connection broke.
    Displaced
        It has had to go for a newcomer's sake.
    """
    policy = association.listener.tls_policy()
    if policy is None:
        return sock
    try:
        return _secured(association, sock, policy, deadline)
    except TimedOut as error:
        association.log.info("association.timed_out", reason=str(error))
    except ENDINGS as error:
        association.log.info("connection.closed", reason=_why(association, error))
    linger(sock)
    return None


def _why(association: "StreamingAssociation", error: Exception) -> str:
    """Why the connection is over: it may be we who ended it."""
    if isinstance(error, ConnectionEnded):
        try:
            association.check_ending()
        except ENDINGS as ending:
            return str(ending)
    return str(error)


def _secured(
    association: "StreamingAssociation", sock: socket.socket, policy: Policy, deadline: float
) -> Connection | None:
    listener = association.listener
    first = receive(sock, 1, deadline, socket.MSG_PEEK)[0]
    try:
        serving = listener.tls_contexts.current(policy)
    except TlsUnavailable as problem:
        refusal = Refusal(
            problem.message, problem.fix or policy.issue, Reject.NO_REASON, Remedy(Kind.TLS), RefusalKind.TLS
        )
        if first == PduType.ASSOCIATE_RQ:
            _reject_plain(association, sock, refusal, deadline)
        else:
            establishment.note_refusal(association, refusal)
            send(sock, INTERNAL_ERROR_ALERT)
        raise ConnectionEnded("there is no certificate to serve TLS with") from None
    if first == PduType.ASSOCIATE_RQ:
        _reject_plain(association, sock, _refusal(failures.plain_at_tls(listener.slug)), deadline)
        raise ConnectionEnded("it is no TLS connection")
    return _shake_hands(association, sock, serving, deadline)


def _shake_hands(
    association: "StreamingAssociation", sock: socket.socket, serving: Serving, deadline: float
) -> TlsConnection:
    connection = TlsConnection(sock, serving.context)
    detail = ""
    try:
        connection.handshake(deadline)
    except HandshakeFailed as failure:
        words, detail = failures.explain(failure.error, association.listener.slug), failure.error.reason or ""
    except HandshakeTimedOut:
        words = failures.TIMED_OUT
    except (HandshakeEnded, ConnectionError) as error:
        with contextlib.suppress(ConnectionEnded):  # that it ended is all we know; a drain is told by what it raises
            association.check_ending()
        words, detail = failures.ENDED, str(error)
    else:
        _note_peer(association, connection, serving)
        association.dul.socket.socket = association.connection = connection
        return connection
    establishment.note_refusal(association, _refusal(words))
    raise ConnectionEnded(f"the TLS handshake failed {detail}".rstrip())


def _refusal(words: failures.Words) -> Refusal:
    return Refusal(words.reason, words.fix, Reject.NO_REASON, Remedy(Kind.TLS), RefusalKind.TLS)


def _note_peer(association: "StreamingAssociation", connection: TlsConnection, serving: Serving) -> None:
    peer = connection.peer()
    association.log.info(
        "tls.established",
        version=connection.version,
        cipher=connection.cipher,
        certificate=peer.fingerprint if peer else None,
        subject=peer.subject if peer else None,
        issuer=peer.issuer if peer else None,
    )
    if not serving.policy.asks:
        return
    association.is_ourselves = peer is not None and peer.fingerprint == serving.own_fingerprint
    if not association.is_ourselves:
        association.certificate = peer.fingerprint if peer else ""


def _reject_plain(association: "StreamingAssociation", sock: socket.socket, refusal: Refusal, deadline: float) -> None:
    """Read an A-ASSOCIATE-RQ that came in plain text, for its titles, and reject it."""
    listener = association.listener
    _, content = PduReader(sock, listener.max_pdu, listener.limits, deadline).next(first=True)
    raw = bytearray(6) + content
    negotiation.tolerate(raw)
    called, calling = (strip_title(raw[at : at + 16].decode("ascii")) or "(empty)" for at in (10, 26))
    establishment.note_titles(association, called, calling)
    association.is_rejected = True
    establishment.note_refusal(association, refusal)
    evt.trigger(association, evt.EVT_REJECTED, {})
    send(sock, bytes((PduType.ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, *refusal.reject.value)))
