"""What is asked of the index: lists for the command line and the pages, the latest first. Reads only.

Every list takes a limit, and comes as plain dictionaries whose times are ISO 8601 in UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Select, func, literal_column, or_, select, union_all

from noctis.db.engine import reading
from noctis.db.models import AssociationRecord, Facility, Instance, Series, Study, StudyStatus
from noctis.errors import NotFoundError, UsageError
from noctis.facilities.naming import CHECKING
from noctis.repository.usage import Usage


@dataclass(frozen=True)
class StudyFilter:
    """Which studies; None: any."""

    facility_id: int | None = None
    patient: str | None = None  # part of the patient's ID or name, any case
    accession: str | None = None
    date: str | None = None  # YYYYMMDD, YYYYMMDD-YYYYMMDD, YYYYMMDD- or -YYYYMMDD (PS3.4 §C.2.2.2.5)
    modality: str | None = None
    status: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL.

        Raises
        ------
        UsageError
            The date is malformed.
        """
        found: list[ColumnElement[bool]] = []
        if self.facility_id is not None:
            found.append(Study.facility_id == self.facility_id)
        if self.patient:
            columns = (Study.patient_id, Study.patient_name)
            lower = self.patient.lower()
            found.append(
                or_(
                    *(func.lower(column).contains(lower, autoescape=True) for column in columns),
                    # as typed: a PostgreSQL database in the locale C knows the case of ASCII alone
                    *(column.contains(self.patient, autoescape=True) for column in columns),
                )
            )
        if self.accession:
            found.append(Study.accession_number == self.accession)
        if self.date:
            found += _dates(self.date)
        if self.modality:
            found.append(("\\" + Study.modalities + "\\").contains(f"\\{self.modality.upper()}\\", autoescape=True))
        if self.status == StudyStatus.COMPLETE:
            found.append(Study.status.concat("") == self.status)  # its index would lead through nearly all studies
        elif self.status:
            found.append(Study.status == self.status)
        return found


def _dates(text: str) -> list[ColumnElement[bool]]:
    first, dash, last = text.partition("-")
    if not (first or last) or any(part and not _is_date(part) for part in (first, last)):
        raise UsageError("this is no date", fix="YYYYMMDD or YYYYMMDD-YYYYMMDD, for example 20260101-20260131")
    if not dash:
        return [Study.study_date == first]
    found: list[ColumnElement[bool]] = [Study.study_date != ""]
    if first:
        found.append(Study.study_date >= first)
    if last:
        found.append(Study.study_date <= last)
    return found


def _is_date(text: str) -> bool:
    return len(text) == 8 and text.isascii() and text.isdigit()


def plain(row: Row[Any]) -> dict[str, Any]:
    """A row as a dictionary that JSON can say."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row._mapping.items()}


def _fetch(engine: Engine, query: Select[Any]) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return [plain(row) for row in connection.execute(query)]


def study_columns() -> Select[Any]:
    """Studies as lists have them: with the facility's slug, without what they are searched by."""
    columns = [column for column in Study.__table__.c if column.name != "words"]
    return select(Facility.slug.label("facility"), *columns).join(Facility, Facility.id == Study.facility_id)


def studies(engine: Engine, wanted: StudyFilter, limit: int) -> list[dict[str, Any]]:
    """Studies, the newest first: by when the first instance came, as the pages have them (`search`)."""
    return _fetch(engine, study_columns().where(*wanted.conditions()).order_by(Study.id.desc()).limit(limit))


def one_study(engine: Engine, study_uid: str, facility_id: int | None = None) -> dict[str, Any]:
    """The study with this UID.

    Raises
    ------
    NotFoundError
        There is none.
    UsageError
        Several facilities have one of this UID, and none was named.
    """
    # one look into the index a facility: without them it would be read from end to end
    owners = select(Facility.id) if facility_id is None else [facility_id]
    where = (Study.study_instance_uid == study_uid, Study.facility_id.in_(owners))
    found = _fetch(engine, study_columns().where(*where).limit(10))
    if not found:
        # not repeated: what was typed may be a patient's name or ID, and errors end in logs
        raise NotFoundError("no study has this Study Instance UID", fix="noctis study list")
    if len(found) > 1:
        slugs = ", ".join(row["facility"] for row in found)
        raise UsageError(f"several facilities have this study: {slugs}", fix="say which one with --facility")
    return found[0]


def series_of(engine: Engine, *, study_uid: str, facility_id: int | None = None) -> list[dict[str, Any]]:
    """The series of one study, by number."""
    study = one_study(engine, study_uid, facility_id)
    rows = _fetch(engine, select(*Series.__table__.c).where(Series.study_id == study["id"]))
    return sorted(rows, key=lambda row: (number_of(row["series_number"]), row["series_instance_uid"]))


def number_of(text: str) -> float:
    """An IS or DS as something to sort by; what is none comes last."""
    try:
        return float(text)
    except ValueError:
        return float("inf")


def instance_columns() -> Select[Any]:
    """Instances with the facility's slug and the UIDs of study and series."""
    uids = (Study.study_instance_uid, Series.series_instance_uid)
    return (
        select(Facility.slug.label("facility"), *uids, *Instance.__table__.c)
        .join(Facility, Facility.id == Instance.facility_id)
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
    )


def instances(
    engine: Engine,
    limit: int,
    *,
    facility_id: int | None = None,
    study_uid: str | None = None,
    series_uid: str | None = None,
) -> list[dict[str, Any]]:
    """Instances, the latest first."""
    query = instance_columns()
    if facility_id is not None:
        query = query.where(Instance.facility_id == facility_id)
    if study_uid:
        query = query.where(Study.study_instance_uid == study_uid)
    if series_uid:
        query = query.where(Series.series_instance_uid == series_uid)
    return _fetch(engine, query.order_by(Instance.id.desc()).limit(limit))


def associations(
    engine: Engine, limit: int, *, facility_id: int | None = None, checks: bool = True
) -> list[dict[str, Any]]:
    """Associations that have ended, the latest first; without `checks` those of our own echoes are left out."""
    query = select(Facility.slug.label("facility"), *AssociationRecord.__table__.c).join(
        Facility, Facility.id == AssociationRecord.facility_id
    )
    if facility_id is not None:
        query = query.where(AssociationRecord.facility_id == facility_id)
    if not checks:
        query = query.where(AssociationRecord.calling != CHECKING)
    order = (AssociationRecord.ended_at.desc(), AssociationRecord.id.desc())
    return _fetch(engine, query.order_by(*order).limit(limit))


def filed_instances(engine: Engine, facility: str, uids: Sequence[str]) -> list[tuple[str, str, datetime]]:
    """SOP Instance UID, digest of the data set and time of arrival of those of `uids` that a facility has."""
    query = (
        select(Instance.sop_instance_uid, Instance.sha256, Instance.received_at)
        .join(Facility, Facility.id == Instance.facility_id)
        .where(Facility.slug == facility, Instance.sop_instance_uid.in_(uids))
    )
    with reading(engine) as connection:
        return [(row.sop_instance_uid, row.sha256, row.received_at) for row in connection.execute(query)]


def archived_usage(engine: Engine, facility_id: int | None = None) -> dict[str, Usage]:
    """What every facility that has any study has in the archive, removed ones too, by slug; or one facility alone."""
    by = Study.facility_id + literal_column(
        "0"
    )  # not by the index, whose order is not the table's: one pass over the table
    summed = select(
        by.label("facility_id"), func.sum(Study.instances).label("instances"), func.sum(Study.bytes).label("size")
    ).group_by(by)
    if facility_id is not None:
        summed = summed.where(Study.facility_id == facility_id)
    sums = summed.subquery()
    query = select(Facility.slug, sums.c.instances, sums.c.size).join(sums, sums.c.facility_id == Facility.id)
    with reading(engine) as connection:
        return {slug: Usage(int(instances), int(size)) for slug, instances, size in connection.execute(query)}


def last_received(engine: Engine) -> datetime | None:
    """When the newest instance came."""
    # the index is by status: one look at the end of each
    each = [select(func.max(Study.last_received).label("at")).where(Study.status == status) for status in StudyStatus]
    with reading(engine) as connection:
        return max((at for at in connection.scalars(union_all(*each)) if at is not None), default=None)
