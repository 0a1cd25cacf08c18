"""What the page, the API and the command line show: notifications, deliveries, receivers, receipts. Reads only.

Lists are paged by id, the latest first. Addresses of webhooks are masked: what is secret about them is in their path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, or_, select

from noctis.db.engine import reading
from noctis.db.models import Facility
from noctis.db.notifying import Delivery, DeliveryTarget, Notification, NotificationCondition, Receipt
from noctis.errors import NotFoundError, UsageError
from noctis.notifications import DeliveryState, title
from noctis.notify.rules import CONFIG, RECEIPTS, Rule, shown_address


@dataclass(frozen=True)
class Page:
    rows: list[dict[str, Any]]
    next: str | None = None  # the mark of the next page


def parse_mark(text: str | None) -> int | None:
    """Behind which id a page begins.

    Raises
    ------
    UsageError
        It is no mark.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError("this is no place in a list", fix="begin with the first page")
    return int(text)


def notifications(
    engine: Engine,
    limit: int,
    after: str | None = None,
    *,
    kind: str | None = None,
    facility: str | None = None,
) -> Page:
    """Notifications, each with how many of its deliveries are in which state."""
    before = parse_mark(after)
    query = (
        select(*Notification.__table__.c, Facility.slug.label("facility"), Facility.name.label("facility_name"))
        .outerjoin(Facility, Facility.id == Notification.facility_id)
        .order_by(Notification.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(Notification.id < before)
    if kind:
        query = query.where(Notification.kind == kind)
    if facility:
        query = query.where(Facility.slug == facility)
    with reading(engine) as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        counted: dict[int, dict[str, int]] = {}
        ids = [row["id"] for row in rows]
        for id_, state, number in connection.execute(
            select(Delivery.notification_id, Delivery.state, func.count())
            .where(Delivery.notification_id.in_(ids))
            .group_by(Delivery.notification_id, Delivery.state)
        ):
            counted.setdefault(id_, {})[state] = number
    for row in rows:
        row["title"] = title(row["kind"])
        row["deliveries"] = counted.get(row["id"], {})
        _iso(row)
    return _page(rows, limit)


def deliveries(
    engine: Engine,
    limit: int,
    after: str | None = None,
    *,
    states: Sequence[str] = (),
    kind: str | None = None,
    notification: int | None = None,
    rules: Sequence[Rule] = (),
) -> Page:
    """Deliveries, with the notification of each; `rules` gives the names of theirs."""
    before = parse_mark(after)
    query = _deliveries().order_by(Delivery.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Delivery.id < before)
    if states:
        query = query.where(Delivery.state.in_(states))
    if kind:
        query = query.where(Notification.kind == kind)
    if notification is not None:
        query = query.where(Delivery.notification_id == notification)
    with reading(engine) as connection:
        rows = [_delivery(dict(row), rules) for row in connection.execute(query).mappings()]
    return _page(rows, limit)


def one_delivery(engine: Engine, delivery_id: int, rules: Sequence[Rule] = ()) -> dict[str, Any]:
    """One delivery.

    Raises
    ------
    NotFoundError
    """
    with reading(engine) as connection:
        row = connection.execute(_deliveries().where(Delivery.id == delivery_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError("there is no such delivery", fix="noctis notification list")
    return _delivery(dict(row), rules)


def _deliveries() -> Any:
    columns = [column for column in Delivery.__table__.c if column.name != "notification_id"]
    return (
        select(
            *columns,
            Notification.uid,
            Notification.kind,
            Notification.phase,
            Notification.at,
            Notification.sentence,
            Facility.slug.label("facility"),
            Facility.name.label("facility_name"),
        )
        .join(Notification, Notification.id == Delivery.notification_id)
        .outerjoin(Facility, Facility.id == Notification.facility_id)
    )


def _delivery(row: dict[str, Any], rules: Sequence[Rule]) -> dict[str, Any]:
    names = {rule.key: rule.name for rule in rules} | {RECEIPTS: "receipts"}
    row["rule_name"] = names.get(row["rule"], row["rule"].removeprefix(f"{CONFIG}:"))
    row["address"] = shown_address(row["channel"], row["address"])
    row["title"] = title(row["kind"])
    row["can_be_changed"] = row["state"] in (DeliveryState.PENDING, DeliveryState.DEAD)
    return _iso(row)


def _counted(connection: Connection, state: DeliveryState) -> dict[tuple[str, str], int]:
    """Deliveries in a state, by where they go."""
    address = (Delivery.channel, Delivery.address)
    query = select(*address, func.count().label("number")).where(Delivery.state == state).group_by(*address)
    return {(row.channel, row.address): row.number for row in connection.execute(query)}


def receivers(engine: Engine) -> list[dict[str, Any]]:
    """Addresses that something waits for, or that do not answer."""
    with reading(engine) as connection:
        waiting, dead = (_counted(connection, state) for state in (DeliveryState.PENDING, DeliveryState.DEAD))
        targets = {
            (row.channel, row.address): row
            for row in connection.execute(
                select(DeliveryTarget.__table__).where(
                    or_(DeliveryTarget.failures > 0, DeliveryTarget.last_success_at.is_not(None))
                )
            )
        }
    found = []
    for key in sorted({*waiting, *dead, *targets}):
        row = targets.get(key)
        found.append(
            {
                "channel": key[0],
                "address": shown_address(*key),
                "pending": waiting.get(key, 0),
                "dead": dead.get(key, 0),
                "failures": row.failures if row else 0,
                "failing_since": _time(row.failing_since) if row else None,
                "paused_until": _time(row.paused_until) if row else None,
                "last_error": row.last_error if row else "",
                "last_success_at": _time(row.last_success_at) if row else None,
            }
        )
    return found


def conditions(engine: Engine) -> list[dict[str, Any]]:
    """What lasts now, and was told of where a rule wanted it."""
    query = (
        select(NotificationCondition.__table__, Facility.slug.label("facility"))
        .outerjoin(Facility, Facility.id == NotificationCondition.facility_id)
        .order_by(NotificationCondition.begun_at.desc())
        .limit(200)
    )
    with reading(engine) as connection:
        return [
            {
                "kind": row.kind,
                "title": title(row.kind),
                "facility": row.facility,
                "begun_at": row.begun_at.isoformat(),
                "sentence": row.data.get("sentence", ""),
            }
            for row in connection.execute(query)
        ]


def receipts(engine: Engine, limit: int, *, facility_id: int | None = None) -> list[dict[str, Any]]:
    """Receipts that were made, the latest day first."""
    query = (
        select(Receipt.__table__, Facility.slug.label("facility"), Facility.name.label("facility_name"))
        .join(Facility, Facility.id == Receipt.facility_id)
        .where(Receipt.revision > 0)
        .order_by(Receipt.day.desc(), Facility.slug)
        .limit(limit)
    )
    if facility_id is not None:
        query = query.where(Receipt.facility_id == facility_id)
    left_out = ("due", "facility_id")
    with reading(engine) as connection:
        rows = connection.execute(query).mappings()
        return [_iso({name: value for name, value in row.items() if name not in left_out}) for row in rows]


def _page(rows: list[dict[str, Any]], limit: int) -> Page:
    more = len(rows) > limit
    return Page(rows[:limit], str(rows[limit - 1]["id"]) if more else None)


def _iso(row: dict[str, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if isinstance(value, datetime):
            row[name] = value.isoformat()
    return row


def _time(value: datetime | None) -> str | None:
    return value.isoformat() if value else None
