"""Rows of what a sender did, as the ledger's writer would have left them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from noctis.archiver.activity import count_activity

WEEKS = 9


def clinic_stopped(now: datetime, ago: timedelta) -> list[float]:
    """Four associations an hour from 8 to 17 h UTC on weekdays, until so long ago; the last of them just then."""
    last = now - ago
    begin = (now - ago - timedelta(weeks=WEEKS)).replace(hour=0, minute=0, second=0, microsecond=0)
    found = [last.timestamp()]
    for number in range((WEEKS + 1) * 7):
        day = begin + timedelta(days=number)
        if day.weekday() < 5:
            times = (day + timedelta(hours=8, minutes=15 * each + 7) for each in range(36))
            found += [each.timestamp() for each in times if each < last]
    return sorted(found)


def fill(engine: Engine, facility_id: int, calling: str, times: Iterable[float]) -> None:
    """Associations of one instance that ended then (seconds since 1970-01-01 UTC)."""
    with engine.begin() as connection:
        count_activity(connection, [_association(facility_id, calling, each) for each in times])


def _association(facility_id: int, calling: str, time: float) -> dict[str, Any]:
    ended = datetime.fromtimestamp(time, UTC)
    values = {"facility_id": facility_id, "calling": calling, "instances": 1, "failures": 0, "bytes": 1000}
    return values | {"started_at": ended, "ended_at": ended}
