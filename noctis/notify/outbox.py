"""The outbox: notifications, and each one's deliveries, in the database until they are delivered.

A notification and its deliveries are written in one transaction, together with whatever tells that it was made (a
notice that is taken out, a condition's row): so it is made once. A delivery is `pending` until a receiver took it; a
process that is killed after that and before it was written down delivers it again, with the same ID.

Every address has a queue of its own. When it cannot be reached, all of its queue waits (`DeliveryTarget`).
"""

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from noctis.config import Settings
from noctis.db.engine import reachable, reading
from noctis.db.models import Event, Facility
from noctis.db.notifying import Delivery, DeliveryTarget, Notification
from noctis.errors import ConflictError, NotFoundError
from noctis.notifications import Channel, DeliveryState, Phase
from noctis.notify.rules import Rule, matching

BACKOFF_SECONDS = (5.0, 900.0)  # of one delivery: the first wait, which triples, and the longest
PAUSE_SECONDS = (5.0, 300.0)  # of an address that does not answer: the first wait, which doubles, and the longest
JITTER = 0.2
ERROR_MAX = 300  # characters
CHUNK = 500

Address = tuple[str, str]  # channel, address


@dataclass(frozen=True)
class News:
    """Something to be told."""

    kind: str
    at: datetime
    sentence: str
    data: dict[str, Any]
    facility_id: int | None = None
    phase: str = Phase.HAPPENED


@dataclass(frozen=True)
class Due:
    """One delivery that is to be tried."""

    id: int
    rule: str
    channel: str
    address: str
    attempts: int
    first_failed_at: datetime | None
    created_at: datetime
    uid: str
    kind: str
    phase: str
    at: datetime
    sentence: str
    data: dict[str, Any]
    facility: str | None  # slug
    facility_name: str | None


@dataclass(frozen=True)
class Tried:
    """What became of it."""

    delivery: Due
    error: str = ""  # "": it was taken
    away: bool = False  # the address did not answer at all: all of its queue waits
    retry_after: float | None = None  # seconds that the receiver asked for
    refused: bool = False  # for good: no use to try again
    discard: bool = False  # nobody wants it there any more


def enqueue(connection: Connection, rules: Sequence[Rule], news: Iterable[News]) -> int:
    """Write notifications and their deliveries; one that no rule wants is not written. How many were."""
    count = 0
    for each in news:
        targets = [
            (rule.key, channel, address) for rule, channel, address in matching(rules, each.kind, each.facility_id)
        ]
        count += add(connection, each, targets) is not None
    return count


def add(connection: Connection, news: News, targets: Sequence[tuple[str, str, str]]) -> str | None:
    """Write one notification for these (rule's key, channel, address); its ID, None if there is nobody to tell."""
    if not targets:
        return None
    uid = f"msg_{uuid.uuid4().hex}"
    now = datetime.now(UTC)
    notification_id = connection.execute(
        insert(Notification).returning(Notification.id),
        {
            "uid": uid,
            "kind": news.kind,
            "phase": news.phase,
            "facility_id": news.facility_id,
            "at": news.at,
            "sentence": news.sentence,
            "data": news.data,
        },
    ).scalar_one()
    rows = [
        {
            "notification_id": notification_id,
            "rule": rule,
            "channel": channel,
            "address": address,
            "next_attempt_at": now,
            "created_at": now,
        }
        for rule, channel, address in targets
    ]
    connection.execute(insert(Delivery), rows)
    return uid


# -- what is to be sent


def waiting(engine: Engine, now: datetime) -> dict[Address, datetime]:
    """Every address with deliveries that wait, and the time of the next attempt: not before its pause is over."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(Delivery.channel, Delivery.address, func.min(Delivery.next_attempt_at).label("at"))
            .where(Delivery.state == DeliveryState.PENDING)
            .group_by(Delivery.channel, Delivery.address)
        ).all()
        if not rows:
            return {}
        paused = {
            (row.channel, row.address): row.paused_until
            for row in connection.execute(
                select(DeliveryTarget.channel, DeliveryTarget.address, DeliveryTarget.paused_until).where(
                    DeliveryTarget.paused_until > now
                )
            )
        }
    return {(row.channel, row.address): max(row.at, paused.get((row.channel, row.address)) or row.at) for row in rows}


def due(engine: Engine, address: Address, now: datetime, limit: int) -> list[Due]:
    """The deliveries of one address that are to be tried, in the order in which they are."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(
                Delivery.id,
                Delivery.rule,
                Delivery.channel,
                Delivery.address,
                Delivery.attempts,
                Delivery.first_failed_at,
                Delivery.created_at,
                Notification.uid,
                Notification.kind,
                Notification.phase,
                Notification.at,
                Notification.sentence,
                Notification.data,
                Facility.slug,
                Facility.name,
            )
            .join(Notification, Notification.id == Delivery.notification_id)
            .outerjoin(Facility, Facility.id == Notification.facility_id)
            .where(Delivery.channel == address[0], Delivery.address == address[1])
            .where(Delivery.state == DeliveryState.PENDING, Delivery.next_attempt_at <= now)
            .order_by(Delivery.next_attempt_at, Delivery.id)
            .limit(limit)
        )
        return [Due(*tuple(row)) for row in rows]


# -- what became of it


def record(connection: Connection, settings: Settings, tried: Sequence[Tried], now: datetime) -> list[Tried]:
    """Write down what became of deliveries to one address, in the order of the attempts; those that died of it."""
    dead: list[Tried] = []
    for each in tried:
        values, died = _outcome(settings, each, now)
        connection.execute(
            update(Delivery)
            .where(
                Delivery.id == each.delivery.id, Delivery.state == DeliveryState.PENDING
            )  # or an operator was faster
            .values(**values)
        )
        if died:
            dead.append(each)
    told = [each for each in tried if not each.discard]
    if told:
        _record_target(connection, settings, told[-1], any(not each.error for each in told), now)
    return dead


def _outcome(settings: Settings, tried: Tried, now: datetime) -> tuple[dict[str, Any], bool]:
    delivery = tried.delivery
    if tried.discard:
        return {"state": DeliveryState.DISCARDED, "done_at": now, "last_error": tried.error[:ERROR_MAX]}, False
    attempts = delivery.attempts + 1
    if not tried.error:
        return {"state": DeliveryState.SENT, "attempts": attempts, "done_at": now, "last_error": ""}, False
    since = delivery.first_failed_at or now
    values: dict[str, Any] = {
        "attempts": attempts,
        "first_failed_at": since,
        "last_error": tried.error[:ERROR_MAX],
    }
    wait = tried.retry_after or backoff(attempts, BACKOFF_SECONDS, 3.0)
    again = now + timedelta(seconds=wait)
    if tried.refused or again >= since + _give_up(settings):
        return values | {"state": DeliveryState.DEAD, "done_at": now}, True
    return values | {"next_attempt_at": again}, False


def _record_target(connection: Connection, settings: Settings, last: Tried, answered: bool, now: datetime) -> None:
    delivery = last.delivery
    where = (DeliveryTarget.channel == delivery.channel, DeliveryTarget.address == delivery.address)
    before = connection.execute(
        select(DeliveryTarget.failures, DeliveryTarget.failing_since).where(*where)
    ).one_or_none()
    failures, since = (before.failures, before.failing_since) if before and not answered else (0, None)
    values: dict[str, Any] = {"last_success_at": now} if answered else {}
    if last.error and last.away:
        failures += 1
        since = since or now
        wait = max(last.retry_after or 0.0, backoff(failures, PAUSE_SECONDS, 2.0))
        values |= {"paused_until": now + timedelta(seconds=wait), "last_error": last.error[:ERROR_MAX]}
    elif not last.error:
        group = settings.notifications.group_seconds if delivery.channel == Channel.EMAIL else 0
        values |= {"paused_until": now + timedelta(seconds=group) if group else None, "last_error": ""}
    else:
        values |= {"paused_until": None, "last_error": last.error[:ERROR_MAX]}
    values |= {"failures": failures, "failing_since": since}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    key = {"channel": delivery.channel, "address": delivery.address}
    statement = dialect.insert(DeliveryTarget).values(key | values)
    connection.execute(statement.on_conflict_do_update(index_elements=["channel", "address"], set_=values))
    mine = (
        Delivery.channel == delivery.channel,
        Delivery.address == delivery.address,
        Delivery.state == DeliveryState.PENDING,
    )
    if answered and before is not None and before.failures:  # it is back: nobody waits for the end of a back-off
        connection.execute(update(Delivery).where(*mine, Delivery.next_attempt_at > now).values(next_attempt_at=now))
    if since is not None and now - since >= _give_up(settings):
        # not one of them could have been delivered in all this time
        connection.execute(
            update(Delivery)
            .where(*mine, Delivery.created_at <= now - _give_up(settings))
            .values(state=DeliveryState.DEAD, done_at=now, last_error=last.error[:ERROR_MAX])
        )


def backoff(failures: int, between: tuple[float, float], factor: float) -> float:
    """Seconds to wait after so many failures, with jitter."""
    wait = min(between[0] * factor ** min(failures - 1, 50), between[1])
    return wait * random.uniform(1 - JITTER, 1 + JITTER)


def _give_up(settings: Settings) -> timedelta:
    return timedelta(hours=settings.notifications.give_up_hours)


# -- what operators do


def retry(engine: Engine, delivery_id: int, actor: str) -> None:
    """Try a delivery again, now: one that was given up, or that waits for its next attempt.

    Raises
    ------
    NotFoundError, ConflictError
        There is none, or it is done.
    """
    values = {"state": DeliveryState.PENDING, "next_attempt_at": datetime.now(UTC), "first_failed_at": None}
    _change(engine, delivery_id, actor, "delivery.retried", values | {"done_at": None})


def discard(engine: Engine, delivery_id: int, actor: str) -> None:
    """Give a delivery up for good.

    Raises
    ------
    As `retry`.
    """
    values = {"state": DeliveryState.DISCARDED, "done_at": datetime.now(UTC)}
    _change(engine, delivery_id, actor, "delivery.discarded", values)


def _change(engine: Engine, delivery_id: int, actor: str, action: str, values: dict[str, Any]) -> None:
    with reachable(engine), engine.begin() as connection:
        row = None
        if 0 < delivery_id < 1 << 63:
            row = connection.execute(
                select(Delivery.channel, Delivery.address, Delivery.state, Notification.uid, Notification.facility_id)
                .join(Notification, Notification.id == Delivery.notification_id)
                .where(Delivery.id == delivery_id)
            ).one_or_none()
        if row is None:
            raise NotFoundError("there is no such delivery", fix="noctis notification list")
        if row.state not in (DeliveryState.PENDING, DeliveryState.DEAD):
            raise ConflictError(f"this delivery is {row.state}")
        connection.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))
        where = (DeliveryTarget.channel == row.channel, DeliveryTarget.address == row.address)
        if values["state"] == DeliveryState.PENDING:
            connection.execute(update(DeliveryTarget).where(*where).values(paused_until=None))
        connection.execute(
            insert(Event),
            {
                "actor": actor,
                "action": action,
                "facility_id": row.facility_id,
                "subject": row.uid,
                "detail": {"delivery": delivery_id, "channel": row.channel},
            },
        )


def prune(engine: Engine, days: int) -> int:
    """Forget notifications older than that, but for those that still wait; how many. Also addresses nobody has."""
    edge = datetime.now(UTC) - timedelta(days=days)
    pending = exists().where(Delivery.notification_id == Notification.id, Delivery.state == DeliveryState.PENDING)
    count = 0
    while True:
        with reachable(engine), engine.begin() as connection:
            ids = connection.scalars(select(Notification.id).where(Notification.at < edge, ~pending).limit(CHUNK)).all()
            if ids:
                connection.execute(delete(Delivery).where(Delivery.notification_id.in_(ids)))
                connection.execute(delete(Notification).where(Notification.id.in_(ids)))
            else:
                used = exists().where(
                    Delivery.channel == DeliveryTarget.channel, Delivery.address == DeliveryTarget.address
                )
                connection.execute(
                    delete(DeliveryTarget).where(
                        ~used, or_(DeliveryTarget.paused_until.is_(None), DeliveryTarget.paused_until < edge)
                    )
                )
        count += len(ids)
        if len(ids) < CHUNK:
            return count
