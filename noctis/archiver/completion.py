"""Study completion: a study is complete when nothing came for it for `study_quiet_seconds`.

Never early. What waits in a facility's spool may belong to any of its studies. An entry that came at time t proves a
study quiet only if the study's last instance came more than the quiet time before t; so with the oldest waiting entry
at t, a study of that facility is completed only if its quiet time was over before t. A later instance re-opens the
study (`repository.index`). An instance that is still being received is not seen here: one that takes longer than the
quiet time comes late.

Times of arrival are the wall clock's. A study whose last instance came while the clock was ahead would stay open until
the clock is there again: such a one is timed by the monotonic clock from when it was first met (`Ahead`).
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, insert, select, update

from noctis.db.engine import reachable, reading
from noctis.db.models import Event, Facility, Study, StudyStatus
from noctis.repository import notices, slots
from noctis.repository.index_values import file_time

AHEAD_MAX = 1000  # studies that are looked at in one go


@dataclass(frozen=True)
class _Met:
    """How a study was when it was first met, and when."""

    state: tuple[datetime, int]  # its last instance, and how many it has
    at: datetime
    monotonic: float


class Ahead:
    """Studies whose last instance lies in the future, of one process; they are few, and of a clock that was stepped."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._met: dict[int, _Met] = {}  # by the study's id

    def complete(self, engine: Engine, quiet_seconds: float, spool: Path, *, tell: bool = True) -> int:
        """Complete those that have not changed for `quiet_seconds`; how many there were. `tell`: the notifier."""
        now, monotonic = datetime.now(UTC), self._clock()
        with reading(engine) as connection:
            rows = connection.execute(
                select(Study.id, Facility.slug, Study.last_received, Study.instances)
                .join(Facility, Facility.id == Study.facility_id)
                .where(Study.status == StudyStatus.RECEIVING, Study.last_received > now)
                .limit(AHEAD_MAX)
            ).all()
        met, self._met = self._met, {}
        oldest_of = functools.cache(lambda slug: oldest(spool, slug))  # looked for once, and only when a study is due
        completed = 0
        for row in rows:
            state = (row.last_received, row.instances)
            known = met.get(row.id)
            if known is None or known.state != state or known.at > now:
                known = _Met(state, now, monotonic)
            self._met[row.id] = known
            if monotonic - known.monotonic < quiet_seconds:
                continue
            waiting = oldest_of(row.slug)
            if waiting is None or waiting > known.at + timedelta(seconds=quiet_seconds):
                unchanged = (
                    Study.id == row.id,
                    Study.last_received == row.last_received,
                    Study.instances == row.instances,
                )
                completed += complete(engine, unchanged, now, tell=tell)
        return completed


def complete(engine: Engine, which: Sequence[ColumnElement[bool]], now: datetime, *, tell: bool = True) -> int:
    """Complete the studies that are still receiving and meet these conditions, and tell the notifier in the same
    transaction; how many there were."""
    with reachable(engine), engine.begin() as connection:
        return len(_complete(connection, which, now, tell=tell))


def complete_now(engine: Engine, study_id: int, actor: str, *, tell: bool = True) -> bool:
    """Complete one study though it has not been quiet long enough; whether it was receiving. The event names who did.

    An instance that comes later re-opens it, as with any other.
    """
    with reachable(engine), engine.begin() as connection:
        found = _complete(connection, (Study.id == study_id,), datetime.now(UTC), tell=tell)
        for row in found:
            event = {"actor": actor, "action": "study.completed", "subject": row.study_instance_uid}
            detail = {"instances": row.instances}
            connection.execute(insert(Event).values(facility_id=row.facility_id, detail=detail, **event))
    return bool(found)


def _complete(
    connection: Connection, which: Sequence[ColumnElement[bool]], now: datetime, *, tell: bool
) -> Sequence[Any]:
    rows = connection.execute(
        update(Study)
        .where(Study.status == StudyStatus.RECEIVING, *which)
        .values(status=StudyStatus.COMPLETE, completed_at=now)
        .returning(*notices.STUDY_COLUMNS)
    ).all()
    if tell:
        notices.studies_complete(connection, rows, now)
    return rows


def complete_quiet_studies(engine: Engine, quiet_seconds: float, spool: Path, *, tell: bool = True) -> int:
    """Complete every study that has been quiet; how many there were. `tell`: the notifier.

    Raises
    ------
    DatabaseError
        It cannot be reached; the next call does it.
    """
    now = datetime.now(UTC)
    quiet = timedelta(seconds=quiet_seconds)
    due = (Study.status == StudyStatus.RECEIVING, Study.last_received < now - quiet)
    with reading(engine) as connection:
        facilities = connection.execute(
            select(Facility.id, Facility.slug)
            .join(Study, Study.facility_id == Facility.id)
            .where(*due)
            .group_by(Facility.id, Facility.slug)
        ).all()
    completed = 0
    for facility_id, slug in facilities:
        waiting = oldest(spool, slug)
        before = now if waiting is None else min(now, waiting)
        quiet_ones = (Study.facility_id == facility_id, Study.last_received < before - quiet)
        completed += complete(engine, quiet_ones, now, tell=tell)
    return completed


def oldest(spool: Path, slug: str) -> datetime | None:
    """When the oldest entry came that waits in a facility's spool; None when none waits."""
    came = slots.oldest_ns(spool, slug)
    return None if came is None else file_time(came)
