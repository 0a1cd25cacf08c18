"""Counts that pages show for all facilities at once: one query each, however many facilities and studies there are.

Each is asked facility by facility inside the one query, so that the index of (facility, time) is used from its end:
grouping would read it whole.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, func, select

from noctis.db.engine import reading
from noctis.db.models import AssociationRecord, Facility, Quarantined, Refusal, Study, UsedPort

NEWEST = 20
RECEIVED_MAX = 50_000  # associations that are looked at for the last hour


class Received(NamedTuple):
    """What one association brought."""

    port: int
    started_at: datetime
    ended_at: datetime
    instances: int


class Growth(NamedTuple):
    """What a facility's new studies have come to."""

    bytes: int
    first: datetime | None  # when the first of them came


def studies_since(engine: Engine, since: datetime) -> dict[str, int]:
    """Slug → studies whose first instance came at `since` or later; 0 too."""
    count = (
        select(func.count())
        .where(Study.facility_id == Facility.id, Study.first_received >= since)
        .correlate(Facility)
        .scalar_subquery()
    )
    with reading(engine) as connection:
        return {slug: int(found) for slug, found in connection.execute(select(Facility.slug, count))}


def last_received(engine: Engine) -> dict[str, datetime]:
    """Slug → when the newest instance came, of the `NEWEST` studies that began last; those without any are left out."""
    newest = (
        select(Study.last_received.label("at"))
        .where(Study.facility_id == Facility.id)
        .order_by(Study.first_received.desc())
        .limit(NEWEST)
        .correlate(Facility)
        .subquery()
    )
    last = select(func.max(newest.c.at)).correlate(Facility).scalar_subquery()
    with reading(engine) as connection:
        return {slug: at for slug, at in connection.execute(select(Facility.slug, last)) if at is not None}


def refusals_since(engine: Engine, since: datetime) -> dict[str | None, int]:
    """Slug → callers that were turned away at `since` or later, at any port that was ever the facility's; None: at
    others'. A caller that came again and again is one.
    """
    query = (
        select(UsedPort.slug, func.count())
        .select_from(Refusal)
        .outerjoin(UsedPort, UsedPort.port == Refusal.port)
        .where(Refusal.last_seen >= since)
        .group_by(UsedPort.slug)
    )
    with reading(engine) as connection:
        return {slug: int(found) for slug, found in connection.execute(query)}


def quarantined(engine: Engine) -> dict[str, int]:
    """Slug → instances in quarantine; those without any are left out."""
    counted = select(Quarantined.facility_id, func.count().label("found")).group_by(Quarantined.facility_id).subquery()
    query = select(Facility.slug, counted.c.found).join(counted, counted.c.facility_id == Facility.id)
    with reading(engine) as connection:
        return {slug: int(found) for slug, found in connection.execute(query)}


def growth(engine: Engine, since: datetime) -> dict[str, Growth]:
    """Slug → the bytes of studies whose first instance came at `since` or later, and when the first of them came."""
    mine = (Study.facility_id == Facility.id, Study.first_received >= since)
    total = select(func.sum(Study.bytes)).where(*mine).correlate(Facility).scalar_subquery()
    first = select(func.min(Study.first_received)).where(*mine).correlate(Facility).scalar_subquery()
    with reading(engine) as connection:
        rows = connection.execute(select(Facility.slug, total, first))
        return {slug: Growth(int(found or 0), when) for slug, found, when in rows if when is not None}


def received_since(engine: Engine, since: datetime) -> list[Received]:
    """Associations that ended at `since` or later and brought instances, the latest first."""
    row = AssociationRecord
    query = (
        select(row.port, row.started_at, row.ended_at, row.instances)
        .where(row.ended_at >= since, row.instances > 0)
        .order_by(row.ended_at.desc())
        .limit(RECEIVED_MAX)
    )
    with reading(engine) as connection:
        return [Received(*found) for found in connection.execute(query)]
