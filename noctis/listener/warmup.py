"""Associations with ourselves, before anything is forked.

Whatever Python imports, compiles, caches or specialises on first use is so once, in the parent, and its memory is
shared by every listener. Takes no port of anybody's and leaves nothing: it runs over a socket pair of the loopback
interface, in a home of its own that is removed.
"""

import socket
import tempfile
import threading
from pathlib import Path

import structlog
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from noctis.config import Settings
from noctis.facilities.snapshot import Facility, Snapshot, write_if_changed
from noctis.listener.server import Listener
from noctis.observability.scoreboard import Scoreboard
from noctis.scu import requests

ROUNDS = 12  # Python 3.11 specialises code that ran eight times


def warm_up(settings: Settings, rounds: int = ROUNDS) -> None:
    """Serve `rounds` echoes to ourselves. One thread is left afterwards: forking stays safe."""
    quiet = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    try:
        with tempfile.TemporaryDirectory(prefix="noctis-") as folder:
            direct = settings.listeners.model_copy(update={"proxies": ()})
            _serve_echoes(settings.model_copy(update={"home": Path(folder), "listeners": direct}), rounds)
    finally:
        structlog.configure(**quiet)


def _serve_echoes(settings: Settings, rounds: int) -> None:
    settings.paths.create()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        facility = Facility(0, "warm-up", "Warm-up", "WARMUP", port)
        write_if_changed(settings.paths.snapshot, lambda: Snapshot((facility,)))
        for _ in range(rounds):
            listener = Listener(sock.dup(), settings, "WARMUP", Scoreboard(), "warm-up")
            asking = threading.Thread(target=_echo, args=(port,))
            asking.start()
            listener.socket.setblocking(True)
            listener.process_request(*listener.get_request())
            asking.join()
            for association in listener.associations():
                association.join()
            listener.server_close()
            listener.close_services()


def _echo(port: int) -> None:
    ae = AE("WARMUP")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title="WARMUP")
    if association.is_established:
        with requests(association):
            association.send_c_echo()
        association.release()
