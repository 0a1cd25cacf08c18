"""What health and metrics are made of: each part looked at in bounded time, and kept for a second or more.

Nothing is asked of the database but whether it is there: no figure costs a query for each facility.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from noctis.checks.probe import PATIENCE_SECONDS, Probe, Seen, results
from noctis.checks.status import Place, look_at_database, space_of, tls_status, verify_status
from noctis.config import Settings
from noctis.db.engine import make_engine, reading, sqlite_file
from noctis.errors import NoctisError
from noctis.facilities.snapshot import SnapshotReader
from noctis.repository import slots
from noctis.repository.spool_entries import arrived_ns
from noctis.supervisor.control import Control

FRESH_SECONDS = 1.0
SIZE_SECONDS = 60.0  # between two looks at the database's size
SPOOL_SECONDS = 15.0  # between two looks at the spool while no archiver tells of it
CERTIFICATES_SECONDS = 60.0
SILENT_SECONDS = 15.0  # an archiver that has said nothing for so long does not tell of the spool

Waiting = dict[str, tuple[int, int]]  # slug → instances, and when the oldest came (ns since the epoch)


@dataclass(frozen=True)
class Database:
    """How the database answered."""

    state: dict[str, Any]  # as `checks.status.look_at_database`
    ping_seconds: float
    size: int | None  # bytes


class Observed:
    """One home's probes. Safe from several threads."""

    def __init__(self, settings: Settings, snapshots: SnapshotReader) -> None:
        control = Control(settings.paths, PATIENCE_SECONDS)
        self.place = Place(settings, control, snapshots)
        self._engine = make_engine(settings, pooled=False)  # not the pages': its pool may be used up
        self._size: int | None = None
        self._size_at = -SIZE_SECONDS  # monotonic
        self.supervisor: Probe[dict[str, Any]] = Probe("the supervisor", control.metrics, FRESH_SECONDS)
        self.database = Probe("the database", self._look_at_database, FRESH_SECONDS)
        self.disks = Probe("the disks", self._look_at_disks, FRESH_SECONDS)
        self.spool = Probe("the spool", self._look_at_spool, SPOOL_SECONDS)
        self.certificates = Probe("the certificates", self._look_at_certificates, CERTIFICATES_SECONDS)

    def look(self) -> tuple[Seen[dict[str, Any]], Seen[Database], Seen[dict[str, dict[str, Any]]]]:
        """Supervisor, database and disks, side by side."""
        supervisor, database, disks = results(self.supervisor, self.database, self.disks)
        return supervisor, database, disks

    def verify(self) -> dict[str, Any]:
        return verify_status(self.place)

    def waiting(self, supervisor: dict[str, Any] | None) -> Waiting | None:
        """What waits in the spool: as the archiver says, or counted here while none does; None: not known."""
        told = supervisor["services"].get("archiver") if supervisor else None
        if told is not None and time.time() - told["counts"].get("heartbeat_ns", 0) / 1e9 < SILENT_SECONDS:
            return {
                slug: (counts.get("pending", 0), counts.get("oldest_ns", 0))
                for slug, counts in told["facilities"].items()
            }
        return self.spool.result().value

    def _look_at_database(self) -> Database:
        begun = time.monotonic()
        state = look_at_database(self._engine, self.place.home)
        seconds = time.monotonic() - begun
        if state["reachable"] and time.monotonic() - self._size_at >= SIZE_SECONDS:
            self._size, self._size_at = size_of(self._engine), time.monotonic()
        return Database(state, seconds, self._size)

    def _look_at_disks(self) -> dict[str, dict[str, Any]]:
        home = self.place.home
        return {"archive": space_of(self.place, home.media), "spool": space_of(self.place, home.spool)}

    def _look_at_certificates(self) -> list[dict[str, Any]]:
        settings = self.place.settings
        if settings.web.certificate is None:
            return tls_status(self.place)
        from noctis.tls.inventory import of_pages

        own = of_pages(settings)
        return tls_status(self.place) + ([own.as_json()] if own else [])

    def _look_at_spool(self) -> Waiting:
        return look_at_spool(self.place.home.spool)

    def close(self) -> None:
        self._engine.dispose()


def look_at_spool(root: Path) -> Waiting:
    """What waits below the spool's folder, counted."""
    return {folder.parent.name: _waiting(root, folder.parent.name) for folder in root.glob("*/new")}


def _waiting(root: Path, slug: str) -> tuple[int, int]:
    names = [entry.name for entry in slots.all_waiting(root, slug)]
    return len(names), arrived_ns(names[0]) if names else 0


def size_of(engine: Engine) -> int | None:
    """Bytes that the database takes; None: it does not say."""
    if (file := sqlite_file(engine)) is not None:
        paths = [file, file.with_name(f"{file.name}-wal")]
        return sum(path.stat().st_size for path in paths if path.exists())
    try:
        with reading(engine) as connection:
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    except NoctisError:
        return None
