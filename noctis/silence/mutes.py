"""What an operator says to a silence: acknowledged (until it sends again), muted (until a time, or for ever), unmuted.

Of one facility or device only the last thing said holds. Each leaves an event.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.orm import Session

from noctis.db.engine import lock_registry, reachable
from noctis.db.models import ActivityDay, Device, Event, Facility, SilenceMute
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.silence.state import ACKNOWLEDGED, MUTED

REASON_MAX = 500  # characters
UNTIL_MAX = timedelta(days=36_500)  # ahead
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LENGTH = re.compile(r"(\d{1,5})([hdw])")
UNTIL_FIX = "a date such as 2026-12-24, a time such as 2026-12-24T08:00, or a length such as 12h, 3d or 2w"


class Mutes:
    """What `actor` says."""

    def __init__(self, engine: Engine, actor: str) -> None:
        self._engine = engine
        self._actor = actor

    def acknowledge(self, slug: str, device: str = "", reason: str = "") -> None:
        """It is known that this facility (device "") or device is silent; until it sends again.

        Raises
        ------
        NotFoundError, ConflictError
            There is no such facility or device, or it never sent.
        """
        with self._saying(slug, device) as (session, facility):
            table = ActivityDay
            query = select(func.max(table.last_at)).where(table.facility_id == facility.id)
            since = session.scalar(query if device == "" else query.where(table.calling == device))
            if since is None:
                raise ConflictError(f"{device or facility.name!r} never sent: there is no alarm to acknowledge")
            self._say(session, facility, device, ACKNOWLEDGED, reason, since=since)

    def mute(self, slug: str, device: str = "", until: datetime | None = None, reason: str = "") -> None:
        """No alarm of this facility and its devices (device ""), or of this device; until None: for ever.

        Raises
        ------
        NotFoundError, UsageError
            There is no such facility or device, or `until` is past or too far away.
        """
        now = datetime.now(UTC)
        if until is not None and not now < until < now + UNTIL_MAX:
            raise UsageError("the time until which to mute is past, or too far away", fix=UNTIL_FIX)
        with self._saying(slug, device) as (session, facility):
            self._say(session, facility, device, MUTED, reason, until=until)

    def unmute(self, slug: str, device: str = "") -> None:
        """Take back what was said.

        Raises
        ------
        NotFoundError
            There is no such facility or device, or nothing was said to its silence.
        """
        with self._saying(slug, device) as (session, facility):
            where = (SilenceMute.facility_id == facility.id, SilenceMute.calling == device)
            if session.scalar(select(SilenceMute.kind).where(*where)) is None:
                raise NotFoundError(f"{device or facility.name!r} is neither muted nor acknowledged")
            session.execute(delete(SilenceMute).where(*where))
            self._note(session, facility, "silence.unmuted", device)

    @contextmanager
    def _saying(self, slug: str, device: str) -> Iterator[tuple[Session, Facility]]:
        with reachable(self._engine), Session(self._engine, expire_on_commit=False) as session, session.begin():
            lock_registry(session.connection())
            facility = None
            if "\0" not in slug:
                known = select(Facility).where(Facility.slug == slug, Facility.removed_at.is_(None))
                facility = session.scalar(known)
            if facility is None:
                raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
            if device:
                titles = set(session.scalars(select(Device.ae_title).where(Device.facility_id == facility.id)))
                senders = select(ActivityDay.calling).where(ActivityDay.facility_id == facility.id).distinct()
                if device not in titles | set(session.scalars(senders)):
                    raise NotFoundError(
                        f"{facility.name!r} has no device {device!r}", fix=f"noctis silence --facility {facility.slug}"
                    )
            yield session, facility

    def _say(
        self,
        session: Session,
        facility: Facility,
        device: str,
        kind: str,
        reason: str,
        *,
        until: datetime | None = None,
        since: datetime | None = None,
    ) -> None:
        reason = _clean(reason)
        where = (SilenceMute.facility_id == facility.id, SilenceMute.calling == device)
        session.execute(delete(SilenceMute).where(*where))
        row = {"facility_id": facility.id, "calling": device, "kind": kind, "until": until, "since": since}
        session.execute(
            insert(SilenceMute).values(row | {"actor": self._actor, "reason": reason, "at": datetime.now(UTC)})
        )
        detail: dict[str, Any] = {"reason": reason} if reason else {}
        if kind == MUTED:
            detail["until"] = until.isoformat() if until else None
        self._note(session, facility, f"silence.{kind}", device, **detail)

    def _note(self, session: Session, facility: Facility, action: str, device: str, **detail: Any) -> None:
        if device:
            detail = {"device": device} | detail
        session.add(
            Event(actor=self._actor, action=action, facility_id=facility.id, subject=facility.slug, detail=detail)
        )


def parse_until(text: str, now: datetime | None = None) -> datetime | None:
    """Until when to mute: a date (its end) or a time by this machine's clock, or a length; "" and "ever": None.

    Raises
    ------
    UsageError
        It is none of these.
    """
    text = text.strip()
    if text in ("", "ever"):
        return None
    now = now or datetime.now(UTC)
    try:
        if found := _LENGTH.fullmatch(text):
            return now + int(found[1]) * UNITS[found[2]]
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time()).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is no time until which to mute", fix=UNTIL_FIX) from None


def _clean(reason: str) -> str:
    """A text that any database takes.

    Raises
    ------
    UsageError
        It is too long.
    """
    reason = " ".join(reason.split())
    if len(reason) > REASON_MAX:
        raise UsageError(f"a reason has at most {REASON_MAX} characters, this one {len(reason)}")
    return reason.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
