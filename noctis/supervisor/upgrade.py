"""The upgrade of the schema beside receiving: a process that is there for as long as it takes, and ends.

Listeners receive meanwhile from the last snapshot; whoever needs the database waits for its schema. What cannot be done
now (the database is away or held locked, a disk has no room, another machine is at it) is tried again. SIGTERM and
SIGKILL end it at any moment, which the database makes as if nothing had been begun; the next start begins anew.
"""

import os
import time

from sqlalchemy import Engine

from noctis.config import Settings
from noctis.db import migrate, upgrading
from noctis.db.engine import make_engine
from noctis.db.upgrading import Progress
from noctis.errors import ExitCode, NoctisError
from noctis.facilities import recover
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.outage import Outage
from noctis.supervisor.activity import ACTOR

NAME = "upgrade"
RETRY_SECONDS = (0.5, 5.0)  # first and longest wait


def run(settings: Settings, scoreboard: Scoreboard) -> int:
    """Until the schema is this release's. Signals are left to the kernel: nothing here has to be tidied up."""
    scoreboard.begin(os.getpid())
    engine = make_engine(settings, pooled=False)
    outage = Outage(scoreboard, "database.upgrade_waits", "database.upgrade_went_on", RETRY_SECONDS)
    while True:
        scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
        try:
            bring_up(settings, engine, os.getppid())
        except (NoctisError, OSError) as error:
            time.sleep(outage.met(error))
        else:
            outage.over()
            return ExitCode.DONE


def bring_up(settings: Settings, engine: Engine, pid: int) -> None:
    """Bring the schema up to date, if it is not, and note how far it is.

    Parameters
    ----------
    pid
        The process that answers for it.

    Raises
    ------
    NoctisError, OSError
        It cannot be done now. The database is as it was.
    """
    state = migrate.schema_state(engine)
    if not state.up_to_date:
        progress = Progress(settings.paths, state.current, state.head, pid)
        try:
            reserve = settings.storage.reserve_bytes
            recover.upgrade(engine, settings, ACTOR, tell=progress.tell, reserve_bytes=reserve)
        except (NoctisError, OSError) as error:
            progress.waits(error)
            raise
    upgrading.forget(settings.paths)
