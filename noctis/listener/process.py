"""The life of one listener process: serve the inherited socket until SIGTERM, then drain.

Takes a bound, listening socket. Promises that SIGTERM stops accepting at once, lets every instance in flight finish
and be acknowledged, and ends the process within `listeners.drain_seconds`. On demand it ends by itself, with the same
exit code, after `listeners.idle_seconds` without an association.
"""

import os
import select
import signal
import socket
import time
from typing import Protocol

import structlog

from noctis.config import Settings
from noctis.errors import ExitCode
from noctis.facilities.snapshot import SnapshotReader
from noctis.listener.server import Listener
from noctis.observability.scoreboard import Counter, Scoreboard

log = structlog.get_logger()

_WAIT_SECONDS = 30.0  # between two looks at nothing
_NO_DESCRIPTORS_SECONDS = 0.2  # accept failed for want of descriptors: associations that end give some back
_DRAIN_STEP_SECONDS = 0.02
_COURTESY_SECONDS = 0.002  # by which a worker that has associations lets one that has none be the first to accept


def run(
    sock: socket.socket,
    settings: Settings,
    slug: str | None,
    scoreboard: Scoreboard,
    *,
    on_demand: bool = False,
    foreground: bool = False,
    snapshots: SnapshotReader | None = None,
) -> int:
    """Serve one port until told to stop.

    Parameters
    ----------
    sock
        Listening; stays the caller's.
    slug
        The facility whose port it is; None: the default listener.
    on_demand
        End after `listeners.idle_seconds` without an association.
    foreground
        Nobody supervises: Ctrl-C stops it as SIGTERM does.
    snapshots
        One that has read the file already: its memory is shared with the process that forked us.
    """
    stop = StopSignal(interruptible=foreground)
    scoreboard.begin(os.getpid())
    snapshots = snapshots or SnapshotReader(settings.paths.snapshot)
    facility = snapshots.current().by_slug.get(slug) if slug else None
    title = facility.ae_title if facility else settings.server.ae_title
    listener = Listener(sock, settings, title, scoreboard, f"{slug or 'default'}-{os.getpid()}", snapshots)
    if foreground:  # supervised, the parent says it when the scoreboard has a heartbeat
        log.info("listener.ready", port=listener.port, ae_title=title, facility=slug)
    scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
    serve(listener, stop, settings.listeners.idle_seconds if on_demand else None)
    listener.server_close()
    drain(listener, settings.listeners.drain_seconds)
    listener.close_services()
    log.info("listener.stopped", port=listener.port, facility=slug)
    return ExitCode.DONE


class StopSignal:
    """SIGTERM as something that `poll` can wait for; the handler itself only sets a flag."""

    def __init__(self, *, interruptible: bool) -> None:
        self.received = False
        self.descriptor, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        # A terminal's Ctrl-C reaches the parent too, which stops us in order.
        signal.signal(signal.SIGINT, self._on_signal if interruptible else signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.received = True


class Stop(Protocol):
    """What ends `serve`: a flag, and a descriptor that becomes readable when it is set."""

    received: bool
    descriptor: int


def serve(listener: Listener, stop: Stop, idle_seconds: float | None) -> None:
    """Accept connections until stopped, or (`idle_seconds`) until none was open for so long."""
    poll = select.poll()
    poll.register(listener.socket, select.POLLIN)
    poll.register(stop.descriptor, select.POLLIN)
    quiet_since = time.monotonic()
    while not stop.received:
        wait = _WAIT_SECONDS if idle_seconds is None else min(_WAIT_SECONDS, idle_seconds / 4)
        ready = {descriptor for descriptor, _ in poll.poll(wait * 1000)}
        if listener.socket.fileno() in ready:
            quiet_since = time.monotonic()
            if listener.live and listener.has_siblings:
                time.sleep(_COURTESY_SECONDS)
            _take_one(listener)
        if listener.live:
            quiet_since = time.monotonic()
        elif idle_seconds is not None and time.monotonic() - quiet_since > idle_seconds:
            return


def _take_one(listener: Listener) -> None:
    try:
        client, address = listener.get_request()
    except BlockingIOError:
        return  # another worker was faster
    except OSError as error:
        listener.scoreboard.error(f"accept: {error.strerror}")
        log.error("listener.accept_failed", port=listener.port, reason=error.strerror)
        time.sleep(_NO_DESCRIPTORS_SECONDS)
        return
    listener.process_request(client, address)


def drain(listener: Listener, seconds: float) -> None:
    """Let every message in flight finish; after `seconds` break off what is left."""
    for association in listener.associations():
        association.drain()
    deadline = time.monotonic() + seconds
    while listener.live and time.monotonic() < deadline:
        time.sleep(_DRAIN_STEP_SECONDS)
    left = listener.associations()
    if left:
        log.warning("listener.drain_ended", port=listener.port, broken_off=len(left))
        for association in left:
            association.hang_up()
        deadline = time.monotonic() + 1.0
        while listener.live and time.monotonic() < deadline:
            time.sleep(_DRAIN_STEP_SECONDS)
