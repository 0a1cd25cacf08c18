"""What goes on: open and recent associations, the spool's backlog, the archiver, the disks and when they will be full.

How fast a disk fills is told by the studies whose first instance came in the last `DAYS` days: their files' bytes over
the time since the first of them, of the facilities whose folders lie on it. With less than a day of them nothing is
foretold.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from noctis.errors import NoctisError
from noctis.observability.live import LiveAssociation
from noctis.repository.counts import Growth, growth
from noctis.repository.queries import associations
from noctis.repository.room import Room, Space
from noctis.web import facility
from noctis.web.access import Caller
from noctis.web.cache import Cache
from noctis.web.metrics.observed import SILENT_SECONDS, look_at_spool
from noctis.web.sampler import ARCHIVER
from noctis.web.site import Site

DAYS = 14
LEAST = timedelta(days=1)
GROWTH_SECONDS = 60.0
SPOOL_SECONDS = 5.0
RECENT_SECONDS = 1.0
DAYS_MAX = 36_500  # a hundred years: more is not told


@dataclass(frozen=True)
class Backlog:
    """What is acknowledged and not filed yet."""

    pending: int
    oldest_seconds: float | None
    counted: bool  # by looking at the spool, as the archiver does not tell


@dataclass(frozen=True)
class Archiver:
    """The service that files. None: not known."""

    state: str
    rate: float  # instances a second, filed
    filed: int | None
    last_batch: int | None
    last_batch_at: str | None
    error: str
    silent_seconds: float | None  # since it last began a round; None: it tells of itself as it should


@dataclass(frozen=True)
class Disk:
    """One file system of the home."""

    holds: str
    folder: str
    free: int  # bytes; so are the next three
    total: int
    reserve: int
    a_day: int | None  # by which it fills; None: not known
    days: float | None  # until only the reserve is free; None: not known, or never
    note: str


@dataclass(frozen=True)
class Machine:
    """What is everybody's, and so no facility's alone."""

    spool: Backlog
    archiver: Archiver
    disks: tuple[Disk, ...]


class Watch:
    """What many tabs ask for, worked out once. Safe from several threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._growth: Cache[None, dict[str, Growth]] = Cache(
            GROWTH_SECONDS, lambda _: growth(site.engine, datetime.now(UTC) - timedelta(days=DAYS))
        )
        self._spool: Cache[None, Backlog] = Cache(SPOOL_SECONDS, self._count)
        self._machine: Cache[None, Machine] = Cache(RECENT_SECONDS, self._look)
        self._recent: Cache[tuple[int | None, int], list[dict[str, Any]]] = Cache(RECENT_SECONDS, self._ask, 500)

    def open(self, caller: Caller, slug: str | None = None) -> list[LiveAssociation]:
        """Open associations that the caller may see, of one facility if asked, the oldest first."""
        found = [each for each in self._site.doors.live() if caller.sees(each.facility)]
        return [each for each in found if slug is None or each.facility == slug]

    def id_of(self, slug: str) -> int:
        """The facility's id; of one that is not removed no database is asked."""
        found = self._site.snapshots.current().by_slug.get(slug)
        return found.id if found is not None else facility.known(self._site, slug, removed=True).id

    def recent(self, facility_id: int | None, limit: int) -> list[dict[str, Any]]:
        """Associations of senders that have ended, the latest first, with the `seconds` that each lasted."""
        return self._recent.get((facility_id, limit))

    def machine(self) -> Machine:
        return self._machine.get(None)

    def _ask(self, key: tuple[int | None, int]) -> list[dict[str, Any]]:
        facility_id, limit = key
        rows = associations(self._site.engine, limit, facility_id=facility_id, checks=False)
        for row in rows:
            lasted = datetime.fromisoformat(row["ended_at"]) - datetime.fromisoformat(row["started_at"])
            row["seconds"] = max(0.0, lasted.total_seconds())
        return rows

    def _look(self, _: None) -> Machine:
        sample = self._site.sampler.now()
        told = sample.status["archiver"] if sample.status else {}
        pending, oldest, beat = (told.get(name) for name in ("pending", "oldest_seconds", "heartbeat_seconds"))
        silent = beat if beat is not None and beat >= SILENT_SECONDS else None
        tells = beat is not None and silent is None
        spool = Backlog(pending, oldest, False) if tells and pending is not None else self._spool.get(None)
        archiver = Archiver(
            state=told.get("state", "unknown"),
            rate=round(self._site.sampler.rate(ARCHIVER), 1),
            filed=told.get("filed"),
            last_batch=told.get("last_batch"),
            last_batch_at=told.get("last_batch_at"),
            error=told.get("last_error", ""),
            silent_seconds=silent,
        )
        return Machine(spool, archiver, tuple(self._disks()))

    def _count(self, _: None) -> Backlog:
        waiting = look_at_spool(self._site.home.spool).values()
        oldest = min((at for _, at in waiting if at), default=None)
        seconds = None if oldest is None else max(0.0, time.time() - oldest / 1e9)
        return Backlog(sum(count for count, _ in waiting), seconds, True)

    def _disks(self) -> list[Disk]:
        site, reserve = self._site, self._site.settings.storage.reserve_bytes
        grown: dict[str, Growth] | None = None
        note = ""
        try:
            grown = self._growth.soon(None)
            note = "" if grown is not None else "being worked out"
        except NoctisError:
            note = "the database is away"
        room = Room(site.home.media)
        found: dict[int, tuple[str, Space, list[Growth]]] = {}
        try:
            shared = room.space()
            found[shared.device] = ("archive", shared, [])
            known = site.snapshots.current().by_slug
            for slug in known.keys() | (grown or {}).keys():
                space = room.space(slug)
                name = known[slug].name if slug in known else slug
                _, _, mine = found.setdefault(space.device, (f"archive of {name}", space, []))
                if grown is not None and slug in grown:
                    mine.append(grown[slug])
            spool = Room(site.home.spool).space()
            if spool.device not in found:
                found[spool.device] = ("spool", spool, [])
        except OSError as error:
            note = error.strerror or str(error)
        return [_disk(*each, reserve, None if grown is None else datetime.now(UTC), note) for each in found.values()]


def _disk(holds: str, space: Space, grown: list[Growth], reserve: int, now: datetime | None, note: str) -> Disk:
    a_day = days = None
    if now is not None and holds != "spool":
        a_day, days, note = foretell(space.free - reserve, grown, now)
    return Disk(holds, str(space.folder), space.free, space.total, reserve, a_day, days, note)


def foretell(room: int, grown: list[Growth], now: datetime) -> tuple[int | None, float | None, str]:
    """Bytes a day, days until `room` bytes are used up, and why one of them is not known."""
    firsts = [each.first for each in grown if each.first is not None]
    if not firsts or now - min(firsts) < LEAST:
        return None, None, f"not enough data: a day of studies is needed, of the last {DAYS} days"
    a_day = round(sum(each.bytes for each in grown) / ((now - min(firsts)) / timedelta(days=1)))
    if room <= 0:
        return a_day, 0.0, ""
    days = room / a_day if a_day else DAYS_MAX + 1
    return (a_day, round(days, 1), "") if days <= DAYS_MAX else (a_day, None, "more than a hundred years")
