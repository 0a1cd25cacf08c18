"""The ledgers: refusals, associations and events that processes without a database left in the journal.

Takes the journal's files, each in one transaction, and deletes each after it; a crash in between counts its lines
twice. Repeated refusals are counted in one row. A malformed line is left out. A file that the database refuses for
what is in it is set aside as `.refused`, so that it does not stop the others. The tables keep their newest rows.
"""

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Table, and_, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from noctis.archiver.activity import count_activity
from noctis.db.engine import reachable, reading
from noctis.db.models import AssociationRecord, Event, Facility, Refusal
from noctis.facilities.remedies import from_json
from noctis.repository.index import is_outage
from noctis.repository.journal import take

log = structlog.get_logger()

REFUSAL, ASSOCIATION, EVENT, QUARANTINED = "refusal", "association", "event", "quarantined"  # kinds of lines
REFUSALS_MAX = 10_000  # rows; the oldest go
ASSOCIATIONS_MAX = 200_000
TEXT_MAX = 500  # characters of what a caller may have made up
_REFUSALS: Table = Refusal.__table__  # type: ignore[assignment]
_ASSOCIATIONS: Table = AssociationRecord.__table__  # type: ignore[assignment]
_EVENTS: Table = Event.__table__  # type: ignore[assignment]
_REFUSAL_KEY = ("port", "called", "calling", "address", "reason")
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


def write_ledgers(engine: Engine, journal: Path) -> set[str]:
    """Write every line that waits; the kinds of lines that there were.

    Raises
    ------
    DatabaseError
        The files stay, and are written once it is back.
    """
    kinds: set[str] = set()
    for path, lines in take(journal):
        records = [line for line in lines if isinstance(line, dict)]
        kinds |= {str(line.get("kind")) for line in records}
        with reachable(engine):
            try:
                with engine.begin() as connection:
                    _write(connection, records)
            except SQLAlchemyError as error:
                if is_outage(error):
                    raise
                log.error("journal.refused", file=path.name, error=type(error).__name__)
                path.rename(path.with_name(path.name + ".refused"))
                continue
        path.unlink(missing_ok=True)
    return kinds


def _write(connection: Connection, lines: list[dict[str, Any]]) -> None:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_kind.setdefault(str(line.get("kind")), []).append(line)
    if not by_kind.keys() & {REFUSAL, ASSOCIATION, EVENT}:
        return
    facilities = {row.slug: row.id for row in connection.execute(select(Facility.slug, Facility.id))}
    _write_refusals(connection, by_kind.get(REFUSAL, ()))
    associations = [
        values for line in by_kind.get(ASSOCIATION, ()) if (values := _association(line, facilities)) is not None
    ]
    if associations:
        _write_associations(connection, associations)
        _note_let_in(connection, associations, facilities)
    events = [values for line in by_kind.get(EVENT, ()) if (values := _event(line, facilities)) is not None]
    if events:
        connection.execute(insert(_EVENTS), events)


def _write_refusals(connection: Connection, lines: Iterable[dict[str, Any]]) -> None:
    counted: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        with contextlib.suppress(*_MALFORMED):
            at, port = _time(line["at"]), _number(line["port"])
            mends = {"fix": _text(line.get("fix")), "remedy": _remedy(line.get("remedy"))}
            key = (port, *[_text(line[name]) for name in _REFUSAL_KEY[1:]])
            row = counted.setdefault(
                key, {**dict(zip(_REFUSAL_KEY, key, strict=True)), "count": 0, "first_seen": at, "last_seen": at}
            )
            row["count"] += 1
            row["first_seen"] = min(row["first_seen"], at)
            if at >= row["last_seen"]:
                row |= {"last_seen": at, **mends}
    if not counted:
        return
    statement = _dialect(connection).insert(_REFUSALS)
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(_REFUSAL_KEY),
            set_={
                "count": _REFUSALS.c.count + new.count,
                "last_seen": new.last_seen,
                "fix": new.fix,
                "remedy": new.remedy,
            },
        ),
        [counted[key] for key in sorted(counted)],
    )
    edge = connection.execute(
        select(_REFUSALS.c.last_seen, _REFUSALS.c.id)
        .order_by(_REFUSALS.c.last_seen.desc(), _REFUSALS.c.id.desc())
        .offset(REFUSALS_MAX)
        .limit(1)
    ).first()
    if edge is not None:
        older = and_(_REFUSALS.c.last_seen == edge.last_seen, _REFUSALS.c.id <= edge.id)
        connection.execute(delete(_REFUSALS).where(or_(_REFUSALS.c.last_seen < edge.last_seen, older)))


def _note_let_in(connection: Connection, associations: list[dict[str, Any]], facilities: dict[str, int]) -> None:
    """Who was turned away, and was let in after somebody had mended that: the refusal says so from now on."""
    columns = (
        _REFUSALS.c.id,
        _REFUSALS.c.calling,
        _REFUSALS.c.address,
        _REFUSALS.c.fixed_facility,
        _REFUSALS.c.fixed_at,
    )
    waiting = connection.execute(
        select(*columns).where(_REFUSALS.c.fixed_at.is_not(None), _REFUSALS.c.let_in_at.is_(None))
    ).all()
    if not waiting:
        return
    started: dict[tuple[int, str, str], datetime] = {}  # the last one of each caller
    for each in associations:
        key = (each["facility_id"], each["calling"], each["address"])
        started[key] = max(each["started_at"], started.get(key, each["started_at"]))
    for row in waiting:
        at = started.get((facilities.get(row.fixed_facility, 0), row.calling, row.address))
        if at is not None and at >= row.fixed_at:
            connection.execute(update(_REFUSALS).where(_REFUSALS.c.id == row.id).values(let_in_at=at))


def _write_associations(connection: Connection, associations: list[dict[str, Any]]) -> None:
    """Each once, also when a crash has left its line to be read again; and what they say of their senders' habits."""
    associations.sort(key=lambda values: values["association_id"])
    statement = _dialect(connection).insert(_ASSOCIATIONS).on_conflict_do_nothing()
    added = set(connection.scalars(statement.returning(_ASSOCIATIONS.c.association_id), associations))
    by_id = {values["association_id"]: values for values in associations}
    count_activity(connection, (values for key, values in by_id.items() if key in added))


def forget_old_associations(engine: Engine) -> None:
    """Keep the newest `ASSOCIATIONS_MAX` rows."""
    with reading(engine) as connection:
        edge = connection.scalar(
            select(_ASSOCIATIONS.c.id).order_by(_ASSOCIATIONS.c.id.desc()).offset(ASSOCIATIONS_MAX).limit(1)
        )
    if edge is not None:
        with reachable(engine), engine.begin() as connection:
            connection.execute(delete(_ASSOCIATIONS).where(_ASSOCIATIONS.c.id <= edge))


def _association(line: dict[str, Any], facilities: dict[str, int]) -> dict[str, Any] | None:
    with contextlib.suppress(*_MALFORMED):
        return {
            "association_id": _text(line["association_id"])[:32],
            "facility_id": facilities[line["slug"]],
            "outcome": _text(line["outcome"])[:16],
            **{name: _text(line[name]) for name in ("called", "calling", "address")},
            **{name: _number(line[name]) for name in ("port", "instances", "failures", "echoes")},
            "bytes": _number(line["bytes"], 63),
            **{name: _time(line[name]) for name in ("started_at", "ended_at")},
        }
    return None


def _event(line: dict[str, Any], facilities: dict[str, int]) -> dict[str, Any] | None:
    with contextlib.suppress(*_MALFORMED):
        detail = line.get("detail") or {}
        if not isinstance(detail, dict):
            raise TypeError(detail)
        return {
            "at": _time(line["at"]),
            "actor": _text(line["actor"]),
            "action": _text(line["action"])[:64],
            "facility_id": facilities.get(str(line.get("slug"))),
            "subject": _text(line.get("subject")),
            "detail": detail,
        }
    return None


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _number(value: Any, bits: int = 31) -> int:
    number = int(value)
    if not 0 <= number < 1 << bits:
        raise ValueError(number)
    return number


def _remedy(document: Any) -> dict[str, Any]:
    remedy = from_json(document)
    if remedy is None:
        return {}
    return {name: _text(value) if isinstance(value, str) else value for name, value in remedy.as_json().items()}


def _text(value: Any) -> str:
    """A text that any database takes."""
    text = "" if value is None else str(value)
    return text[:TEXT_MAX].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite
