"""Which studies an association brought, from the index: by the facility, the caller, and the time of arrival.

The index does not know an instance's association; the file does, in its file meta. So the index is asked for what came
in the time of each association from the same caller, many associations in one query, by way of the studies that were
touched since (an index on `study.last_received`). Where that is not exactly as many as the association acknowledged
(two associations of one caller at once, or instances that were there before), or one came so early that it may be of
the association before, each file says whose it is.
"""

import bisect
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from noctis.audit.rows import AssociationRow, Studies
from noctis.db.models import Instance, Series, Study, StudyStatus
from noctis.repository import slots

CLOCK_STEP = timedelta(milliseconds=20)  # a file's time lags behind the clock by less
ROWS_AT_ONCE = 2000
Key = tuple[str, str, str]  # called, calling, address


def studies_of(connection: Connection, media: Path, associations: Sequence[AssociationRow]) -> dict[int, Studies]:
    """What each association brought that was filed anew, by its id. Those whose instances are all filed, please."""
    found = {row.id: Studies() for row in associations}
    facilities: dict[int, list[AssociationRow]] = {}
    for row in associations:
        facilities.setdefault(row.facility_id, []).append(row)
    for facility_id, rows in facilities.items():
        unsure = _count(connection, facility_id, rows, found)
        for row in rows:
            if row.id in unsure or found[row.id].instances not in (0, row.instances):
                found[row.id] = _exactly(connection, media, row)
    return found


def _count(connection: Connection, facility_id: int, rows: list[AssociationRow], found: dict[int, Studies]) -> set[int]:
    """Add to `found` by caller and time; those associations that began only after something of theirs came."""
    unsure: set[int] = set()
    callers: dict[Key, list[AssociationRow]] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        callers.setdefault((row.called, row.calling, row.address), []).append(row)
    starts = {key: [row.started_at for row in some] for key, some in callers.items()}
    first = min(row.started_at for row in rows)
    last = max(row.ended_at for row in rows)
    for each in _arrived(connection, facility_id, first, last):
        key = (each.called_ae_title, each.calling_ae_title, each.peer_address)
        if key not in callers:
            continue
        begun = bisect.bisect_right(starts[key], each.received_at + CLOCK_STEP)
        for row in callers[key][:begun]:
            if row.ended_at >= each.received_at:
                found[row.id].add(each.patient_id, each.study_instance_uid, each.sop_class_uid)
                if each.received_at < row.started_at:
                    unsure.add(row.id)
    return unsure


def _exactly(connection: Connection, media: Path, row: AssociationRow) -> Studies:
    found = Studies()
    for each in _arrived(connection, row.facility_id, row.started_at, row.ended_at, calling=row.calling):
        meta = slots.look(media / each.path)
        if meta is not None and meta.origin.association == row.association_id:
            found.add(each.patient_id, each.study_instance_uid, each.sop_class_uid)
    return found


def imported(connection: Connection, facility_id: int, calling: str, first: datetime, last: datetime) -> Studies:
    """What came from one calling AE title, whatever its association."""
    found = Studies()
    for each in _arrived(connection, facility_id, first, last, calling=calling):
        found.add(each.patient_id, each.study_instance_uid, each.sop_class_uid)
    return found


def one_study(connection: Connection, facility_id: int, study_uid: str) -> Studies:
    """A study by its UID, with its patient if it is in the index."""
    found = Studies()
    patient = connection.scalar(
        select(Study.patient_id).where(Study.facility_id == facility_id, Study.study_instance_uid == study_uid)
    )
    found.patients[patient or ""] = {study_uid: {}}
    return found


def _arrived(
    connection: Connection, facility_id: int, first: datetime, last: datetime, *, calling: str | None = None
) -> Iterable[Any]:
    """The instances that came within this time."""
    query = (
        select(
            Study.patient_id,
            Study.study_instance_uid,
            Instance.sop_class_uid,
            Instance.called_ae_title,
            Instance.calling_ae_title,
            Instance.peer_address,
            Instance.received_at,
            Instance.path,
        )
        .select_from(Study)
        .join(Series, Series.study_id == Study.id)
        .join(Instance, Instance.series_id == Series.id)
        .where(
            # with every status named, the index (status, last_received) is of use; `+ 0`: and no other is
            Study.status.in_(list(StudyStatus)),
            Study.last_received >= first - CLOCK_STEP,
            Study.first_received <= last,
            Study.facility_id + 0 == facility_id,
            Instance.received_at.between(first - CLOCK_STEP, last),
        )
    )
    if calling is not None:
        query = query.where(Instance.calling_ae_title == calling)
    return connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE})
