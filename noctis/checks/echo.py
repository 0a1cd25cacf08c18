"""A C-ECHO to a listener of this machine, by a real SCU.

At a TLS port the listener's certificate is checked against the file that it serves, and a client certificate of our
own is shown: signed by itself, valid for a day, in <home>/tls/self.pem for the home's owner alone. Listeners take that
one besides those of tls.client_ca, at every door, for Verification and nothing else. Where this machine's own address
is a load balancer's (`listeners.proxies`), the connection begins as its health checks do.
"""

import contextlib
import ipaddress
import logging
import socket
import ssl
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification

from noctis.config import Settings
from noctis.errors import NoctisError
from noctis.facilities.naming import CHECKING
from noctis.facilities.snapshot import SnapshotReader
from noctis.listener.proxy_protocol import LOCAL_HEADER
from noctis.scu import requests
from noctis.tls.policy import Policy, policy_of

TIMEOUT_SECONDS = 5
RENEWED = timedelta(hours=1)  # before its end a certificate of our own is replaced


@dataclass(frozen=True)
class EchoResult:
    """How a listener answered."""

    facility: str | None  # slug; None: the default listener
    port: int
    succeeded: bool
    milliseconds: float
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def address_of(settings: Settings) -> str:
    """An address at which this machine's listeners are reached from here."""
    bind = settings.server.bind
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)


def echo(settings: Settings, facility: str | None, port: int, called: str, calling: str | None = None) -> EchoResult:
    """Associate, C-ECHO, release.

    Parameters
    ----------
    calling
        None: that of our own checks, which the ledgers can tell from a sender's; a facility's own port takes any
        where the called one is right.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ae = AE(calling or CHECKING)
    ae.add_requested_context(Verification)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_SECONDS
    policy, announced = _policy(settings, facility), _is_proxy(settings)
    begun = time.perf_counter()
    try:  # pynetdicom leaves a socket open, and no reason, where nobody listens
        context = None if policy is None else _context(policy)
        if context is not None and announced:
            context.sslsocket_class = _Announced
        begun = time.perf_counter()  # making a certificate of our own is not the listener's time
        _connect(address_of(settings), port, context)
    except (OSError, NoctisError) as error:
        milliseconds = (time.perf_counter() - begun) * 1000
        return EchoResult(facility, port, False, round(milliseconds, 1), _why(error))
    more: dict[str, Any] = {}
    if context is not None:
        more["tls_args"] = (context, address_of(settings))
    elif announced:
        more["evt_handlers"] = [(evt.EVT_CONN_OPEN, lambda event: event.assoc.dul.socket.socket.sendall(LOCAL_HEADER))]
    association = ae.associate(address_of(settings), port, ae_title=called, **more)
    problem = ""
    if association.is_established:
        with requests(association):
            answered = association.send_c_echo().get("Status")
        if answered != 0:
            problem = "the C-ECHO was not answered" if answered is None else f"the C-ECHO was answered {answered:04X}"
        milliseconds = (time.perf_counter() - begun) * 1000
        association.release()
    else:
        milliseconds = (time.perf_counter() - begun) * 1000
        rejected = association.is_rejected
        turned_away = rejected or policy is not None  # TLS 1.3 tells a client late that its certificate is refused
        problem = "the association was rejected (noctis refusal list says why)" if turned_away else "nobody answers"
    return EchoResult(facility, port, not problem, round(milliseconds, 1), problem)


class _Announced(ssl.SSLSocket):
    """Begins with a PROXY header, in plain text and before TLS."""

    def do_handshake(self, block: bool = False) -> None:
        socket.socket.sendall(self, LOCAL_HEADER)
        super().do_handshake(block)


def _is_proxy(settings: Settings) -> bool:
    """Whether our own address is a load balancer's too."""
    ours = ipaddress.ip_address(address_of(settings))
    return any(ours in ipaddress.ip_network(each) for each in settings.listeners.proxies)


def _policy(settings: Settings, facility: str | None) -> Policy | None:
    known = SnapshotReader(settings.paths.snapshot).current().by_slug.get(facility) if facility else None
    return policy_of(settings, known)


def _context(policy: Policy) -> ssl.SSLContext:
    """A client's, that trusts the very certificate which the port serves.

    Raises
    ------
    OSError, NoctisError
        A file cannot be read, or that of our own certificate not written.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # we know where we connect to; the name is the senders' matter
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cafile=policy.certificate)
    if policy.asks:
        if not _is_fresh(policy):
            from noctis.tls.issuing import issue_to_ourselves, write_private

            made = issue_to_ourselves()
            write_private(policy.own_client, made.key_pem + made.certificate_pem)
        context.load_cert_chain(policy.own_client)
    return context


def _is_fresh(policy: Policy) -> bool:
    from noctis.tls.inventory import Unreadable, read_certificates

    with contextlib.suppress(Unreadable, ValueError, IndexError):
        return read_certificates(policy.own_client)[0].not_valid_after_utc > datetime.now(UTC) + RENEWED
    return False


def _connect(address: str, port: int, context: ssl.SSLContext | None) -> None:
    with socket.create_connection((address, port), timeout=TIMEOUT_SECONDS) as sock:
        if context is not None:
            context.wrap_socket(sock, server_hostname=address).close()


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid: {error.verify_message} (noctis tls list)"
    if isinstance(error, ssl.SSLError):
        return f"no TLS is spoken: {(error.reason or str(error)).replace('_', ' ').lower()} (noctis refusal list)"
    if isinstance(error, FileNotFoundError):
        return f"TLS is on, but {error.filename or 'its certificate'} does not exist (noctis tls list)"
    if isinstance(error, NoctisError):
        return error.message
    return f"nobody answers: {getattr(error, 'strerror', None) or error}"
