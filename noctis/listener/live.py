"""Tells others which associations are open here (`observability.live`), without their noticing.

A thread of its own, begun with the first association and ended some seconds after the last one: it looks once a second
at what each association counts for itself anyway, and asks the kernel how much has come. An association that is over
within a second costs nothing but a look whether the thread is there.
"""

import contextlib
import os
import socket
import struct
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from noctis.observability import live
from noctis.observability.live import LiveAssociation

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation
    from noctis.listener.connections import Connections

log = structlog.get_logger()

EVERY_SECONDS = 1.0
LINGER_SECONDS = 10.0  # after the last association: one that comes by then finds the thread
# struct tcp_info (linux/tcp.h): eight bytes, 24 words of 32 bits, then words of 64 bits
_TCP_INFO = struct.Struct("=52xI72xQ")  # tcpi_last_data_recv, milliseconds; tcpi_bytes_received


class LiveReport:
    """One listener's. `begun` may be called from several threads."""

    def __init__(self, folder: Path, port: int, connections: "Connections") -> None:
        self._folder = folder
        self._port = port
        self._connections = connections
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begun(self) -> None:
        """One more association is among the connections."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                thread = threading.Thread(target=self._run, name="live", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # no more threads: the next association tries again
                self._thread = thread

    def close(self) -> None:
        """No association is left."""
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(EVERY_SECONDS)

    def _run(self) -> None:
        pid = os.getpid()
        path, start = self._folder / live.name_of(self._port, pid), live.started(pid)
        said: object = None
        quiet = 0.0  # seconds without an association
        with contextlib.suppress(OSError):
            live.clear(self._folder, self._port)
        while not self._stop.wait(EVERY_SECONDS):
            try:
                found = [seen for each in self._connections.all() if (seen := look(each)) is not None]
                states = {each.state for each in found}
                if found and states != said:
                    now = datetime.now(UTC)
                    live.write(path, pid, start, [told(each, now) for each in found])
                elif states != said:
                    path.unlink(missing_ok=True)
                said = states
                quiet = 0.0 if found else quiet + EVERY_SECONDS
            except OSError as error:
                log.debug("live.not_written", reason=error.strerror or str(error))
                said = None
            except Exception:
                log.exception("live.fault")  # receiving does not care
            if quiet >= LINGER_SECONDS and self._may_end():
                return  # the file is gone already, and the next one is the next thread's
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def _may_end(self) -> bool:
        """First nobody relies on us, then it is looked whether anybody did: so none falls between."""
        with self._lock:
            thread, self._thread = self._thread, None
            if not self._connections.associated:
                return True
            self._thread = thread
            return False


class Seen(NamedTuple):
    """One association, as it is now."""

    association: "StreamingAssociation"
    facility: str  # slug
    received: int  # bytes over the connection
    silent: int  # milliseconds since the last of them
    counts: dict[str, int]

    @property
    def state(self) -> tuple[object, ...]:
        """Is another one when there is something new to tell."""
        return (self.association.association_id, self.received, *self.counts.values())


def look(association: "StreamingAssociation") -> Seen | None:
    """None: it is not, or no more, a facility's association."""
    facility, sock = association.accepted_facility, association.dul.socket.socket
    if facility is None or sock is None:
        return None
    counts = association.tally.counts()
    received, silent = counts["bytes"], 0
    with contextlib.suppress(OSError, struct.error, ValueError):  # closed meanwhile; an old kernel
        information = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        silent, received = _TCP_INFO.unpack(information)
    return Seen(association, facility.slug, received, silent, counts)


def told(seen: Seen, now: datetime) -> LiveAssociation:
    association, counts, origin = seen.association, seen.counts, seen.association.origin
    started = association.tally.started_at
    last_data = max(started, now - timedelta(milliseconds=seen.silent))  # the kernel counts whole milliseconds
    return LiveAssociation(
        association_id=association.association_id,
        facility=seen.facility,
        port=origin.port,
        called=origin.called,
        calling=origin.calling,
        address=origin.address,
        tls=association.connection is not None,
        started_at=started.isoformat(timespec="milliseconds"),
        last_data_at=last_data.isoformat(timespec="milliseconds"),
        received=seen.received,
        **counts,
    )
