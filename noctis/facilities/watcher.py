"""The watcher: a small process that keeps `run/facilities.json` true to the facilities table.

It looks at the table every `supervisor.watch_seconds`, so that a change by plain SQL is followed within a second, and
at once on SIGHUP. The database being down is no error of the listeners': the last snapshot stays in force, as it does
while the schema is not this release's: a table that is half upgraded, or made anew, says nothing. The parent looks only
at the file, so a database that hangs never holds up the supervision.
"""

import contextlib
import os
import select
import signal
import time

import structlog
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.db.migrate import require_current
from noctis.errors import ExitCode, NoctisError, UpgradingError
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import Snapshot, write_if_changed
from noctis.observability.scoreboard import Counter, Scoreboard

log = structlog.get_logger()

RETRY_MAX_SECONDS = 5.0


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
    stopping = False
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def on_signal(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = stopping or number != signal.SIGHUP

    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    scoreboard.begin(os.getpid())
    engine = make_engine(settings)
    wait = settings.supervisor.watch_seconds
    refused: tuple[str, ...] = ()
    down = checked = False
    while not stopping:
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
            if down:
                down = False
                log.info("database.back")
            wait = settings.supervisor.watch_seconds
        except (NoctisError, OSError) as error:
            checked = False
            upgrading = isinstance(error, UpgradingError)
            if not upgrading:
                scoreboard.error(str(error))
            if not down:
                down = True
                if upgrading:
                    log.info("watcher.waiting", reason=str(error))
                else:
                    log.error("database.down", error=str(error))
            wait = min(max(wait * 2, 0.5), RETRY_MAX_SECONDS)
        scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
        with contextlib.suppress(InterruptedError):
            if select.select([wake_read], [], [], wait)[0]:
                os.read(wake_read, 4096)
    engine.dispose()
    return ExitCode.DONE
