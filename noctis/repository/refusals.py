"""The refusals ledger, as it is worked off: who was turned away, what was done about it, what is dismissed.

Listeners and the archiver write the rows (`archiver.ledger`); here they are read, marked as mended, and dismissed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, Text, and_, cast, delete, func, insert, or_, select, update

from noctis.db.engine import reachable, reading
from noctis.db.models import Event, Refusal, UsedPort
from noctis.errors import NotFoundError, UsageError
from noctis.facilities.remedies import Kind
from noctis.repository import keyset
from noctis.repository.keyset import Page

DISMISS_MAX = 1000  # rows at once
_UNITS = {"h": 1, "d": 24}  # hours


class State(StrEnum):
    """Where a refusal is."""

    OPEN = "open"  # nobody has done anything about it, or the caller was turned away again after that
    WAITING = "waiting"  # mended; the caller has not come since
    LET_IN = "let-in"  # mended, and the caller has been let in


@dataclass(frozen=True)
class RefusalFilter:
    """Which refusals; None or "": any."""

    port: int | None = None
    facility: str | None = None  # slug: those that could be let in to it
    facility_port: int | None = None  # and those at its port, and at those that it had
    calling: str | None = None  # part of the title, any case
    address: str | None = None  # its beginning
    kind: str | None = None  # of the remedy
    state: str | None = None
    since: str | None = None  # 6h, 7d, or a time
    text: str | None = None  # part of a title, the address or the reason, any case

    def conditions(self, engine: Engine) -> list[ColumnElement[bool]]:
        """As SQL.

        Raises
        ------
        UsageError
            A time, state or kind is none.
        """
        found: list[ColumnElement[bool]] = []
        if self.port is not None:
            found.append(Refusal.port == self.port)
        if self.facility:
            named = cast(Refusal.remedy, Text).contains(f'"{self.facility}"', autoescape=True)
            its = select(UsedPort.port).where(UsedPort.slug == self.facility)
            found.append(or_(Refusal.port == self.facility_port, Refusal.port.in_(its), named))
        if self.calling:
            found.append(keyset.holds(engine, Refusal.calling, self.calling))
        if self.address:
            found.append(Refusal.address.startswith(self.address, autoescape=True))
        if self.kind:
            _check(self.kind, Kind, "kind of refusal")
            found.append(Refusal.remedy["kind"].as_string() == self.kind)
        if self.state:
            found.append(_STATES[State(_check(self.state, State, "state of a refusal"))])
        if self.since:
            found.append(Refusal.last_seen >= since(self.since))
        if self.text:
            columns = (Refusal.called, Refusal.calling, Refusal.address, Refusal.reason)
            found.append(or_(*(keyset.holds(engine, column, self.text) for column in columns)))
        return found


_AGAIN = and_(
    Refusal.last_seen > Refusal.fixed_at, or_(Refusal.let_in_at.is_(None), Refusal.last_seen > Refusal.let_in_at)
)
_STATES: dict[State, ColumnElement[bool]] = {
    State.OPEN: or_(Refusal.fixed_at.is_(None), _AGAIN),
    State.WAITING: and_(
        Refusal.fixed_at.is_not(None), Refusal.let_in_at.is_(None), Refusal.last_seen <= Refusal.fixed_at
    ),
    State.LET_IN: and_(Refusal.let_in_at.is_not(None), Refusal.last_seen <= Refusal.let_in_at),
}


def since(text: str) -> datetime:
    """`6h`, `7d` or a time.

    Raises
    ------
    UsageError
        It is none of these.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isascii() and number.isdigit() and len(number) <= 4:
        return datetime.now(UTC) - timedelta(hours=int(number) * _UNITS[unit])
    return keyset.moment_of(text)


def _check(value: str, kinds: type[StrEnum], what: str) -> str:
    if value not in list(kinds):
        raise UsageError(f"there is no such {what}", fix="one of " + ", ".join(kinds))
    return value


# `port_of`: the slug of the facility whose port it is or was
_ROWS = select(*Refusal.__table__.c, UsedPort.slug.label("port_of")).outerjoin(UsedPort, UsedPort.port == Refusal.port)


def page(engine: Engine, wanted: RefusalFilter, limit: int, after: str | None = None) -> Page:
    """Refusals, those seen last first. At most `REFUSALS_MAX` of the ledger are there.

    Raises
    ------
    UsageError
        The filter or the mark is malformed.
    """
    order = (Refusal.last_seen.desc(), Refusal.id.desc())
    conditions = (*wanted.conditions(engine), *keyset.behind(Refusal.last_seen, Refusal.id, after))
    with reading(engine) as connection:
        found = connection.execute(_ROWS.where(*conditions).order_by(*order).limit(limit + 1)).all()
    rows = [_row(each) for each in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    return Page(rows, keyset.mark(last.last_seen, last.id) if last is not None else None)


def count(engine: Engine, wanted: RefusalFilter) -> int:
    """How many rows a filter finds."""
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(Refusal).where(*wanted.conditions(engine))) or 0


def one(engine: Engine, refusal: int) -> dict[str, Any]:
    """One refusal.

    Raises
    ------
    NotFoundError
        There is none with this id (any more).
    """
    with reading(engine) as connection:
        found = connection.execute(_ROWS.where(Refusal.id == refusal)).first()
    if found is None:
        raise NotFoundError(f"there is no refusal {refusal}", fix="noctis refusal list")
    return _row(found)


def _row(found: Any) -> dict[str, Any]:
    row = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in found._mapping.items()}
    return row | {"state": str(_state(found))}


def _state(row: Any) -> State:
    if row.let_in_at is not None and row.last_seen <= row.let_in_at:
        return State.LET_IN
    if row.fixed_at is None or row.last_seen > row.fixed_at:
        return State.OPEN
    return State.WAITING


def mark_mended(engine: Engine, refusal: int, actor: str, facility: str) -> None:
    """It was done now, by `actor`; from here on the caller is waited for at the facility of this slug."""
    values = {"fixed_by": actor, "fixed_facility": facility, "fixed_at": datetime.now(UTC), "let_in_at": None}
    with reachable(engine), engine.begin() as connection:
        connection.execute(update(Refusal).where(Refusal.id == refusal).values(values))


def dismiss(engine: Engine, refusals: Sequence[int], actor: str) -> int:
    """Put refusals away, with one event each; how many there were. A caller that comes again has a row again.

    Raises
    ------
    UsageError
        They are too many at once.
    """
    if len(refusals) > DISMISS_MAX:
        raise UsageError(f"these are {len(refusals)}; at most {DISMISS_MAX} are dismissed at once")
    with reachable(engine), engine.begin() as connection:
        where = Refusal.id.in_(sorted(set(refusals)))
        rows = connection.execute(select(*Refusal.__table__.c).where(where).order_by(Refusal.id)).all()
        if rows:
            connection.execute(delete(Refusal).where(where))
            connection.execute(insert(Event), [_dismissed(row, actor) for row in rows])
    return len(rows)


def _dismissed(row: Any, actor: str) -> dict[str, Any]:
    detail = {name: getattr(row, name) for name in ("port", "called", "calling", "address", "reason", "count")}
    return {
        "at": datetime.now(UTC),
        "actor": actor,
        "action": "refusal.dismissed",
        "facility_id": None,
        "subject": str(row.id),
        "detail": detail,
    }
