"""What the archiver tells the listeners of usage: `run/usage.json`, while any quota is in force.

Takes what was filed, batch by batch, and counts what waits in the spool. The sums over the index are read at the start
and every half minute, as others file too; in between what was filed here is added to them. With the database away the
last sums are told on, with what waits now: nothing moves from the one to the other then. Counting takes a small part of
the time: a long spool is counted the more rarely.
"""

import contextlib
import time

from sqlalchemy import Engine

from noctis.config import Settings
from noctis.errors import DatabaseError
from noctis.facilities.snapshot import Snapshot, SnapshotReader
from noctis.repository.queries import archived_usage
from noctis.repository.usage import NONE, Usage, UsageFile, all_waiting, any_quota, parse, write

WRITE_SECONDS = 2.0  # between two files
SUMS_SECONDS = 30.0  # between two looks at the index
_SHARE = 20  # counting takes at most one part in so many of the time


class UsageWriter:
    """Keeps the file. One thread at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._storage = settings.storage
        self._path = settings.paths.usage
        self._spool = settings.paths.spool
        self._snapshots = SnapshotReader(settings.paths.snapshot)
        self._seen: Snapshot | None = None
        self._wanted = False
        self._archived: dict[str, Usage] | None = None  # None: not known yet
        self._sums_at = 0.0  # monotonic: not before
        self._write_at = 0.0
        self._written = UsageFile()
        self._settled = False  # the last file says the same as the one before

    def filed(self, slug: str, usage: Usage) -> None:
        """So much was filed for a facility."""
        if self._archived is not None:
            self._archived[slug] = self._archived.get(slug, NONE).plus(usage)

    def keep(self, *, reachable: bool) -> None:
        """Write the file, when it is due and a quota is in force. Never raises for want of disk or database.

        Parameters
        ----------
        reachable
            Whether the database may be asked: an attempt may take seconds.
        """
        begun = time.monotonic()
        if begun < self._write_at or not self._is_wanted():
            return
        with contextlib.suppress(OSError):
            as_of = time.time_ns()
            waiting = all_waiting(self._spool)
            if reachable and begun >= self._sums_at:
                self._ask(begun)
            if self._archived is None:
                self._archived = self._of_the_last_file()
            if self._archived is not None:
                self._write(UsageFile(as_of, dict(self._archived), waiting))
        self._write_at = time.monotonic() + max(WRITE_SECONDS, _SHARE * (time.monotonic() - begun))

    def _ask(self, begun: float) -> None:
        with contextlib.suppress(DatabaseError):  # whoever files tells
            self._archived = archived_usage(self._engine)
            self._sums_at = time.monotonic() + max(SUMS_SECONDS, _SHARE * (time.monotonic() - begun))

    def _of_the_last_file(self) -> dict[str, Usage] | None:
        """What an archiver before us knew."""
        with contextlib.suppress(OSError, ValueError):
            return dict(parse(self._path.read_bytes()).archived)
        return None

    def _write(self, usage: UsageFile) -> None:
        """Once more after the last change: what was acknowledged during a count is in it and after it."""
        same = (usage.archived, usage.waiting) == (self._written.archived, self._written.waiting)
        if not (same and self._settled):
            write(self._path, usage)
            self._written, self._settled = usage, same

    def _is_wanted(self) -> bool:
        """Whether any quota is in force. One that is set while we run is counted from the next turn on."""
        snapshot = self._snapshots.current()
        if snapshot is not self._seen:
            self._seen = snapshot
            self._wanted = any_quota(snapshot.facilities, self._storage)
        return self._wanted
