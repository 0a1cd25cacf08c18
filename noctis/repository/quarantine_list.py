"""What is in quarantine, as it is looked at: by the table, which is made true to the folders when they have changed."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, or_, select

from noctis.db.engine import reading
from noctis.db.models import Facility, Instance, Quarantined, Study
from noctis.errors import NotFoundError, UsageError
from noctis.facilities.naming import is_slug
from noctis.repository import keyset, quarantine_rows
from noctis.repository.keyset import Page
from noctis.repository.quarantine import Quarantine, Reason
from noctis.repository.queries import instance_columns

AT_LEAST_SECONDS = 60.0  # between two looks at every name, whatever the folders' times say
_SETTLED_NS = 2_000_000_000  # a folder that changed less than this ago may change again within the same tick


class FreshTable:
    """Keeps the table true to the folders for those who look: a `stat` a facility, the names only after a change."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self._engine = engine
        self._root = root
        self._quarantine = Quarantine(root)
        self._lock = threading.Lock()
        self._seen: dict[str, int] | None = None
        self._at = 0.0

    def refresh(self) -> None:
        """Make the table say what the folders hold.

        Raises
        ------
        DatabaseError
            It cannot be reached.
        """
        with self._lock:
            now, stamps = time.monotonic(), self._stamps()
            if stamps == self._seen and now - self._at < AT_LEAST_SECONDS:
                return
            quarantine_rows.sync(self._engine, self._quarantine)
            edge = time.time_ns() - _SETTLED_NS
            self._seen = stamps if all(stamp < edge for stamp in stamps.values()) else None
            self._at = now

    def _stamps(self) -> dict[str, int]:
        found = {}
        try:
            for folder in self._root.iterdir():
                found[folder.name] = folder.stat().st_mtime_ns
        except OSError:
            return found
        return found


@dataclass(frozen=True)
class QuarantineFilter:
    """Which instances; None or "": any."""

    facility_id: int | None = None
    reason: str | None = None
    text: str | None = None  # the beginning of a UID, or part of a title, the address or the detail, any case
    since: str | None = None
    until: str | None = None

    def conditions(self, engine: Engine) -> list[ColumnElement[bool]]:
        """As SQL.

        Raises
        ------
        UsageError
            A reason or a time is none.
        """
        found: list[ColumnElement[bool]] = []
        if self.facility_id is not None:
            found.append(Quarantined.facility_id == self.facility_id)
        if self.reason:
            if self.reason not in list(Reason):
                raise UsageError("there is no such reason", fix="one of " + ", ".join(Reason))
            found.append(Quarantined.reason == self.reason)
        if self.since:
            found.append(Quarantined.received_at >= keyset.moment_of(self.since))
        if self.until:
            found.append(Quarantined.received_at < keyset.moment_of(self.until))
        if self.text:
            uids = (Quarantined.sop_instance_uid, Quarantined.study_instance_uid, Quarantined.name)
            parts = (Quarantined.calling_ae_title, Quarantined.called_ae_title)
            parts = (*parts, Quarantined.peer_address, Quarantined.detail)  # type: ignore[assignment]
            found.append(
                or_(
                    *(column.startswith(self.text, autoescape=True) for column in uids),
                    *(keyset.holds(engine, column, self.text) for column in parts),
                )
            )
        return found


def page(engine: Engine, wanted: QuarantineFilter, limit: int, after: str | None = None) -> Page:
    """Instances in quarantine, the latest first.

    Raises
    ------
    UsageError
        The filter or the mark is malformed.
    """
    query = (
        select(Facility.slug.label("facility"), Facility.name.label("facility_name"), *Quarantined.__table__.c)
        .join(Facility, Facility.id == Quarantined.facility_id)
        .where(*wanted.conditions(engine), *keyset.behind(Quarantined.received_at, Quarantined.id, after))
        .order_by(Quarantined.received_at.desc(), Quarantined.id.desc())
        .limit(limit + 1)
    )
    with reading(engine) as connection:
        found = connection.execute(query).all()
    last = found[limit - 1] if len(found) > limit else None
    return Page([_plain(row) for row in found[:limit]], keyset.mark(last.received_at, last.id) if last else None)


def counts(engine: Engine, facility_id: int | None = None) -> dict[str, int]:
    """How many there are of each reason."""
    query = select(Quarantined.reason, func.count()).group_by(Quarantined.reason)
    if facility_id is not None:
        query = query.where(Quarantined.facility_id == facility_id)
    with reading(engine) as connection:
        return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def one(engine: Engine, slug: str, name: str) -> dict[str, Any]:
    """One instance, by exactly this slug and file name.

    Raises
    ------
    NotFoundError
        There is none.
    """
    query = (
        select(Facility.slug.label("facility"), Facility.name.label("facility_name"), *Quarantined.__table__.c)
        .join(Facility, Facility.id == Quarantined.facility_id)
        .where(Facility.slug == slug, Quarantined.name == name)
    )
    with reading(engine) as connection:
        found = connection.execute(query).first()
    if found is None:
        raise NotFoundError("the quarantine has no such instance (any more)", fix="noctis quarantine list")
    return _plain(found)


def file_of(root: Path, row: dict[str, Any]) -> Path:
    """The file of a row of the table, which must be there, and be no more than a name in its facility's folder.

    Raises
    ------
    NotFoundError
        It is not there (any more).
    """
    slug, name = str(row["facility"]), str(row["name"])
    if not is_slug(slug) or not Quarantine(root).has(slug, name):
        raise NotFoundError("the quarantine has no such instance (any more)", fix="noctis quarantine list")
    return root / slug / name


def filed_as(engine: Engine, slug: str, sop_instance_uid: str) -> dict[str, Any] | None:
    """What is filed in a facility under this SOP Instance UID; None: nothing."""
    query = instance_columns().where(Facility.slug == slug, Instance.sop_instance_uid == sop_instance_uid)
    with reading(engine) as connection:
        found = connection.execute(query).first()
    return _plain(found) if found is not None else None


def has_study(engine: Engine, slug: str, study_instance_uid: str) -> bool:
    """Whether a facility has this study already."""
    query = (
        select(Study.id)
        .join(Facility, Facility.id == Study.facility_id)
        .where(Facility.slug == slug, Study.study_instance_uid == study_instance_uid)
    )
    with reading(engine) as connection:
        return connection.scalar(query) is not None


def names(engine: Engine, wanted: QuarantineFilter, limit: int) -> Sequence[tuple[str, str]]:
    """Slug and name of all that a filter finds, the oldest first."""
    query = (
        select(Facility.slug, Quarantined.name)
        .join(Facility, Facility.id == Quarantined.facility_id)
        .where(*wanted.conditions(engine))
        .order_by(Quarantined.received_at, Quarantined.id)
        .limit(limit)
    )
    with reading(engine) as connection:
        return [(slug, name) for slug, name in connection.execute(query)]


def _plain(row: Any) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row._mapping.items()}
