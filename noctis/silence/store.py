"""What is read of the database: what every sender did, facilities and devices, what operators said."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, func, select

from noctis.db.engine import reading
from noctis.db.models import ActivityDay, Device, Facility, Instance, Series, SilenceMute, Study, StudyStatus
from noctis.facilities.naming import IMPORTING
from noctis.silence.habit import WINDOW
from noctis.silence.state import Mute

Key = tuple[int, str]  # id of the facility, calling AE title
_ACTIVITY: Table = ActivityDay.__table__  # type: ignore[assignment]
WINDOW_DAYS = WINDOW // 24


@dataclass
class Sender:
    """What one sender did. Bit n of `bits`: something came in the hour n of the days from `base` on."""

    first_day: int
    last_at: datetime
    base: int
    bits: int = 0

    @classmethod
    def new(cls, last_at: datetime) -> "Sender":
        """Of one that was not known."""
        day = int(last_at.timestamp()) // 86_400
        return cls(day, last_at, day - WINDOW_DAYS)

    @property
    def last_day(self) -> int:
        return int(self.last_at.timestamp()) // 86_400

    def add(self, day: int, hours: int, last_at: datetime) -> None:
        self.last_at = max(self.last_at, last_at)
        self.first_day = min(self.first_day, day)
        if day >= self.base:
            self.bits |= hours << 24 * (day - self.base)

    def window(self) -> tuple[int, int]:
        """The window that ends before its last day: as bits, and the day with which it begins."""
        first = self.last_day - WINDOW_DAYS
        shift = 24 * (first - self.base)
        bits = self.bits >> shift if shift >= 0 else self.bits << -shift
        return bits & ((1 << WINDOW) - 1), first

    def joined(self, other: "Sender") -> "Sender":
        """Both as one."""
        base = min(self.base, other.base)
        bits = self.bits << 24 * (self.base - base) | other.bits << 24 * (other.base - base)
        return Sender(min(self.first_day, other.first_day), max(self.last_at, other.last_at), base, bits)


@dataclass(frozen=True)
class Place:
    """A facility, as far as silence goes."""

    id: int
    slug: str
    name: str
    enabled: bool
    devices: tuple[str, ...]  # AE titles


@dataclass(frozen=True)
class Known:
    """What is read at every look."""

    places: tuple[Place, ...]
    mutes: dict[Key, tuple[Mute, datetime | None]] = field(default_factory=dict)  # and its `since`
    receiving: frozenset[int] = frozenset()  # facilities of which a study comes in right now


def load_senders(engine: Engine, today: int, facilities: Collection[int] | None = None) -> dict[Key, Sender]:
    """Every sender (of these facilities; None: of all), with what it did in the window before its last day.

    Parameters
    ----------
    today
        Rows of a later day than tomorrow were made by a wrong clock and do not count.
    """
    columns = _ACTIVITY.c
    owner = (columns.facility_id, columns.calling)
    first, last = func.min(columns.day).label("first"), func.max(columns.day).label("last")
    believed = [columns.day <= today + 1]
    if facilities is not None:
        believed.append(columns.facility_id.in_(facilities))
    days = select(*owner, first, last).where(*believed).group_by(*owner).subquery()
    query = (
        select(*owner, columns.day, columns.hours, columns.last_at, days.c.first, days.c.last)
        .join(days, and_(*(column == days.c[column.name] for column in owner)))
        .where(columns.day >= days.c.last - WINDOW_DAYS, *believed)
    )
    senders: dict[Key, Sender] = {}
    with reading(engine) as connection:
        for facility_id, calling, day, hours, last_at, first_day, last_day in connection.execute(query):
            key = (facility_id, calling)
            sender = senders.get(key)
            if sender is None:
                sender = senders[key] = Sender(first_day, last_at, last_day - WINDOW_DAYS)
            sender.add(day, hours, last_at)
    return senders


def update_senders(engine: Engine, senders: dict[Key, Sender], since: int, today: int) -> None:
    """Add what came from the day `since` on."""
    columns = (_ACTIVITY.c[name] for name in ("facility_id", "calling", "day", "hours", "last_at"))
    with reading(engine) as connection:
        for facility_id, calling, day, hours, last_at in connection.execute(
            select(*columns).where(_ACTIVITY.c.day.between(since, today + 1))
        ):
            key = (facility_id, calling)
            if key not in senders:
                senders[key] = Sender(day, last_at, day - WINDOW_DAYS)
            senders[key].add(day, hours, last_at)


def look(engine: Engine) -> Known:
    """Facilities by name, what was said to their silence, and what comes in right now."""
    with reading(engine) as connection:
        devices: dict[int, list[str]] = {}
        for facility_id, title in connection.execute(
            select(Device.facility_id, Device.ae_title).distinct().order_by(Device.ae_title)
        ):
            devices.setdefault(facility_id, []).append(title)
        rows = connection.execute(
            select(Facility.id, Facility.slug, Facility.name, Facility.enabled)
            .where(Facility.removed_at.is_(None))
            .order_by(Facility.name, Facility.id)
        )
        places = tuple(Place(*row, tuple(devices.get(row.id, ()))) for row in rows)
        return Known(places, _mutes(connection), _receiving(connection))


def _mutes(connection: Connection) -> dict[Key, tuple[Mute, datetime | None]]:
    rows: Any = connection.execute(select(*SilenceMute.__table__.c))
    return {
        (row.facility_id, row.calling): (Mute(row.kind, row.until, row.actor, row.reason, row.at), row.since)
        for row in rows
    }


def _receiving(connection: Connection) -> frozenset[int]:
    query = select(Study.facility_id).distinct().where(Study.status == StudyStatus.RECEIVING)
    return frozenset(connection.scalars(query))


def coming_in(engine: Engine, facility_id: int) -> dict[str, datetime]:
    """When each sender last brought something for the studies that come in right now.

    An association may last for hours, and is in the ledger when it has ended; what it brings is not silence.
    """
    query = (
        select(Instance.calling_ae_title, func.max(Instance.received_at))
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        .where(Study.facility_id == facility_id, Study.status == StudyStatus.RECEIVING)
        .where(Instance.calling_ae_title != IMPORTING)
        .group_by(Instance.calling_ae_title)
    )
    with reading(engine) as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
