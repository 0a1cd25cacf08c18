"""The watcher: a small process that keeps `run/facilities.json` true to the facilities table.

It looks at the table every `supervisor.watch_seconds`, so that a change by plain SQL is followed within a second, and
at once on SIGHUP. The database being down is no error of the listeners': the last snapshot stays in force, as it does
while the schema is not this release's: a table that is half upgraded, or made anew, says nothing. The parent looks only
at the file, so a database that hangs never holds up the supervision.
"""

import os
import time

import structlog
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.db.migrate import require_current
from noctis.errors import ExitCode, NoctisError
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import Snapshot, write_if_changed
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.outage import Outage
from noctis.stop import Stop

log = structlog.get_logger()

RETRY_SECONDS = (0.5, 5.0)  # at least the first wait while the database is away, and the longest


def refresh(settings: Settings, engine: Engine) -> Snapshot:
    """Read the table, write the snapshot if it says something else, and return it.

    Raises
    ------
    DatabaseError
        The table cannot be read.
    """
    seen: list[Snapshot] = []

    def read() -> Snapshot:
        seen.append(Registry(engine, settings, actor="watcher").snapshot())
        return seen[-1]

    if write_if_changed(settings.paths.snapshot, read):
        log.info("facilities.changed", facilities=len(seen[-1].facilities))
    return seen[-1]


def run(settings: Settings, scoreboard: Scoreboard) -> int:
    """Watch until SIGTERM or SIGINT."""
    stop = Stop(wake_on_hangup=True)
    scoreboard.begin(os.getpid())
    engine = make_engine(settings)
    often = settings.supervisor.watch_seconds
    retry = min(max(2 * often, RETRY_SECONDS[0]), RETRY_SECONDS[1])
    outage = Outage(scoreboard, "database.down", "database.back", (retry, RETRY_SECONDS[1]))
    refused: tuple[str, ...] = ()
    checked = False
    while not stop.received:
        try:
            if not checked:
                require_current(engine, settings.paths)
                checked = True
            snapshot = refresh(settings, engine)
            if snapshot.refused_rows != refused:
                refused = snapshot.refused_rows
                for row in refused:
                    log.error("facilities.row_refused", row=row)
                    scoreboard.error(row)
            outage.over()
            wait = often
        except (NoctisError, OSError) as error:
            checked = False
            wait = outage.met(error)
        scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
        stop.wait(wait)
    engine.dispose()
    stop.close()
    return ExitCode.DONE
