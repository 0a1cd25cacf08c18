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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, insert, select, update

from noctis.db.engine import reachable, reading
from noctis.db.models import Event, Facility, Study, StudyStatus
from noctis.repository import slots
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

    def complete(self, engine: Engine, quiet_seconds: float, spool: Path) -> int:
        """Complete those that have not changed for `quiet_seconds`; how many there were."""
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
                with reachable(engine), engine.begin() as connection:
                    completed += connection.execute(
                        update(Study)
                        .where(Study.id == row.id, Study.status == StudyStatus.RECEIVING)
                        .where(Study.last_received == row.last_received, Study.instances == row.instances)
                        .values(status=StudyStatus.COMPLETE, completed_at=now)
                    ).rowcount
        return completed


def complete_quiet_studies(engine: Engine, quiet_seconds: float, spool: Path) -> int:
    """Complete every study that has been quiet; how many there were.

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
        with reachable(engine), engine.begin() as connection:
            completed += connection.execute(
                update(Study)
                .where(Study.status == StudyStatus.RECEIVING, Study.last_received < before - quiet)
                .where(Study.facility_id == facility_id)
                .values(status=StudyStatus.COMPLETE, completed_at=now)
            ).rowcount
    return completed


def complete_now(engine: Engine, study_id: int, actor: str) -> bool:
    """Complete one study though it has not been quiet long enough; whether it was receiving. The event names who did.

    An instance that comes later re-opens it, as with any other.
    """
    with reachable(engine), engine.begin() as connection:
        found = connection.execute(
            select(Study.facility_id, Study.study_instance_uid, Study.instances)
            .where(Study.id == study_id, Study.status == StudyStatus.RECEIVING)
            .with_for_update()
        ).first()
        if found is None:
            return False
        connection.execute(
            update(Study)
            .where(Study.id == study_id)
            .values(status=StudyStatus.COMPLETE, completed_at=datetime.now(UTC))
        )
        connection.execute(
            insert(Event).values(
                actor=actor,
                action="study.completed",
                facility_id=found.facility_id,
                subject=found.study_instance_uid,
                detail={"instances": found.instances},
            )
        )
    return True


def oldest(spool: Path, slug: str) -> datetime | None:
    """When the oldest entry came that waits in a facility's spool; None when none waits."""
    came = slots.oldest_ns(spool, slug)
    return None if came is None else file_time(came)
