"""What tests of receipts share: what came on which day, and what was made of it."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, func, select, update

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.db import models
from noctis.db.notifying import Receipt
from noctis.receipts.day import bounds
from noctis.receipts.keeper import Keeper, path_of
from noctis.repository.slots import everything_waiting
from tests.spooling import Spooled

TODAY = datetime.now().astimezone().date()

YESTERDAY = TODAY - timedelta(days=1)


def file(filer: Filer, settings: Settings) -> None:
    filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))


def came_on(engine: Engine, day: date, *instances: str) -> None:
    """Make it so that these instances (all, if none is named) came at noon of a day, and their studies with them."""
    noon = bounds(day)[0] + timedelta(hours=12)
    with engine.begin() as connection:
        statement = update(models.Instance).values(received_at=noon)
        if instances:
            statement = statement.where(models.Instance.sop_instance_uid.in_(instances))
        connection.execute(statement)
        for study, first, last in connection.execute(
            select(
                models.Series.study_id,
                func.min(models.Instance.received_at),
                func.max(models.Instance.received_at),
            )
            .join(models.Series, models.Series.id == models.Instance.series_id)
            .group_by(models.Series.study_id)
        ).all():
            connection.execute(
                update(models.Study).where(models.Study.id == study).values(first_received=first, last_received=last)
            )


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def study_digest(*spooled: Spooled) -> str:
    """As docs/notifications.md has it, from the bytes that were sent."""
    return sha(
        "".join(f"{digest}\n" for digest in sorted(hashlib.sha256(each.data_set).hexdigest() for each in spooled))
    )


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def look(keeper: Keeper) -> int:
    """As an hour later: the instances are scanned again."""
    keeper._scanned_at = None
    return keeper.look()


def receipts(engine: Engine) -> list[dict[str, Any]]:
    query = select(Receipt.__table__).order_by(Receipt.facility_id, Receipt.day)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def document(settings: Settings, slug: str = "central", day: date = YESTERDAY) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path_of(settings, slug, day.isoformat()).read_text())
    return found
