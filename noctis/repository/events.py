"""Events as they are asked for: who did what, the latest first, quick at millions of rows.

There are few different actions: those of a filter are looked up first, and of each its latest events come by an index
of actor, facility or nothing, the action and the time. An actor within a facility has no such index: it is looked for
within `WINDOW` events (of the facility) at once, again and again until a page is full or `SECONDS` are over; then the
page says how far back was looked, and the next one goes on from there.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, select, text, union_all

from noctis.db.engine import reading
from noctis.db.models import Event, Facility
from noctis.repository import keyset
from noctis.repository.keyset import Page

WINDOW = 5000  # rows
SECONDS = 0.06
NAMES_MAX = 300  # different actions, or actors, that are offered
STREAM = 1000  # rows at once
LOOKED = "query."  # how the actions of those begin who asked for data and changed nothing
_ORDER = (Event.at.desc(), Event.id.desc())


@dataclass(frozen=True)
class EventFilter:
    """Which events; None or "": any."""

    facility_id: int | None = None
    actor: str | None = None  # the whole name
    action: str | None = None  # it, or its beginning
    since: datetime | None = None
    until: datetime | None = None  # before this
    changes: bool = False  # without those who only looked (`LOOKED`)

    def times(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(Event.at >= self.since)
        if self.until is not None:
            found.append(Event.at < self.until)
        return found


def page(engine: Engine, wanted: EventFilter, limit: int, after: str | None = None) -> Page:
    """Events, the latest first.

    Raises
    ------
    UsageError
        The mark is malformed.
    """
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + SECONDS
    with reading(engine) as connection:
        names = _actions(connection, wanted) if wanted.action or wanted.actor or wanted.changes else []
        while True:
            found, end = _look(connection, wanted, names, limit + 1 - len(rows), after)
            rows += found
            if len(rows) > limit:
                last = rows[limit - 1]
                return Page([_plain(row) for row in rows[:limit]], keyset.mark(last["at"], last["id"]))
            if end is None:
                return Page([_plain(row) for row in rows])
            after = end
            if time.monotonic() >= deadline:
                return Page([_plain(row) for row in rows], end, f"{end.partition('~')[0]}+00:00")


def stream(engine: Engine, wanted: EventFilter) -> Iterator[dict[str, Any]]:
    """All events of a filter, the latest first, a few in memory at a time."""
    after = None
    while True:
        found = page(engine, wanted, STREAM, after)
        yield from found.rows
        if found.next is None:
            return
        after = found.next


def _look(
    connection: Connection, wanted: EventFilter, names: list[str], limit: int, after: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Up to `limit` events behind a mark, and where to go on if that was not all there is to look at."""
    bounds = [*wanted.times(), *keyset.behind(Event.at, Event.id, after)]
    of_actor, of_facility = Event.actor == wanted.actor, Event.facility_id == wanted.facility_id
    by_action = bool(wanted.action) or wanted.changes
    if wanted.actor and wanted.facility_id is not None:
        return _look_within(connection, [of_facility, *bounds], names if by_action else None, of_actor, limit)
    if wanted.actor:
        bounds.append(of_actor)
    elif wanted.facility_id is not None:
        bounds.append(of_facility)
    ids = select(Event.id.label("id")).where(*bounds).order_by(*_ORDER).limit(limit)
    if wanted.actor or by_action:
        if not names:
            return [], None
        ids = _of_actions(bounds, names, limit)
    found = _fetch(connection, ids, limit)
    return found, None if len(found) < limit else keyset.mark(found[-1]["at"], found[-1]["id"])


def _look_within(
    connection: Connection,
    bounds: list[ColumnElement[bool]],
    names: list[str] | None,
    rest: ColumnElement[bool],
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """The same for what no index holds together: `rest` within the next `WINDOW` events of the others."""
    if names is not None and not names:
        return [], None
    columns: tuple[Any, ...] = (Event.id.label("id"), Event.at.label("at"))
    where = bounds if names is None else [Event.id.in_(_of_actions(bounds, names, WINDOW))]
    window = select(*columns).where(*where).order_by(*_ORDER).limit(WINDOW)
    found = _fetch(connection, window, limit, rest)
    if len(found) >= limit:
        return found, keyset.mark(found[-1]["at"], found[-1]["id"])
    end = connection.execute(window.offset(WINDOW - 1).limit(1)).first()
    return found, None if end is None else keyset.mark(end.at, end.id)


def _of_actions(bounds: list[ColumnElement[bool]], names: list[str], limit: int) -> Select[Any]:
    """Of each action its latest, by an index that has the action before the time; the latest of all are among them."""
    each = [
        select(
            select(Event.id.label("id"))
            .where(Event.action == name, *bounds)
            .order_by(*_ORDER)
            .limit(limit)
            .subquery(f"a{number}")
            .c.id
        )
        for number, name in enumerate(names)
    ]
    return select(union_all(*each).subquery("latest").c.id)


def _fetch(
    connection: Connection, ids: Select[Any], limit: int, rest: ColumnElement[bool] | None = None
) -> list[dict[str, Any]]:
    chosen = ids.subquery("chosen")
    query = (
        select(Facility.slug.label("facility"), *Event.__table__.c)
        .join(chosen, chosen.c.id == Event.id)
        .outerjoin(Facility, Facility.id == Event.facility_id)
        .where(*(() if rest is None else (rest,)))
        .order_by(*_ORDER)
        .limit(limit)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"at": row["at"].isoformat()}


# -- names that there are: by leaps over an index, whatever the number of rows

_LEAPS = """
WITH RECURSIVE leap(name) AS (
    SELECT (SELECT min({column}) FROM event)
    UNION ALL
    SELECT (SELECT min({column}) FROM event WHERE {column} > leap.name) FROM leap WHERE leap.name IS NOT NULL
)
SELECT name FROM leap WHERE name IS NOT NULL LIMIT {limit}
"""


def _names(connection: Connection, column: str) -> list[str]:
    return list(connection.scalars(text(_LEAPS.format(column=column, limit=NAMES_MAX))))


def _actions(connection: Connection, wanted: EventFilter) -> list[str]:
    """The actions of a filter."""
    found = [name for name in _names(connection, "action") if name.startswith(wanted.action or "")]
    return [name for name in found if not (wanted.changes and name.startswith(LOOKED))]


def names(engine: Engine) -> tuple[list[str], list[str]]:
    """The actors and the actions that there are, sorted."""
    with reading(engine) as connection:
        return _names(connection, "actor"), _names(connection, "action")


def facility_id(engine: Engine, slug: str) -> int:
    """Of a facility, removed ones too; 0: there is none."""
    with reading(engine) as connection:
        return connection.scalar(select(Facility.id).where(Facility.slug == slug)) or 0


# -- what an event says, for people


def words(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """The detail of an event as names and values; what was changed is `from → to`."""
    return [(name.replace("_", " "), _said(value)) for name, value in detail.items()]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        if value.keys() == {"from", "to"}:
            return f"{_said(value['from'])} → {_said(value['to'])}"
        return "; ".join(f"{name}: {_said(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
