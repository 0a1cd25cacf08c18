"""Study completion: a study is complete when nothing came for it for `study_quiet_seconds`.

Never early. What waits in a facility's spool may belong to any of its studies. An entry that came at time t proves a
study quiet only if the study's last instance came more than the quiet time before t; so with the oldest waiting entry
at t, a study of that facility is completed only if its quiet time was over before t. A later instance re-opens the
study (`repository.index`). An instance that is still being received is not seen here: one that takes longer than the
quiet time comes late.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, select, update

from noctis.db.engine import reachable, reading
from noctis.db.models import Facility, Study, StudyStatus
from noctis.repository import slots
from noctis.repository.index_values import file_time
from noctis.repository.spool_entries import arrived_ns


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


def oldest(spool: Path, slug: str) -> datetime | None:
    """When the oldest entry came that waits in a facility's spool; None when none waits."""
    first = next(slots.all_waiting(spool, slug), None)
    return None if first is None else file_time(arrived_ns(first.name))
