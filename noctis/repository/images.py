"""What the viewer asks of the index: one series with its instances in order, one instance. Reads only.

Everything is found by the facility's slug together with what names it in an address: its UID, or ~ and its number where
the UID cannot stand there (`study_details.path_part`). A UID alone identifies nothing.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, func, select

from noctis.db.engine import reading
from noctis.db.models import Facility, Instance, Series, Study
from noctis.errors import NotFoundError
from noctis.repository.element_values import uid_name
from noctis.repository.positions import along_normal
from noctis.repository.study_details import path_part

PAGE = 500  # instances that are read at once
_BY_NUMBER = re.compile(r"~\d{1,18}")
INSTANCES_MAX = 20_000  # of a series that are looked at
REFERENCES_MAX = 2000  # of one report, that are looked for
FRAMES_MAX = 1_000_000  # of an instance

# What is no image, by its SOP class: what it is (PS3.4 §B.5), by the first prefix that fits.
OTHERS = (
    ("1.2.840.10008.5.1.4.1.1.88.59", "Key object selection"),
    ("1.2.840.10008.5.1.4.1.1.88.", "Structured report"),
    ("1.2.840.10008.5.1.4.1.1.104.1", "PDF document"),
    ("1.2.840.10008.5.1.4.1.1.104.2", "CDA document"),
    ("1.2.840.10008.5.1.4.1.1.104.", "3D model"),
    ("1.2.840.10008.5.1.4.1.1.9.", "Waveform"),
    ("1.2.840.10008.5.1.4.1.1.11.", "Presentation state"),
    ("1.2.840.10008.5.1.4.1.1.481.3", "RT structure set"),
    ("1.2.840.10008.5.1.4.1.1.481.5", "RT plan"),
    ("1.2.840.10008.5.1.4.1.1.66", "Raw data or registration"),
)
VIDEO = (  # MPEG2, MPEG-4, HEVC (PS3.5 §A.4): one stream, no frames to decode
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.108",
)


@dataclass(frozen=True)
class ImageRow:
    """One instance, as the viewer needs it."""

    id: int
    slug: str
    study_id: int
    study_uid: str
    series_id: int
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    frames: int
    rows: int | None
    columns: int | None
    path: str
    bytes: int
    sha256: str
    received_at: datetime

    @property
    def study_part(self) -> str:
        """What names its study in an address; so do the next ones the series and itself (`study_details.path_part`)."""
        return path_part(self.study_id, self.study_uid)

    @property
    def series_part(self) -> str:
        return path_part(self.series_id, self.series_uid)

    @property
    def part(self) -> str:
        return path_part(self.id, self.sop_instance_uid)

    @property
    def digest(self) -> str:
        """Says in an address which bytes are meant, so that a browser may keep what it got."""
        return self.sha256[:12]

    @property
    def no_image(self) -> str:
        """Why there is no picture of it, as far as the index knows; "": there should be one."""
        if self.transfer_syntax_uid.removesuffix(".1") in VIDEO:
            return f"Video ({uid_name(self.transfer_syntax_uid) or 'MPEG'})"
        if self.rows and self.columns:
            return ""
        for prefix, what in OTHERS:
            if self.sop_class_uid.startswith(prefix):
                return what
        return "No image" if not self.class_name else f"No image ({self.class_name})"

    @property
    def class_name(self) -> str:
        return uid_name(self.sop_class_uid).removesuffix(" Storage")


@dataclass(frozen=True)
class SeriesView:
    """One series with what its study says of the patient."""

    facility: str  # name
    slug: str
    id: int
    study: dict[str, Any]
    series: dict[str, Any]
    study_part: str
    series_part: str
    images: list[ImageRow] = field(default_factory=list)
    left_out: bool = False  # there are more than INSTANCES_MAX


def _named(number: ColumnElement[Any], uid: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """What a part of an address names: by its UID, or by ~ and its number (`study_details.path_part`)."""
    return number == int(part[1:]) if _BY_NUMBER.fullmatch(part) else uid == part


def _of(slug: str, study: str, series: str | None = None) -> tuple[ColumnElement[bool], ...]:
    """The facility's, the study's and the series' conditions.

    Raises
    ------
    NotFoundError
        Nothing can be named so.
    """
    if any("\0" in part for part in (slug, study, series or "")):  # no database takes it
        raise NotFoundError("there is no such study or series")
    found = (Facility.slug == slug, _named(Study.__table__.c.id, Study.__table__.c.study_instance_uid, study))
    if series is None:
        return found
    return (*found, _named(Series.__table__.c.id, Series.__table__.c.series_instance_uid, series))


def _instances() -> Select[Any]:
    names = ("id", "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "instance_number", "frames", "rows")
    columns = [Instance.__table__.c[name] for name in (*names, "columns", "path", "bytes", "sha256", "received_at")]
    return (
        select(
            Facility.slug,
            Study.id.label("study_id"),
            Study.study_instance_uid.label("study_uid"),
            Series.id.label("series_id"),
            Series.series_instance_uid.label("series_uid"),
            *columns,
        )
        .select_from(Instance)
        .join(Facility, Facility.id == Instance.facility_id)
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
    )


def _row(found: Any) -> ImageRow:
    return ImageRow(**{**found._mapping, "frames": frames_of(found.frames)})


def frames_of(text: str) -> int:
    """Number of Frames as sent, as a number that can be counted to."""
    try:
        return min(max(int(text), 1), FRAMES_MAX)
    except ValueError:
        return 1


def instance(engine: Engine, slug: str, study: str, part: str, series: str | None = None) -> ImageRow:
    """One instance of a facility's study.

    Raises
    ------
    NotFoundError
        There is none.
    """
    if "\0" in part:
        raise NotFoundError("this study has no such instance")
    one = _named(Instance.__table__.c.id, Instance.__table__.c.sop_instance_uid, part)
    query = _instances().where(*_of(slug, study, series), one)
    with reading(engine) as connection:
        found = connection.execute(query).first()
    if found is None:
        raise NotFoundError("this study has no such instance")
    return _row(found)


def of_study(engine: Engine, study_id: int, uids: Collection[str]) -> dict[str, ImageRow]:
    """Those of these SOP Instance UIDs that are instances of one study, `REFERENCES_MAX` at the most."""
    asked = sorted(uids)[:REFERENCES_MAX]
    found: dict[str, ImageRow] = {}
    with reading(engine) as connection:
        for at in range(0, len(asked), PAGE):
            some = Instance.sop_instance_uid.in_(asked[at : at + PAGE])
            for each in connection.execute(_instances().where(Study.id == study_id, some)):
                found[each.sop_instance_uid] = _row(each)
    return found


def middle(engine: Engine, slug: str, study: str, series: str) -> ImageRow:
    """The image in the middle of a series by arrival, which is nearly always that of its order; else any instance.

    Raises
    ------
    NotFoundError
        There is no such series, or nothing in it.
    """
    query = _instances().where(*_of(slug, study, series))
    with reading(engine) as connection:
        for only in (query.where(Instance.rows.is_not(None)), query):
            count = connection.scalar(select(func.count()).select_from(only.subquery())) or 0
            found = connection.execute(only.order_by(Instance.id).offset(count // 2).limit(1)).first()
            if found is not None:
                return _row(found)
    raise NotFoundError("this study has no such series")


def everything(engine: Engine, slug: str, study: str, series: str | None = None) -> Iterator[ImageRow]:
    """The instances of a study, or of one series of it, as they arrived; read a page at a time.

    Raises
    ------
    NotFoundError
        There is none; raised at once.
    """
    query = _instances().where(*_of(slug, study, series))
    query = query.order_by(Instance.id).limit(PAGE)

    def page(after: int) -> Sequence[Any]:
        with reading(engine) as connection:
            return connection.execute(query.where(Instance.id > after)).all()

    first = page(0)
    if not first:
        raise NotFoundError("there is no such study, or nothing in it")

    def rows() -> Iterator[ImageRow]:
        found = first
        while found:
            for each in found:
                yield _row(each)
            found = page(found[-1].id)

    return rows()


def series(engine: Engine, slug: str, study: str, series: str, archive: Path | None = None) -> SeriesView:
    """One series of a facility's study, its instances in the order in which they are looked at.

    By Instance Number; where that is missing or given twice by the position along the slices' normal, if a few files
    tell it; else as they arrived.

    Parameters
    ----------
    archive
        The archive's folder; None: files are not asked for positions.

    Raises
    ------
    NotFoundError
        There is none.
    """
    where = _of(slug, study, series)
    with reading(engine) as connection:
        head = connection.execute(
            select(Facility.name.label("facility_name"), Series.id.label("series_id"), Series.study_id)
            .select_from(Series)
            .join(Study, Study.id == Series.study_id)
            .join(Facility, Facility.id == Study.facility_id)
            .where(*where)
        ).first()
        if head is None:
            raise NotFoundError("this study has no such series")
        of_study = connection.execute(select(*Study.__table__.c).where(Study.id == head.study_id)).one()
        of_series = connection.execute(select(*Series.__table__.c).where(Series.id == head.series_id)).one()
        query = _instances().where(Instance.series_id == head.series_id).order_by(Instance.id).limit(INSTANCES_MAX + 1)
        rows = [_row(each) for each in connection.execute(query)]
    made = SeriesView(
        head.facility_name,
        slug,
        head.series_id,
        dict(of_study._mapping),
        dict(of_series._mapping),
        path_part(of_study.id, of_study.study_instance_uid),
        path_part(of_series.id, of_series.series_instance_uid),
    )
    return replace(made, images=_in_order(rows[:INSTANCES_MAX], archive), left_out=len(rows) > INSTANCES_MAX)


def _in_order(rows: Sequence[ImageRow], archive: Path | None) -> list[ImageRow]:
    numbers = [_number(row.instance_number) for row in rows]
    given = [number for number in numbers if number is not None]
    places: dict[str, float] = {}
    if archive is not None and len(set(given)) < len(rows):
        places = along_normal(archive, [(row.slug, row.path, row.sop_instance_uid) for row in rows])

    def key(at: int) -> tuple[float, float, int]:
        number = numbers[at]
        return (
            float("inf") if number is None else number,
            places.get(rows[at].sop_instance_uid, float("inf")),
            at,
        )

    return [rows[at] for at in sorted(range(len(rows)), key=key)]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None
