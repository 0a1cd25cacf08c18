"""What archive, index, quarantine and spool hold, in a form that can be compared: no ids, no times."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, select

from noctis.config import Settings
from noctis.db import models
from noctis.repository.verify import verify

_LEFT_OUT = {"id", "facility_id", "study_id", "series_id", "received_at", "first_received", "last_received", "at"}


@dataclass(frozen=True)
class Books:
    """Everything, sorted."""

    studies: list[dict[str, Any]]
    series: list[dict[str, Any]]
    instances: list[dict[str, Any]]
    archive: dict[str, str]  # path below the archive: digest of the file
    quarantine: dict[str, str]
    quarantined: list[str]  # names of the table's rows
    spool: list[str]


def books(engine: Engine, settings: Settings) -> Books:
    home = settings.paths
    return Books(
        studies=rows(engine, models.Study),
        series=rows(engine, models.Series),
        instances=rows(engine, models.Instance),
        archive=files(home.media),
        quarantine={path: digest for path, digest in files(home.quarantine).items() if path.endswith(".dcm")},
        quarantined=sorted(row["name"] for row in rows(engine, models.Quarantined)),
        spool=sorted(path.name for path in home.spool.glob("*/new/*.dcm")),
    )


def rows(engine: Engine, model: type[models.Base]) -> list[dict[str, Any]]:
    """A table's rows, without ids and times, sorted."""
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(select(model.__table__))]
    kept = [{key: value for key, value in row.items() if key not in _LEFT_OUT} for row in found]
    return sorted(kept, key=lambda row: sorted((key, str(value)) for key, value in row.items()))


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def assert_true(engine: Engine, settings: Settings) -> None:
    """Archive and index agree, both ways, and all counts are true."""
    report = verify(settings, engine)
    assert report.findings == [], report.findings


def empty(engine: Engine) -> None:
    """Delete everything but the facilities."""
    metadata: MetaData = models.Base.metadata
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name not in ("facility", "device", "used_port"):
                connection.execute(table.delete())
