"""From the archiver's notices to notifications, and the notices out: one transaction, so none is lost or told twice."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, select

from noctis.config import Settings
from noctis.db.engine import reachable, reading
from noctis.db.models import Facility, Study
from noctis.db.notifying import Notice
from noctis.notifications import Kind
from noctis.notify import outbox
from noctis.notify.outbox import News
from noctis.notify.rules import Rules
from noctis.text import counted, size

NOTICE: Table = Notice.__table__  # type: ignore[assignment]
TAKEN_MAX = 500  # in one transaction
GROUPED_MAX = 10_000  # of quarantine


class Intake:
    """One database's notices. One thread."""

    def __init__(self, engine: Engine, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._settings = settings
        self._rules = Rules(engine, settings, "notifier")
        self._clock = clock
        self._told_at: dict[int, float] = {}  # facility's id → when it was told of its quarantine

    def take(self) -> bool:
        """Take what waits; whether there may be more."""
        held = self._held()
        with reading(self._engine) as connection:
            waiting = self._rows(connection, held)
        if not waiting:
            return False
        with reachable(self._engine), self._engine.begin() as connection:
            rows = self._rows(connection, held)
            outbox.enqueue(connection, self._rules.read(connection), self._news(connection, rows))
            ids = [row.id for row in rows]
            for start in range(0, len(ids), TAKEN_MAX):
                connection.execute(delete(NOTICE).where(NOTICE.c.id.in_(ids[start : start + TAKEN_MAX])))
        now = self._clock()
        self._told_at |= {row.facility_id: now for row in rows if row.kind == Kind.QUARANTINE}
        return len(rows) >= TAKEN_MAX

    def _held(self) -> list[int]:
        """Facilities whose quarantine was told of a moment ago: what comes now is told of together, later."""
        edge = self._clock() - self._settings.notifications.group_seconds
        self._told_at = {id_: at for id_, at in self._told_at.items() if at > edge}
        return list(self._told_at)

    def _rows(self, connection: Connection, held: list[int]) -> list[Any]:
        query = (
            select(*NOTICE.c, Facility.name, Facility.slug)
            .outerjoin(Facility, Facility.id == NOTICE.c.facility_id)
            .order_by(NOTICE.c.id)
        )
        grouped = query.where(NOTICE.c.kind == Kind.QUARANTINE)
        if held:
            grouped = grouped.where(NOTICE.c.facility_id.not_in(held))
        rows = connection.execute(query.where(NOTICE.c.kind != Kind.QUARANTINE).limit(TAKEN_MAX)).all()
        return [*rows, *connection.execute(grouped.limit(GROUPED_MAX)).all()]

    def _news(self, connection: Connection, rows: list[Any]) -> list[News]:
        patients = self._patients(connection, rows) if self._settings.notifications.patients else {}
        found: list[News] = []
        quarantined: dict[int, list[Any]] = {}
        for row in rows:
            if row.kind == Kind.QUARANTINE:
                quarantined.setdefault(row.facility_id, []).append(row)
                continue
            data = dict(row.detail)
            study_id = data.pop("study_id", None)
            data |= patients.get(study_id, {})
            sentence = _complete(row.name, data) if row.kind == Kind.STUDY_COMPLETE else _late(row.name, data)
            found.append(News(row.kind, row.at, sentence, data, row.facility_id))
        return found + [_quarantined(mine) for mine in quarantined.values()]

    def _patients(self, connection: Connection, rows: list[Any]) -> dict[int, dict[str, Any]]:
        """Who it is, where `notifications.patients` wants it told; by the study's id."""
        ids = [row.detail["study_id"] for row in rows if "study_id" in row.detail]
        query = select(
            Study.id, Study.patient_id, Study.patient_name, Study.patient_birth_date, Study.accession_number
        ).where(Study.id.in_(ids))
        return {
            row.id: {
                "accession_number": row.accession_number,
                "patient": {"id": row.patient_id, "name": row.patient_name, "birth_date": row.patient_birth_date},
            }
            for row in connection.execute(query)
        }


def _complete(facility: str, data: dict[str, Any]) -> str:
    modalities = " ".join(data.get("modalities", ())) or "no modality"
    late = f", {data['late_instances']} of them late" if data.get("late_instances") else ""
    return (
        f"'{facility}': the study {data.get('study_instance_uid')} is complete: "
        f"{counted(data.get('instances'), 'instance')} in {data.get('series')} series, "
        f"{size(data.get('bytes'))}, {modalities}{late}"
    )


def _late(facility: str, data: dict[str, Any]) -> str:
    return (
        f"'{facility}': {counted(data.get('instances'), 'instance')} came for the study "
        f"{data.get('study_instance_uid')}, which was complete; {data.get('late_instances')} in all came late"
    )


def _quarantined(rows: list[Any]) -> News:
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row.detail.get("reasons", {}))
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    at: datetime = rows[-1].at
    sentence = f"'{rows[0].name}': {counted(reasons.total(), 'instance')} went to quarantine: {listed}"
    data = {"instances": reasons.total(), "reasons": dict(reasons)}
    return News(Kind.QUARANTINE, at, sentence, data, rows[0].facility_id)
