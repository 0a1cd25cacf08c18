"""Start, stop and unclean end of the supervisor, as events.

They go into the journal, so that a database that is down costs nothing; the archiver takes them. A stop is written when
all is over, and so reaches the table at the next start. An end without a stop (SIGKILL, a crash, a power cut) is seen
at the next start by the mark that was left behind, and becomes an event of its own.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any

from noctis import __version__
from noctis.home import Home, actor
from noctis.repository.journal import Journal

MARK = "supervisor.running"  # in run/, from a start to its stop
ACTOR = "supervisor"


class Activity:
    """One image of the supervisor's."""

    def __init__(self, home: Home) -> None:
        self._mark = home.run / MARK
        self._journal = Journal(home.journal, ACTOR)

    def started(self) -> None:
        lost = self._left()
        if lost is not None:
            self.note("application.lost", **lost)
        now = datetime.now(UTC).isoformat()
        self.note("application.started", version=__version__, pid=os.getpid(), by=actor())
        try:
            self._mark.write_text(json.dumps({"pid": os.getpid(), "started_at": now}), encoding="ascii")
        except OSError:
            return  # the disk is full: nothing that a start fails for

    def stopped(self, *, reload: bool = False) -> None:
        """All is over; `reload`: for a moment."""
        self.note("application.stopped", version=__version__, pid=os.getpid(), by=actor(), reload=reload)
        self._mark.unlink(missing_ok=True)

    def note(self, action: str, **detail: Any) -> None:
        self._journal.event(ACTOR, action, detail, subject="noctis")

    def _left(self) -> dict[str, Any] | None:
        try:
            left = json.loads(self._mark.read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}  # it was being written
        return {name: left[name] for name in ("pid", "started_at") if name in left} if isinstance(left, dict) else {}
