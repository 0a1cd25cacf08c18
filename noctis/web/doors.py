"""The doors: every listener and facility as it is now, put together once a second for whoever looks.

From the snapshot of the facilities, the supervisor (`sampler`), the files of open associations and the ledgers. Each
may be away: what the others know is shown all the same, and what is missing is None.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from noctis.config import Settings
from noctis.errors import NoctisError
from noctis.facilities.naming import CHECKING
from noctis.facilities.snapshot import Facility, SnapshotReader
from noctis.observability import live
from noctis.observability.live import LiveAssociation
from noctis.repository import counts
from noctis.repository.queries import archived_usage
from noctis.repository.usage import NONE, Usage
from noctis.web.cache import Cache
from noctis.web.sampler import Sampler

if TYPE_CHECKING:
    from noctis.web.access import Caller

NOW_SECONDS = 1.0
LEDGER_SECONDS = 5.0
KEPT_SECONDS = 15.0  # older counts are waited for
USAGE_SECONDS = 30.0
USAGES_KEPT = 500  # facilities
REFUSALS = timedelta(hours=24)
Told = dict[str | None, dict[str, Any]]  # slug → what the supervisor says of its listener
UNKNOWN, DISABLED = "unknown", "disabled"  # states beside the supervisor's (`supervisor.group.State`)


@dataclass(frozen=True)
class Door:
    """One port. `slug` None: the default one."""

    slug: str | None
    name: str
    ae_title: str
    port: int
    enabled: bool
    state: str
    error: str  # why it is not open, or its last error
    error_at: str | None
    workers: int  # processes that run
    live: int  # associations at this port
    live_default: int  # the facility's at the default port
    rate: float  # instances a second
    minutes: tuple[int, ...]  # instances in each of the last 60 minutes
    last_instance: datetime | None
    today: int | None  # studies since midnight; None: the database is away; so are these
    refusals: int | None  # callers turned away in the last 24 hours
    quarantine: int | None

    @property
    def is_well(self) -> bool:
        return self.state in ("running", "idle", DISABLED)


@dataclass(frozen=True)
class Overview:
    """All doors at one moment, the default one first, then by name."""

    at: datetime
    doors: tuple[Door, ...]
    supervisor_error: str  # "": it answers
    supervisor_fix: str
    database_error: str
    database_fix: str

    def door(self, slug: str | None) -> Door | None:
        return next((each for each in self.doors if each.slug == slug), None)

    def seen_by(self, caller: "Caller") -> list[Door]:
        """The doors that a caller may see: the default one is everybody's, and so nobody's alone."""
        if caller.facility_id is None:
            return list(self.doors)
        return [each for each in self.doors if each.slug is not None and caller.sees(each.slug)]


@dataclass(frozen=True)
class _Ledger:
    today: dict[str, int]
    refusals: dict[str | None, int]
    quarantine: dict[str, int]
    last: dict[str, datetime]


class Doors:
    """Safe from several threads."""

    def __init__(
        self, settings: Settings, engine: Callable[[], Engine], snapshots: SnapshotReader, sampler: Sampler
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._snapshots = snapshots
        self._sampler = sampler
        self._overview: Cache[None, Overview] = Cache(NOW_SECONDS, self._look)
        self._ledger: Cache[None, _Ledger] = Cache(LEDGER_SECONDS, self._count, kept=KEPT_SECONDS)
        self._usage: Cache[int, Usage] = Cache(USAGE_SECONDS, self._sum, USAGES_KEPT, kept=KEPT_SECONDS)
        self._live: Cache[None, list[LiveAssociation]] = Cache(NOW_SECONDS, lambda _: live.read(settings.paths.live))

    def overview(self) -> Overview:
        return self._overview.get(None)

    def live(self) -> list[LiveAssociation]:
        """Open associations of senders, the oldest first."""
        return [each for each in self._live.get(None) if each.calling != CHECKING]

    def usage(self, facility_id: int) -> Usage:
        """What a facility has in the archive: a sum over all its studies."""
        return self._usage.get(facility_id)

    def _sum(self, facility_id: int) -> Usage:
        return next(iter(archived_usage(self._engine(), facility_id).values()), NONE)

    def forget(self) -> None:
        """A facility was changed."""
        self._sampler.forget()
        self._overview.forget()
        self._ledger.forget()

    def _count(self, _: None) -> _Ledger:
        engine = self._engine()
        return _Ledger(
            counts.studies_since(engine, midnight()),
            counts.refusals_since(engine, datetime.now(UTC) - REFUSALS),
            counts.quarantined(engine),
            counts.last_received(engine),
        )

    def _look(self, _: None) -> Overview:
        sample = self._sampler.now()
        listeners = {each["facility"]: each for each in sample.listeners}
        ledger, database = None, ("", "")
        try:
            ledger = self._ledger.get(None)
        except NoctisError as error:
            database = error.message, error.fix or ""
        server = self._settings.server
        default = Facility(0, "", "Default port", server.ae_title, server.port)
        elsewhere = Counter(each.facility for each in self.live() if each.port == server.port)
        facilities = sorted(self._snapshots.current().facilities, key=lambda each: each.name.casefold())
        doors = [self._door(default, listeners, ledger, 0)]
        doors += [self._door(each, listeners, ledger, elsewhere[each.slug]) for each in facilities]
        return Overview(datetime.now(UTC), tuple(doors), sample.error, sample.fix, *database)

    def _door(self, facility: Facility, listeners: Told, ledger: _Ledger | None, elsewhere: int) -> Door:
        slug = facility.slug or None
        told = listeners.get(slug)
        port = told["port"] if told else facility.port
        last = datetime.fromisoformat(told["last_instance"]) if told and told["last_instance"] else None
        if ledger is not None and slug is not None and (known := ledger.last.get(slug)) is not None:
            last = known if last is None else max(last, known)
        return Door(
            slug=slug,
            name=facility.name,
            ae_title=told["ae_title"] if told and slug is None else facility.ae_title,
            port=port,
            enabled=facility.enabled,
            state=told["state"] if told else UNKNOWN if facility.enabled else DISABLED,
            error=told["last_error"] if told else "",
            error_at=told["last_error_at"] if told else None,
            workers=len(told["workers"]) if told else 0,
            live=told["live_associations"] if told else 0,
            live_default=elsewhere,
            rate=round(self._sampler.rate(port), 1),
            minutes=tuple(self._sampler.minutes(port)),
            last_instance=last,
            today=None if ledger is None or slug is None else ledger.today.get(slug, 0),
            refusals=None if ledger is None else ledger.refusals.get(slug, 0),
            quarantine=None if ledger is None or slug is None else ledger.quarantine.get(slug, 0),
        )


def midnight() -> datetime:
    """When today began, here."""
    return datetime.combine(date.today(), time()).astimezone()
