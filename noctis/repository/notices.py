"""Notices: what the archiver tells the notifier, in the transaction of the thing itself, so that none is ever lost.

The notifier takes them out in the transaction that makes notifications of them. Where there is no notifier
(`notifications.enabled`) none is written. They hold no patient's attributes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select

from noctis.db.engine import reachable, reading
from noctis.db.models import Study
from noctis.db.notifying import Notice
from noctis.notifications import Kind

NOTICE: Table = Notice.__table__  # type: ignore[assignment]
STUDY_COLUMNS = (  # what an UPDATE of studies returns for `studies_complete`
    Study.id,
    Study.facility_id,
    Study.study_instance_uid,
    Study.modalities,
    Study.series,
    Study.instances,
    Study.bytes,
    Study.first_received,
    Study.last_received,
    Study.late_instances,
)
KEPT_DAYS = 30  # of a notice that no notifier takes
QUARANTINE_DAYS = 1  # an instance that came before is no news: the table is being made again


def studies_complete(connection: Connection, studies: Iterable[Any], at: datetime) -> None:
    """Tell of studies that are complete now; the rows are of `STUDY_COLUMNS`."""
    rows = [
        {
            "kind": Kind.STUDY_COMPLETE,
            "facility_id": each.facility_id,
            "at": at,
            "detail": {
                "study_id": each.id,
                "study_instance_uid": each.study_instance_uid,
                "modalities": [word for word in each.modalities.split("\\") if word],
                "series": each.series,
                "instances": each.instances,
                "bytes": each.bytes,
                "first_received": each.first_received.isoformat(),
                "last_received": each.last_received.isoformat(),
                "late_instances": each.late_instances,
            },
        }
        for each in studies
    ]
    if rows:
        connection.execute(insert(NOTICE), rows)


def study_late(connection: Connection, facility_id: int, study_id: int, uid: str, instances: int, late: int) -> None:
    """Tell that instances came for a study that was complete; `late` is how many did in all."""
    detail = {"study_id": study_id, "study_instance_uid": uid, "instances": instances, "late_instances": late}
    row = {"kind": Kind.LATE_ARRIVAL, "facility_id": facility_id, "at": datetime.now(UTC), "detail": detail}
    connection.execute(insert(NOTICE), row)


def quarantined(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Tell of new rows of quarantine: one notice a facility, with the reasons counted."""
    now = datetime.now(UTC)
    since = now - timedelta(days=QUARANTINE_DAYS)
    reasons: dict[int, Counter[str]] = {}
    for row in rows:
        if row["received_at"] >= since:
            reasons.setdefault(row["facility_id"], Counter())[row["reason"]] += 1
    for facility_id, counted in sorted(reasons.items()):
        detail = {"instances": counted.total(), "reasons": dict(counted)}
        row = {"kind": Kind.QUARANTINE, "facility_id": facility_id, "at": now, "detail": detail}
        connection.execute(insert(NOTICE), row)


def forget_old(engine: Engine) -> None:
    """What nobody took for `KEPT_DAYS` goes: no notifier runs here."""
    edge = datetime.now(UTC) - timedelta(days=KEPT_DAYS)
    with reading(engine) as connection:  # to write means to wait for the lock, and mostly there is nothing to do
        if connection.scalar(select(NOTICE.c.id).where(NOTICE.c.at < edge).limit(1)) is None:
            return
    with reachable(engine), engine.begin() as connection:
        connection.execute(delete(NOTICE).where(NOTICE.c.at < edge))
