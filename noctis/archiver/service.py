"""The archiver's life: gather hints and scan the spool, file batches, write the ledgers, complete studies.

A hint makes it fast, the scan makes it sure; both end in one line of entries, and a batch is as large as what waits.
With the database or the archive away it waits, the spool grows, and everything is filed once it is back; where the disk
of a facility's archive is full, that facility's instances wait alone. SIGTERM ends
it after the batch in hand, with exit code 0; SIGKILL at any moment loses nothing. Opens nothing before `run`.
"""

import os
import time
from collections import Counter as Tally
from contextlib import closing
from dataclasses import dataclass

import structlog

from noctis.archiver import activity, completion, ledger
from noctis.archiver.backlog import Backlog
from noctis.archiver.filing import Batch, Filer, Result
from noctis.archiver.usage import UsageWriter
from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.db.migrate import require_current
from noctis.errors import ExitCode, NoctisError
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.observability.words import BATCH, LAG
from noctis.outage import Outage
from noctis.repository import notices, quarantine_rows, spool
from noctis.repository.hints import Hint, HintReceiver
from noctis.repository.quarantine import Quarantine
from noctis.repository.spool import SpoolEntry
from noctis.repository.spool_entries import arrived_ns
from noctis.stop import Stop

log = structlog.get_logger()

BACKOFF_SECONDS = (0.2, 5.0)  # first and longest wait while the database is away
HELD_SECONDS = 10.0  # until an entry that could not be filed is tried again
GATHER_SECONDS = 0.05  # from the start of one batch to the next: under load a few large ones cost far less than many
# A batch changes as many pages of a large index as it has instances. They must all be held until the commit: what does
# not find room is written into the WAL before, and read again.
INDEX_CACHE_KIB = 16 << 10
LEDGER_SECONDS = 0.5
COMPLETION_SECONDS = 1.0
QUARANTINE_SECONDS = 30.0
RECOVERY_SECONDS = 5.0
TELL_SECONDS = 1.0  # between two looks at what waits of each facility
TELL_SHARE = 50  # which take at most one part in so many of the time
FORGET_SECONDS = 3600.0


_COUNTED = {  # besides what is filed
    Result.DUPLICATE: (Counter.DUPLICATES,),
    Result.CONFLICT: (Counter.CONFLICTS, Counter.QUARANTINED),
    Result.REPLACED: (Counter.CONFLICTS, Counter.QUARANTINED),
    Result.QUARANTINED: (Counter.QUARANTINED,),
}


def run(settings: Settings, scoreboard: Scoreboard) -> int:
    """The whole life of the process, until SIGTERM or SIGINT."""
    with closing(Stop()) as stop:
        scoreboard.begin(os.getpid())
        with closing(Archiver(settings, scoreboard)) as archiver:
            archiver.serve(stop)
    log.info("archiver.stopped")
    return ExitCode.DONE


@dataclass
class _Due:
    """Something to be done every so many seconds; the first time at once."""

    every: float
    at: float = 0.0  # monotonic

    def now(self) -> bool:
        if time.monotonic() < self.at:
            return False
        self.at = time.monotonic() + self.every
        return True


class Archiver:
    """One home's archiver. `turn` is one round of its loop; one thread at a time."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard) -> None:
        home = settings.paths
        self._settings = settings
        self._home = home
        self._scoreboard = scoreboard
        self._engine = make_engine(settings, cache_kib=INDEX_CACHE_KIB)
        self._filer = Filer(self._engine, settings)
        self._quarantine = Quarantine(home.quarantine)
        self._backlog = Backlog(home.spool, settings.archiver.scan_seconds)
        self._hints = HintReceiver(home.hints)
        self._checked = False  # the schema is ours
        self._outage = Outage(scoreboard, "archiver.waiting", "archiver.back", BACKOFF_SECONDS)
        self._unknown: set[str] = set()  # slugs that were complained of
        self._full: set[str] = set()  # slugs for which the archive has no room, which was told
        self._usage = UsageWriter(self._engine, settings)
        self._tell = settings.notifications.enabled  # there is a notifier
        self._ledgers = _Due(LEDGER_SECONDS)
        self._completion = _Due(COMPLETION_SECONDS)
        self._ahead = completion.Ahead()
        self._quarantine_sync = _Due(QUARANTINE_SECONDS)
        self._recovery = _Due(RECOVERY_SECONDS)
        self._forget = _Due(FORGET_SECONDS)
        self._tell_at = 0.0  # monotonic: what waits of each facility is not told before
        self._told: set[str] = set()  # slugs of which something waited

    def close(self) -> None:
        self._hints.close()
        self._engine.dispose()

    def serve(self, stop: Stop) -> None:
        """Go on until told to stop."""
        self._filer.clear_incoming()
        log.info("archiver.ready", spool=str(self._home.spool))
        while not stop.received:
            self._scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
            try:
                self._look()
                if not self._checked:
                    require_current(self._engine, self._home)
                    self._checked = True
                begun = time.monotonic()
                busy = self.turn()
                self._outage.over(pending=self._backlog.pending)
            except (NoctisError, OSError) as error:
                self._checked = False
                stop.wait(self._outage.met(error))  # hints that come meanwhile are taken, the spool is looked at
                continue
            if not busy and not stop.received:
                stop.wait(self._idle_seconds(), self._hints.fileno())
                stop.wait(begun + GATHER_SECONDS - time.monotonic())

    def turn(self) -> bool:
        """File one batch and do what is due; whether there is more to file at once.

        Raises
        ------
        DatabaseError, StorageError, OSError
            The database or the archive is away. Nothing is lost.
        """
        entries = self._backlog.take(self._settings.archiver.batch_instances)
        if entries:
            try:
                self._file(entries)
            except BaseException:
                self._backlog.give_back(entries)
                raise
        self._housekeeping()
        return self._backlog.ready()

    def _idle_seconds(self) -> float:
        return min(self._backlog.seconds_to_scan(), LEDGER_SECONDS)

    # -- gathering

    def _look(self) -> None:
        """What hints told of since the last look and, when it is due, what a scan finds."""
        for hint in self._hints.take():
            self._backlog.add(hint)
        if self._recovery.now():
            found = spool.recover(self._home.spool)
            if found.promoted or found.removed:
                log.info("spool.recovered", promoted=found.promoted, removed=found.removed)
        if self._backlog.scan_is_due():
            self._backlog.scan()
        self._usage.keep(reachable=not self._outage.lasts)
        self._report()

    def _report(self) -> None:
        self._scoreboard.set(Counter.PENDING, self._backlog.pending)
        self._scoreboard.set(Counter.OLDEST_NS, self._backlog.oldest_ns)
        begun = time.monotonic()
        if begun >= self._tell_at:
            self._report_facilities()
            self._tell_at = time.monotonic() + max(TELL_SECONDS, TELL_SHARE * (time.monotonic() - begun))

    def _report_facilities(self) -> None:
        """What waits of each, where the board has a row for it."""
        waiting = self._backlog.by_facility()
        for slug in waiting.keys() | self._told:
            if (row := self._scoreboard.of(slug)) is not self._scoreboard:
                pending, oldest = waiting.get(slug, (0, 0))
                row.set(Counter.PENDING, pending)
                row.set(Counter.OLDEST_NS, oldest)
        self._told = set(waiting)

    # -- filing

    def _file(self, entries: list[tuple[SpoolEntry, Hint | None]]) -> None:
        begun = time.monotonic()
        batch = self._filer.file(entries)
        self._count(batch)
        for entry, result in batch.results.items():
            if result is Result.HELD:
                self._backlog.hold(entry, HELD_SECONDS)
            elif result not in (Result.UNKNOWN_FACILITY, Result.NO_ROOM):
                self._backlog.done(entry)
        unknown = {entry.slug for entry, result in batch.results.items() if result is Result.UNKNOWN_FACILITY}
        full = {entry.slug for entry, result in batch.results.items() if result is Result.NO_ROOM}
        for slug in sorted(unknown | full):  # once: each call goes through everything that waits
            self._backlog.hold_facility(slug, HELD_SECONDS)
        for slug in sorted(unknown):
            self._complain(slug)
        for error in batch.errors:
            self._scoreboard.error(error)
        for slug, usage in batch.usage.items():
            self._usage.filed(slug, usage)
        self._tell_of_room(batch)
        self._report()
        counts = Tally(batch.results.values())
        log.info(
            "archiver.batch_filed",
            seconds=round(time.monotonic() - begun, 4),
            filed=counts[Result.FILED],
            duplicates=counts[Result.DUPLICATE],
            **{
                result.value.replace("-", "_"): counts[result]
                for result in (Result.REPLACED, Result.CONFLICT, Result.QUARANTINED, Result.HELD, Result.NO_ROOM)
                if counts[result]
            },
            pending=self._backlog.pending,
        )

    def _count(self, batch: Batch) -> None:
        board, now = self._scoreboard, time.time_ns()
        for slug, usage in batch.usage.items():
            board.of(slug).stored(usage.bytes, usage.instances)
        for (slug, result), count in Tally((entry.slug, result) for entry, result in batch.results.items()).items():
            for counter in _COUNTED.get(result, ()):
                board.of(slug).add(counter, count)
        for entry, result in batch.results.items():
            if result in (Result.FILED, Result.REPLACED) and (came := arrived_ns(entry.name)):
                board.observe(LAG, max(0.0, (now - came) / 1e9))
        board.observe(BATCH, len(batch.results))
        board.add(Counter.BATCHES)
        board.set(Counter.LAST_BATCH, len(batch.results))
        board.set(Counter.LAST_BATCH_NS, now)

    def _complain(self, slug: str) -> None:
        if slug not in self._unknown:
            self._unknown.add(slug)
            self._scoreboard.error(f"the spool has instances of {slug!r}, which is not in the facilities table")
            log.warning("archiver.unknown_facility", facility=slug, fix="add its row again; its instances wait")

    def _tell_of_room(self, batch: Batch) -> None:
        """Once, when there is none any more for a facility, and when there is again."""
        for slug, error in batch.full.items():
            self._scoreboard.error(f"{error.message}; {error.fix}")
            if slug not in self._full:
                self._full.add(slug)
                log.error("archiver.no_room", facility=slug, reason=error.message, fix=error.fix)
        for slug in self._full & batch.usage.keys() - batch.full.keys():
            self._full.discard(slug)
            log.info("archiver.room_again", facility=slug)

    # -- what else is due

    def _housekeeping(self) -> None:
        if self._ledgers.now():
            kinds = ledger.write_ledgers(self._engine, self._home.journal)
            if ledger.QUARANTINED in kinds:
                self._quarantine_sync.at = 0.0
        if self._quarantine_sync.now():
            quarantine_rows.sync(self._engine, self._quarantine, tell=self._tell)
        if self._completion.now():
            quiet_seconds = self._settings.archiver.study_quiet_seconds
            spool = self._home.spool
            completed = completion.complete_quiet_studies(self._engine, quiet_seconds, spool, tell=self._tell)
            completed += self._ahead.complete(self._engine, quiet_seconds, spool, tell=self._tell)
            if completed:
                log.info("archiver.studies_completed", studies=completed)
        if self._forget.now():
            ledger.forget_old_associations(self._engine)
            activity.forget_old_activity(self._engine)
            notices.forget_old(self._engine)
