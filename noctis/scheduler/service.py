"""The scheduler: a process of its own that verifies the archive when it is due, at the lowest priority.

It has no part in receiving or filing and waits behind both for processor and disk. SIGTERM ends it at once, in the
middle of a verify too, which only reads. One that was missed or interrupted is made up for a while after the next
start. With the database away, or a verify of an operator's under way, it tries again later.
"""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from noctis import priority
from noctis.config import Settings
from noctis.errors import NoctisError, UpgradingError
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.scheduler import times, verification

log = structlog.get_logger()

ACTOR = "scheduler"
LOOK_SECONDS = 30.0  # the clock may be set at any moment, so no wait is longer
START_SECONDS = 600.0  # after the start, before one that was missed is made up for
RETRY_SECONDS = 600.0
LOGGED = 1000  # findings, one by one


def run(settings: Settings, scoreboard: Scoreboard) -> int:
    """Until SIGTERM, which is left to the kernel: nothing here has to be tidied up."""
    priority.lower()
    scoreboard.begin(os.getpid())
    scheduler = Scheduler(settings, scoreboard)
    while True:
        scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
        scheduler.look()
        time.sleep(LOOK_SECONDS)


class Scheduler:
    """One home's schedule. `look` does what is due."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard) -> None:
        self._settings = settings
        self._scoreboard = scoreboard
        self._not_before = 0.0  # monotonic: no attempt before
        if self._is_due():  # missed
            self._not_before = time.monotonic() + START_SECONDS

    def _is_due(self) -> bool:
        time.tzset()  # the machine's zone may have been changed
        home, now = self._settings.paths, datetime.now(UTC)
        last = verification.read(home)
        if last is None:
            verification.write(home, verification.LastVerify(began=now.isoformat()))  # counted from now on
            return False
        if (trusted := times.trusted(last.began_at, now)) != last.began_at:
            log.warning("schedule.clock_was_ahead", last=last.began)
            began = trusted.isoformat()
            verification.write(home, replace(last, began=began, ended=last.ended and began))
        return times.is_due(self._settings.schedule, last.began_at, now)

    def look(self) -> None:
        """Verify, if it is due."""
        try:
            if time.monotonic() >= self._not_before and self._is_due():
                self._verify()
        except (verification.BusyError, UpgradingError):
            self._not_before = time.monotonic() + LOOK_SECONDS
        except (NoctisError, OSError) as error:
            self._not_before = time.monotonic() + RETRY_SECONDS
            self._scoreboard.error(str(error))
            log.error("schedule.verify_failed", error=str(error), again_in_seconds=RETRY_SECONDS)

    def _verify(self) -> None:
        from noctis.db.engine import make_engine
        from noctis.db.migrate import require_current
        from noctis.repository.verify import verify

        home = self._settings.paths
        with verification.only_one(home):
            began = datetime.now(UTC)
            log.info("archive.verify_started")
            engine = make_engine(self._settings, pooled=False)
            try:
                require_current(engine, home)
                report = verify(self._settings, engine)
            finally:
                engine.dispose()
            last = verification.conclude(home, report, began, ACTOR)
        for each in report.findings[:LOGGED]:
            log.error("archive.finding", kind=str(each.kind), facility=each.facility, subject=each.subject)
        say = log.info if report.sound else log.error
        say("archive.verified", files=last.files, rows=last.rows, bytes=last.bytes, findings=last.findings)
        if last.count:
            self._scoreboard.error(f"the archive's verify found {last.count} things: noctis event list")
