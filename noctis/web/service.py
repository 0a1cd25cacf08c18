"""The web process: uvicorn over our application, on a socket of its own.

It takes no part in receiving: when it ends, or never comes up, nothing else notices. SIGTERM ends it after the
requests in flight; downloads are cut off after `STOP_SECONDS`.
"""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial

import structlog
import uvicorn

from noctis.config import Settings
from noctis.db.upgrading import under_way
from noctis.errors import ConfigError, NoctisError, SupervisorError
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.supervisor.ports import who_listens
from noctis.supervisor.sockets import listen
from noctis.users import setup
from noctis.web import protocol
from noctis.web.app import create_app
from noctis.web.crowd import Crowd, Door
from noctis.web.site import Site

log = structlog.get_logger()

BACKLOG = 128
STOP_SECONDS = 5
LOOK_SECONDS = 1.0  # between two looks whether an upgrade is done


def run(settings: Settings, scoreboard: Scoreboard) -> int:
    """Until SIGTERM.

    Raises
    ------
    NoctisError
        The port cannot be bound, or certificate and key do not do.
    """
    scoreboard.begin(os.getpid())
    try:
        _check_tls(settings)
        sock = bind(settings)
    except NoctisError as error:
        scoreboard.error(str(error))
        raise
    site = Site(settings, scoreboard)
    server = make_server(site)
    scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
    log.info("web.started", url=settings.web_url)
    tell_setup(site)
    server.run(sockets=[sock])
    log.info("web.stopped")
    return 0


def bind(settings: Settings) -> socket.socket:
    """The listening socket.

    Raises
    ------
    SupervisorError
        The port is taken, or the address is not this machine's.
    """
    web = settings.web
    try:
        sock = listen(web.bind, web.port, BACKLOG)
        # Accepted connections inherit it; asyncio does not see that they are TCP. Else every body waits 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    except OSError as error:
        holders = ", ".join(map(str, who_listens(web.port)))
        raise SupervisorError(
            f"the web port {web.port} cannot be bound: {error.strerror}"
            + (f"; it is held by {holders}" if holders else ""),
            fix="set another one: web.port",
        ) from error


def make_server(site: Site) -> uvicorn.Server:
    """The server of a site; `run` it with the socket of `bind`."""
    web = site.settings.web
    crowd = Crowd(protocol.CONNECTIONS_MAX)
    return Server(
        crowd,
        uvicorn.Config(
            create_app(site),
            http=partial(protocol.Protocol, crowd=crowd),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # `web.proxies` is the application's
            timeout_keep_alive=protocol.KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=protocol.HEAD_MAX,
            ssl_certfile=web.certificate,
            ssl_keyfile=web.private_key,
        ),
    )


class Server(uvicorn.Server):
    """uvicorn's, whose process goes on after a signal: it says that it has stopped, and how it ends is its own.

    Connections come through a `Door`.
    """

    def __init__(self, crowd: Crowd, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._crowd = crowd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([Door(each, self._crowd) for each in sockets or ()])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def setup_link(settings: Settings) -> str:
    """The link with which the first admin is made."""
    return f"{settings.web_url}/setup?secret={setup.secret(settings.paths)}"


def tell_setup(site: Site) -> None:
    """While there is no account: say where the first one is made; where a schema is being upgraded, after that."""
    if under_way(site.home) is not None:
        log.info("web.waiting", reason="the database is being upgraded")
        threading.Thread(target=_tell_setup_later, args=(site,), name="setup", daemon=True).start()
        return
    try:
        if site.accounts("web").is_empty():
            log.warning("web.set_up", link=setup_link(site.settings), action="open it to make the first admin")
    except NoctisError as error:
        log.warning("web.database_down", error=str(error))


def _tell_setup_later(site: Site) -> None:
    while under_way(site.home) is not None:
        time.sleep(LOOK_SECONDS)
    tell_setup(site)


def _check_tls(settings: Settings) -> None:
    web = settings.web
    if (web.certificate is None) != (web.private_key is None):
        raise ConfigError("web.certificate and web.private_key belong together", fix="set both, or neither")
    if web.certificate is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(web.certificate, web.private_key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"web.certificate cannot be used: {error}", fix="PEM, and the key of that certificate"
            ) from error
