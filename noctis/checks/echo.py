"""A C-ECHO to a listener of this machine, by a real SCU."""

import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification

from noctis.config import Settings
from noctis.listener.proxy_protocol import LOCAL_HEADER
from noctis.scu import requests

TIMEOUT_SECONDS = 5


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
        None: the called AE title, by which a facility's own port recognises it too.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ae = AE(calling or called)
    ae.add_requested_context(Verification)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_SECONDS
    begun = time.perf_counter()
    try:  # pynetdicom leaves a socket open, and no reason, where nobody listens
        socket.create_connection((address_of(settings), port), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        milliseconds = (time.perf_counter() - begun) * 1000
        return EchoResult(facility, port, False, round(milliseconds, 1), f"nobody answers: {error.strerror or error}")
    association = ae.associate(address_of(settings), port, ae_title=called, evt_handlers=_as_from_a_proxy(settings))
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
        problem = "the association was rejected (noctis refusal list says why)" if rejected else "nobody answers"
    return EchoResult(facility, port, not problem, round(milliseconds, 1), problem)


def _as_from_a_proxy(settings: Settings) -> list[tuple[evt.NotificationEvent, Callable[[evt.Event], None]]]:
    """Where our own address is a load balancer's too: begin as its health checks do."""
    ours = ipaddress.ip_address(address_of(settings))
    if not any(ours in ipaddress.ip_network(each) for each in settings.listeners.proxies):
        return []
    return [(evt.EVT_CONN_OPEN, lambda event: event.assoc.dul.socket.socket.sendall(LOCAL_HEADER))]
