"""When every sender sends: associations as they end, counted into the table `activity_day`.

An association counts that stored an instance or tried to; one of C-ECHO alone, ours or a device's, does not, nor does
an import. Each hour from its beginning to its end is marked, up to `SPAN_HOURS`; what it brought counts on the day on
which it ended. Calling AE titles are what callers say: beside its devices a facility has at most `CALLERS_MAX` of them,
and those that come after are counted together, under "".
"""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from noctis.db.engine import reachable, reading
from noctis.db.models import ActivityDay, Device

CALLERS_MAX = 64  # of a facility
CALLING_MAX = 64  # characters
SPAN_HOURS = 168  # of one association, at most
KEEP_DAYS = 26 * 7
_ACTIVITY: Table = ActivityDay.__table__  # type: ignore[assignment]
_DAY_SECONDS = 86_400


def count_activity(connection: Connection, associations: Iterable[dict[str, Any]]) -> None:
    """Add associations that were entered in this transaction, as rows of their table have them."""
    sent = [each for each in associations if each["instances"] or each["failures"]]
    if not sent:
        return
    known = _known(connection, {each["facility_id"] for each in sent})
    counted: dict[tuple[int, str, int], dict[str, Any]] = {}
    for each in sent:
        facility_id, ended = each["facility_id"], each["ended_at"]
        calling = _calling(each["calling"], known.setdefault(facility_id, set()))
        for hour in _hours(each["started_at"], ended):
            key = (facility_id, calling, hour // 24)
            row = counted.setdefault(key, _nothing(key, ended))
            row["hours"] |= 1 << hour % 24
            row["last_at"] = max(row["last_at"], ended)
        row["associations"] += 1  # of its last hour's day
        row["instances"] += each["instances"]
        row["bytes"] += each["bytes"]
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(_ACTIVITY)
    new, old = statement.excluded, _ACTIVITY.c
    sums = {name: old[name] + new[name] for name in ("associations", "instances", "bytes")}
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["facility_id", "calling", "day"],
            set_=sums
            | {
                "hours": old.hours.bitwise_or(new.hours),
                "last_at": case((new.last_at > old.last_at, new.last_at), else_=old.last_at),
            },
        ),
        [counted[key] for key in sorted(counted)],
    )


def forget_old_activity(engine: Engine) -> None:
    """Keep the last `KEEP_DAYS` days."""
    oldest = int(time.time()) // _DAY_SECONDS - KEEP_DAYS
    with reading(engine) as connection:  # to write means to wait for the lock, and mostly there is nothing to do
        if connection.scalar(select(_ACTIVITY.c.day).where(_ACTIVITY.c.day < oldest).limit(1)) is None:
            return
    with reachable(engine), engine.begin() as connection:
        connection.execute(delete(_ACTIVITY).where(_ACTIVITY.c.day < oldest))


def _known(connection: Connection, facilities: set[int]) -> dict[int, set[str]]:
    """The titles that each facility has rows of, and those of its devices: they always have room."""
    known: dict[int, set[str]] = {}
    for table, column in ((_ACTIVITY, _ACTIVITY.c.calling), (Device.__table__, Device.ae_title)):
        owner = table.c.facility_id
        for facility_id, calling in connection.execute(select(owner, column).distinct().where(owner.in_(facilities))):
            known.setdefault(facility_id, set()).add(calling)
    return known


def _nothing(key: tuple[int, str, int], ended: datetime) -> dict[str, Any]:
    values = {"hours": 0, "last_at": ended, "associations": 0, "instances": 0, "bytes": 0}
    return dict(zip(("facility_id", "calling", "day"), key, strict=True)) | values


def _calling(title: str, known: set[str]) -> str:
    title = title[:CALLING_MAX]
    if title not in known and len(known) >= CALLERS_MAX:
        return ""
    known.add(title)
    return title


def _hours(started: datetime, ended: datetime) -> range:
    """Hours since 1970-01-01 UTC, from the one in which it began (as far as that can be believed) to its last."""
    last = int(ended.timestamp() // 3600)
    first = int(started.timestamp() // 3600)
    return range(max(min(first, last), last - SPAN_HOURS + 1), last + 1)
