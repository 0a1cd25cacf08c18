"""The statements of `index_rows`, built once: to build one costs several times what it costs to run it.

Each takes its values as parameters. Those that differ between databases are made for a dialect's name.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Insert,
    Select,
    String,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from noctis.db.models import Event, Facility, Instance, Series, Study, StudyTerm

FACILITY: Table = Facility.__table__  # type: ignore[assignment]
STUDY: Table = Study.__table__  # type: ignore[assignment]
SERIES: Table = Series.__table__  # type: ignore[assignment]
INSTANCE: Table = Instance.__table__  # type: ignore[assignment]
TERM: Table = StudyTerm.__table__  # type: ignore[assignment]
EVENT: Table = Event.__table__  # type: ignore[assignment]

STUDY_COUNTS = (
    "series",
    "instances",
    "bytes",
    "modalities",
    "first_received",
    "last_received",
    "status",
    "late_instances",
)

COUNT_STUDY = (
    update(STUDY)
    .where(STUDY.c.id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in STUDY_COUNTS})
)
COUNT_SERIES = (
    update(SERIES)
    .where(SERIES.c.id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in ("instances", "bytes")})
)


@cache
def facilities(dialect: str) -> Select[Any]:
    return select(FACILITY.c.id, FACILITY.c.slug, FACILITY.c.conflict, FACILITY.c.quarantine_max_instances).where(
        _among(dialect, FACILITY.c.slug, "slugs")
    )


@cache
def filed_instances(dialect: str, lock: bool) -> Select[Any]:
    """Of one facility; the columns are `FiledRow`'s."""
    query = (
        select(
            INSTANCE.c.id,
            INSTANCE.c.facility_id,
            INSTANCE.c.series_id,
            SERIES.c.study_id,
            STUDY.c.study_instance_uid,
            SERIES.c.series_instance_uid,
            INSTANCE.c.sop_instance_uid,
            INSTANCE.c.sop_class_uid,
            INSTANCE.c.transfer_syntax_uid,
            INSTANCE.c.sha256,
            INSTANCE.c.path,
            INSTANCE.c.bytes,
            INSTANCE.c.calling_ae_title,
            INSTANCE.c.called_ae_title,
            INSTANCE.c.peer_address,
            INSTANCE.c.received_at,
        )
        .join(SERIES, SERIES.c.id == INSTANCE.c.series_id)
        .join(STUDY, STUDY.c.id == SERIES.c.study_id)
        .where(INSTANCE.c.facility_id == bindparam("facility_id"))
        .where(_among(dialect, INSTANCE.c.sop_instance_uid, "uids"))
        .order_by(INSTANCE.c.facility_id, INSTANCE.c.sop_instance_uid)
    )
    return query.with_for_update(of=INSTANCE) if lock else query


@cache
def studies(dialect: str) -> Select[Any]:
    """Of one facility, locked."""
    return (
        select(
            STUDY.c.id,
            STUDY.c.facility_id,
            STUDY.c.study_instance_uid,
            STUDY.c.series,
            STUDY.c.instances,
            STUDY.c.bytes,
            STUDY.c.modalities,
            STUDY.c.first_received,
            STUDY.c.last_received,
            STUDY.c.status,
            STUDY.c.completed_at,
            STUDY.c.late_instances,
        )
        .where(STUDY.c.facility_id == bindparam("facility_id"))
        .where(_among(dialect, STUDY.c.study_instance_uid, "uids"))
        .order_by(STUDY.c.facility_id, STUDY.c.study_instance_uid)
        .with_for_update()
    )


@cache
def series_of_studies(dialect: str) -> Select[Any]:
    return (
        select(SERIES.c.id, SERIES.c.study_id, SERIES.c.series_instance_uid, SERIES.c.instances, SERIES.c.bytes)
        .where(_among(dialect, SERIES.c.study_id, "studies"))
        .where(_among(dialect, SERIES.c.series_instance_uid, "uids"))
    )


def _among(dialect: str, tested: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a column is one of the values of the parameter `name`: on PostgreSQL one array, of any length."""
    if dialect == "postgresql":
        return tested == any_(bindparam(name, type_=ARRAY(_unbounded(tested))))
    return tested.in_(bindparam(name, expanding=True))


@cache
def insert_rows(target: Table, if_absent: bool) -> Insert:
    return sqlite.insert(target).on_conflict_do_nothing() if if_absent else insert(target)


@cache
def insert_arrays(target: Table, names: tuple[str, ...], if_absent: bool) -> Insert:
    """All rows as one array a column: one statement of few parameters, several times faster than VALUES."""
    types = {name: _unbounded(target.c[name]) for name in names}
    arrays = [cast(bindparam(name, type_=ARRAY(types[name])), ARRAY(types[name])) for name in names]
    source = (
        func.unnest(*arrays).table_valued(*[column(name, types[name]) for name in names]).render_derived(name="came")
    )
    statement = postgresql.insert(target).from_select(names, select(*[source.c[name] for name in names]))
    return statement.on_conflict_do_nothing() if if_absent else statement


def _unbounded(of: ColumnElement[Any]) -> Any:
    """The type of a column's values. A cast to VARCHAR(n) would cut without a word; the column itself refuses."""
    return Text() if isinstance(of.type, String) else of.type
