"""One study looked at closely: its series, gaps in instance numbers, when its instances came and who brought them.

All of it is bounded: a study of more instances or series than can be looked at says so.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from noctis.db.engine import reading
from noctis.db.models import AssociationRecord, Facility, Instance, Series, Study
from noctis.errors import NotFoundError
from noctis.repository.index_values import TEXT_MAX
from noctis.repository.queries import number_of, plain, study_columns

SERIES_MAX = 1000
AT_ONCE = 3000  # instances that are looked at while a page is waited for
INSTANCES_MAX = 50_000  # and at all
SHOWN_MAX = 20  # ranges of missing numbers, duplicates; of one series
ARRIVALS_MAX = 40
ASSOCIATIONS_MAX = 300  # that are looked at for one arrival
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,12}\s*")
_IN_ADDRESS = re.compile(r"[A-Za-z0-9._ -]+")
_PART = re.compile(r"~[0-9]{1,18}")


@dataclass
class Numbers:
    """The instance numbers of one series."""

    numbered: int = 0  # instances
    unnumbered: int = 0  # instances whose number is missing or no integer
    first: int | None = None
    last: int | None = None
    missing: list[tuple[int, int]] = field(default_factory=list)  # ranges between first and last, the first few
    missing_total: int = 0
    more_missing: bool = False  # there are more ranges
    repeated: list[int] = field(default_factory=list)  # numbers that several instances have, the first few
    repeated_total: int = 0

    @property
    def sound(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.missing_total or self.repeated_total or self.unnumbered or self.begins_late)

    @property
    def begins_late(self) -> bool:
        return self.first is not None and self.first > 1


@dataclass
class Arrival:
    """Instances that came from one caller without a long pause."""

    calling: str
    called: str
    address: str
    begin: datetime
    end: datetime
    instances: int = 0
    associations: list[dict[str, Any]] = field(default_factory=list)  # that were open then, as the ledger has them


@dataclass(frozen=True)
class Details:
    """What a study's instances tell."""

    numbers: dict[int, Numbers]  # by the series' id
    arrivals: list[Arrival]  # the earliest first
    arrivals_left_out: int
    folders: list[str]  # of its files, below the archive's folder
    looked_at: int  # instances
    whole: bool  # all were looked at

    @property
    def missing_total(self) -> int:
        """Instance numbers that are missing, of all series."""
        return sum(each.missing_total for each in self.numbers.values())


def path_part(study_id: int, study_uid: str) -> str:
    """What names a study in an address, not yet quoted: its UID, or ~ and its number where that cannot be there."""
    return study_uid if _IN_ADDRESS.fullmatch(study_uid) and study_uid not in (".", "..") else f"~{study_id}"


def find_study(engine: Engine, slug: str, part: str) -> dict[str, Any]:
    """The study of one facility that `path_part` names; as `queries.studies` gives it.

    Raises
    ------
    NotFoundError
        There is none.
    """
    row = None
    if "\0" not in part + slug and len(part) <= TEXT_MAX:
        named = Study.id == int(part[1:]) if _PART.fullmatch(part) else Study.study_instance_uid == part
        with reading(engine) as connection:
            facility_id = connection.scalar(select(Facility.id).where(Facility.slug == slug))
            if facility_id is not None:
                row = connection.execute(study_columns().where(named, Study.facility_id == facility_id)).first()
    if row is None:
        # not repeated: what was typed may be a patient's name or ID, and errors end in logs
        raise NotFoundError("this facility has no such study", fix="look for it in the list of studies")
    return plain(row)


def series_of_study(engine: Engine, study_id: int) -> list[dict[str, Any]]:
    """The series of one study by number, at most `SERIES_MAX`."""
    query = select(*Series.__table__.c).where(Series.study_id == study_id).limit(SERIES_MAX)
    with reading(engine) as connection:
        rows = [plain(row) for row in connection.execute(query)]
    return sorted(rows, key=lambda row: (number_of(row["series_number"]), row["series_instance_uid"]))


def instances_of_study(engine: Engine, study_id: int, limit: int, after: int = 0) -> list[dict[str, Any]]:
    """Instances of one study in the order in which they were filed, those behind the one with the id `after`."""
    found = (
        select(Instance.id)
        .join(Series, Series.id == Instance.series_id)
        .where(Series.study_id == study_id, Instance.id > after)
        .cte("found")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    query = (
        select(Series.series_instance_uid, *Instance.__table__.c)
        .join(found, found.c.id == Instance.id)
        .join(Series, Series.id == Instance.series_id)
        .order_by(Instance.id)
        .limit(limit)
    )
    with reading(engine) as connection:
        return [plain(row) for row in connection.execute(query)]


def details(engine: Engine, study: dict[str, Any], pause_seconds: float, limit: int = INSTANCES_MAX) -> Details:
    """Gaps, arrivals and folders of one study, from its first `limit` instances.

    Parameters
    ----------
    pause_seconds
        A pause of so long ends an arrival; what comes after it is another one.
    """
    columns: Any = (
        Instance.series_id,
        Instance.instance_number,
        Instance.calling_ae_title,
        Instance.called_ae_title,
        Instance.peer_address,
        Instance.received_at,
        Instance.path,
    )
    query = (
        select(*columns)
        .join(Series, Series.id == Instance.series_id)
        .where(Series.study_id == study["id"])
        .limit(limit + 1)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
        looked_at = rows[:limit]
        arrivals = _arrivals(looked_at, timedelta(seconds=pause_seconds))
        for arrival in arrivals[:ARRIVALS_MAX]:
            arrival.associations = _associations(connection, study["facility_id"], arrival)
    return Details(
        numbers=_numbers(looked_at),
        arrivals=arrivals[:ARRIVALS_MAX],
        arrivals_left_out=max(0, len(arrivals) - ARRIVALS_MAX),
        folders=sorted({row.path.rpartition("/")[0] for row in looked_at}),
        looked_at=len(looked_at),
        whole=len(rows) <= limit,
    )


def _numbers(rows: Iterable[Row[Any]]) -> dict[int, Numbers]:
    by_series: dict[int, list[str]] = {}
    for row in rows:
        by_series.setdefault(row.series_id, []).append(row.instance_number)
    return {series: numbers_of(texts) for series, texts in by_series.items()}


def numbers_of(texts: Sequence[str]) -> Numbers:
    """What the instance numbers of a series (IS as sent) tell."""
    counted = Counter(int(text) for text in texts if _INTEGER.fullmatch(text))
    numbered = sum(counted.values())
    found = Numbers(numbered=numbered, unnumbered=len(texts) - numbered)
    if not counted:
        return found
    order = sorted(counted)
    found.first, found.last = order[0], order[-1]
    gaps = [(before + 1, after - 1) for before, after in pairwise(order) if after - before > 1]
    found.missing, found.missing_total = gaps[:SHOWN_MAX], sum(last - first + 1 for first, last in gaps)
    found.more_missing = len(gaps) > SHOWN_MAX
    repeated = [number for number in order if counted[number] > 1]
    found.repeated, found.repeated_total = repeated[:SHOWN_MAX], len(repeated)
    return found


def _arrivals(rows: Iterable[Row[Any]], pause: timedelta) -> list[Arrival]:
    found: list[Arrival] = []
    current: dict[tuple[str, str, str], Arrival] = {}
    for row in sorted(rows, key=lambda row: row.received_at):
        caller = (row.calling_ae_title, row.called_ae_title, row.peer_address)
        arrival = current.get(caller)
        if arrival is None or row.received_at - arrival.end > pause:
            arrival = current[caller] = Arrival(*caller, begin=row.received_at, end=row.received_at)
            found.append(arrival)
        arrival.end = row.received_at
        arrival.instances += 1
    return found


def _associations(connection: Connection, facility_id: int, arrival: Arrival) -> list[dict[str, Any]]:
    """Those of this caller that were open while the instances came. The ledger forgets old ones."""
    near = (
        select(*AssociationRecord.__table__.c)
        .where(AssociationRecord.facility_id == facility_id, AssociationRecord.ended_at >= arrival.begin)
        .order_by(AssociationRecord.facility_id, AssociationRecord.ended_at)
        .limit(ASSOCIATIONS_MAX)
        .subquery()
    )
    query = select(near).where(
        near.c.calling == arrival.calling,
        near.c.called == arrival.called,
        near.c.address == arrival.address,
        near.c.started_at <= arrival.end,
        near.c.instances > 0,
    )
    return [plain(row) for row in connection.execute(query.order_by(near.c.started_at).limit(SHOWN_MAX))]
