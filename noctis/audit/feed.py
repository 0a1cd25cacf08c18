"""What has happened since a cursor, as audit messages, and the cursor behind them. Reads the database, changes nothing.

Events and associations are told once each, by id. An id that is missing is looked for again for `PATIENCE_SECONDS`, as
a PostgreSQL transaction that began earlier may commit later. An association is told of when everything that its
facility had in the spool by its end is filed, and after `PATIENCE_SECONDS` as it is. Refusals are rows that count: each
is told of again when its count has grown.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Select, func, select

from noctis.audit import transfers
from noctis.audit.cursor import Cursor, Place
from noctis.audit.messages import ACCESSED, Writer
from noctis.audit.rows import AssociationRow, EventRow, RefusalRow, Studies
from noctis.audit.xml import Message
from noctis.db.engine import reading
from noctis.db.models import AssociationRecord, Event, Facility, Refusal
from noctis.facilities.naming import IMPORTING
from noctis.home import Home
from noctis.repository import slots

log = structlog.get_logger()

ROWS_MAX = 200  # of each table, in one turn
GAP_MAX = 1000  # ids that are looked for again after one row; sequences may jump
PATIENCE_SECONDS = 3600.0
AGAIN_SECONDS = 2.0  # until open rows are looked at again


@dataclass(frozen=True)
class Turn:
    """One look."""

    messages: list[Message]
    cursor: Cursor
    more: bool  # there were more rows than one turn takes


class Feed:
    """The ledgers of one installation."""

    def __init__(self, engine: Engine, home: Home, writer: Writer) -> None:
        self._engine = engine
        self._home = home
        self._writer = writer
        self._again_at = 0.0  # monotonic
        self._refusals_seen: tuple[int, ...] | None = None

    # -- where to begin

    def begin(self, since: datetime) -> Cursor:
        """A first cursor: nothing is told of that came before `since`."""
        with reading(self._engine) as connection:
            return Cursor(
                _place_before(connection, Event, Event.at, since),
                _place_before(connection, AssociationRecord, AssociationRecord.ended_at, since),
                _counts(connection, select(Refusal.id, Refusal.count).where(Refusal.last_seen < since)),
            )

    def checked(self, cursor: Cursor) -> Cursor:
        """The same cursor; in a database that is another one (a restored one), the place that is as far in time."""
        with reading(self._engine) as connection:
            if _is_there(connection, Event, Event.at, cursor.event) and _is_there(
                connection, AssociationRecord, AssociationRecord.ended_at, cursor.association
            ):
                return cursor
        log.warning("audit.database_replaced", action="going on from the time of what was told last")
        assert cursor.at is not None
        return self.begin(cursor.at)

    def waiting(self, cursor: Cursor) -> int:
        """How many rows are not told of yet."""
        with reading(self._engine) as connection:
            count = len(cursor.association.open)
            for table, place in ((Event, cursor.event), (AssociationRecord, cursor.association)):
                query = select(func.count()).select_from(table).where(table.id > place.id)
                count += connection.scalar(query) or 0
            return count

    # -- a turn

    def read(self, cursor: Cursor) -> Turn:
        """What to tell next.

        Raises
        ------
        DatabaseError
            The database is away.
        """
        now = time.time()
        again = time.monotonic() >= self._again_at
        if again:
            self._again_at = time.monotonic() + AGAIN_SECONDS
        with reading(self._engine) as connection:
            events = _rows(connection, _events(), Event.id, cursor.event, again)
            associations = _rows(connection, _associations(), AssociationRecord.id, cursor.association, again)
            messages = [message for row in events for message in self._event(connection, _event(row))]
            event = _moved(cursor.event, events, "at", now, gaps=connection.dialect.name != "sqlite")
            rows = [_association(row) for row in associations]
            association = _moved(cursor.association, associations, "ended_at", now, gaps=False)
            brought = [row for row in rows if row.instances or row.failures]
            unsettled = self._unsettled(brought, cursor.association, now)
            told = [row for row in brought if row.id not in unsettled]
            studies = transfers.studies_of(connection, self._home.media, told)
            messages += [message for row in told for message in self._writer.association(row, studies[row.id])]
            refused, refusals = self._refusals(connection, cursor.refusals)
        return Turn(
            messages + refused,
            Cursor(event, association.opened(unsettled, now), refusals),
            more=max(len(events), len(associations)) >= ROWS_MAX or self._refusals_seen is None,
        )

    def _event(self, connection: Connection, row: EventRow) -> list[Message]:
        studies = Studies()
        if row.facility_id is not None:
            began, study = row.detail.get("began_at"), row.detail.get("study_instance_uid")
            if row.action == "import.done" and (first := _time(began)) is not None:
                studies = transfers.imported(connection, row.facility_id, IMPORTING, first, row.at)
            elif row.action in ACCESSED and isinstance(study, str):
                studies = transfers.one_study(connection, row.facility_id, study)
        return self._writer.event(row, studies)

    def _unsettled(self, rows: Sequence[AssociationRow], place: Place, now: float) -> set[int]:
        """Those that may have instances in the spool still; none for longer than our patience."""
        found = set()
        oldest: dict[str, int | None] = {}
        for row in rows:
            if row.facility not in oldest:
                oldest[row.facility] = slots.oldest_ns(self._home.spool, row.facility)
            waits = oldest[row.facility]
            patient = now - place.open.get(row.id, now) < PATIENCE_SECONDS
            if waits is not None and waits <= row.ended_at.timestamp() * 1e9 and patient:
                found.add(row.id)
        return found

    def _refusals(self, connection: Connection, told: dict[int, int]) -> tuple[list[Message], dict[int, int]]:
        """Rows that have counted on. `told` is returned as it is when there are none."""
        total = tuple(connection.execute(select(func.count(), func.sum(Refusal.count), func.max(Refusal.id))).one())
        if total == self._refusals_seen:
            return [], told
        counts = _counts(connection, select(Refusal.id, Refusal.count))
        grown = [each for each, count in counts.items() if count > told.get(each, 0)]
        messages, done = [], {each: count for each, count in told.items() if each in counts}
        done |= {each: count for each, count in counts.items() if count < done.get(each, 0)}
        for row in connection.execute(select(*Refusal.__table__.c).where(Refusal.id.in_(grown[:ROWS_MAX]))):
            values = {name: row._mapping[name] for name in RefusalRow.__dataclass_fields__ if name != "new"}
            messages.append(self._writer.refusal(RefusalRow(**values, new=row._mapping["count"] - told.get(row.id, 0))))
            done[row.id] = row._mapping["count"]
        self._refusals_seen = total if len(grown) <= ROWS_MAX else None
        return messages, done

    def rewind(self) -> None:
        """The next turn begins at an earlier cursor than the last one ended with."""
        self._refusals_seen = None
        self._again_at = 0.0


def _rows(connection: Connection, query: Select[Any], key: Any, place: Place, again: bool) -> list[Any]:
    """The next ones, and those of the open ones that are there."""
    found = list(connection.execute(query.where(key > place.id).order_by(key).limit(ROWS_MAX)))
    if again and place.open:
        some = list(place.open)[:ROWS_MAX]
        found = [*connection.execute(query.where(key.in_(some)).order_by(key)), *found]
    return found


def _moved(place: Place, rows: Sequence[Any], at: str, now: float, *, gaps: bool) -> Place:
    """The place behind `rows`: those of them that were open are not any more, what is missing between them is."""
    ids = {row.id for row in rows}
    forgotten = {each for each, since in place.open.items() if now - since > PATIENCE_SECONDS}
    after = place.settled(ids | forgotten)
    new = [row for row in rows if row.id > place.id]
    if not new:
        return after
    missing: set[int] = set()
    if gaps:
        before = place.id
        for row in new:
            missing |= set(range(max(before + 1, row.id - GAP_MAX), row.id))
            before = row.id
    return replace(after, id=new[-1].id, at=getattr(new[-1], at).isoformat()).opened(missing, now)


def _time(text: object) -> datetime | None:
    """A time with its zone; None where plain SQL has put something else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _place_before(connection: Connection, table: Any, at: Any, since: datetime) -> Place:
    row = connection.execute(select(table.id, at).where(at < since).order_by(table.id.desc()).limit(1)).first()
    return Place() if row is None else Place(row[0], row[1].isoformat())


def _is_there(connection: Connection, table: Any, at: Any, place: Place) -> bool:
    if not place.id:
        return True
    found = connection.scalar(select(at).where(table.id == place.id))
    if found is not None:
        return bool(found.isoformat() == place.at)
    return (connection.scalar(select(func.max(table.id))) or 0) >= place.id  # old rows are thrown away at some time


def _counts(connection: Connection, query: Any) -> dict[int, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _events() -> Select[Any]:
    return select(Facility.slug.label("facility"), Facility.ae_title, *Event.__table__.c).outerjoin(
        Facility, Facility.id == Event.facility_id
    )


def _event(row: Any) -> EventRow:
    values = {name: row._mapping[name] for name in EventRow.__dataclass_fields__}
    detail = values["detail"]
    return EventRow(**values | {"detail": detail if isinstance(detail, dict) else {"detail": detail}})


def _associations() -> Select[Any]:
    return select(Facility.slug.label("facility"), *AssociationRecord.__table__.c).join(
        Facility, Facility.id == AssociationRecord.facility_id
    )


def _association(row: Any) -> AssociationRow:
    return AssociationRow(**{name: row._mapping[name] for name in AssociationRow.__dataclass_fields__})
