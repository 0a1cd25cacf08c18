"""What a facility sent on one day, study by study, with digests. Reads the index in pieces: a million instances cost no
more memory than a thousand.

Digests, so that a sender can reckon them himself:
- of an instance: SHA-256 of its data set, as it came over the wire (`instance.sha256`);
- of a study: SHA-256 of the digests of those of its instances that came on that day, as lower-case hex, sorted, each
  with a line feed behind it;
- of the day: SHA-256 of one line for each study, `UID DIGEST` and a line feed, sorted by UID, byte by byte.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, literal_column, select

from noctis.db.engine import reading
from noctis.db.models import Instance, Series, Study, StudyStatus
from noctis.errors import UsageError

PIECE = 100  # studies in one transaction
ROWS = 2000  # instances fetched at once

Progress = Callable[[int, int], None]  # studies done, studies in all


@dataclass(frozen=True)
class StudyLine:
    """What came of one study on that day."""

    study_instance_uid: str
    accession_number: str
    status: str  # of the study, when the receipt was made
    series: int  # that instances came for
    instances: int
    bytes: int  # of the files, meta included
    sha256: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Totals:
    """The day's sums."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    bytes: int = 0
    sha256: str = hashlib.sha256().hexdigest()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Summing:
    """Totals of lines that go by, in order."""

    def __init__(self) -> None:
        self._studies = self._series = self._instances = self._bytes = 0
        self._digest = hashlib.sha256()

    def add(self, line: StudyLine) -> None:
        self._studies += 1
        self._series += line.series
        self._instances += line.instances
        self._bytes += line.bytes
        self._digest.update(f"{line.study_instance_uid} {line.sha256}\n".encode())

    @property
    def totals(self) -> Totals:
        return Totals(self._studies, self._series, self._instances, self._bytes, self._digest.hexdigest())


def parse_day(text: str, today: date | None = None) -> date:
    """A day as it is typed: YYYY-MM-DD, YYYYMMDD, today, yesterday.

    Raises
    ------
    UsageError
        It is none, or is still to come.
    """
    today = today or datetime.now().astimezone().date()
    words = {"today": today, "yesterday": today - timedelta(days=1)}
    found = words.get(text)
    if found is None:
        digits = text.replace("-", "") if len(text) == 10 and text[4] == text[7] == "-" else text
        try:
            if not (len(digits) == 8 and digits.isascii() and digits.isdigit()):
                raise ValueError(digits)
            found = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        except ValueError:
            raise UsageError("this is no day", fix="YYYY-MM-DD, today or yesterday") from None
    if found > today:
        raise UsageError("this day is still to come")
    if found.year < 1970:
        raise UsageError("nothing was received before 1970")
    return found


def bounds(day: date) -> tuple[datetime, datetime]:
    """From one local midnight to the next, in UTC: 23 to 25 hours."""
    begin = datetime.combine(day, time()).astimezone(UTC)
    return begin, datetime.combine(day + timedelta(days=1), time()).astimezone(UTC)


def study_lines(engine: Engine, facility_id: int, day: date, progress: Progress | None = None) -> Iterator[StudyLine]:
    """The studies of which something came on that day, by UID.

    Raises
    ------
    DatabaseError
        It is away.
    """
    begin, end = bounds(day)
    with reading(engine) as connection:
        studies = _studies(connection, facility_id, begin, end)
    for start in range(0, len(studies), PIECE):
        piece = studies[start : start + PIECE]
        with reading(engine) as connection:
            yield from _lines(connection, piece, begin, end)
        if progress is not None:
            progress(min(start + PIECE, len(studies)), len(studies))


def _studies(connection: Connection, facility_id: int, begin: datetime, end: datetime) -> "array[int]":
    """Their ids. Found by when they were received, over all facilities: an index of that alone would cost every commit
    of the archiver something."""
    query = (
        select(Study.id)
        .where(Study.status.in_(tuple(StudyStatus)), Study.last_received >= begin, Study.first_received < end)
        .where(Study.facility_id + literal_column("0") == facility_id)  # not by the facility's index: it has all years
        .order_by(_bytewise(connection, Study.study_instance_uid))
    )
    found = array("q")
    for (id_,) in connection.execute(query.execution_options(yield_per=ROWS)):
        found.append(id_)
    return found


def _lines(connection: Connection, ids: Sequence[int], begin: datetime, end: datetime) -> Iterator[StudyLine]:
    heads = {
        row.id: row
        for row in connection.execute(
            select(Study.id, Study.study_instance_uid, Study.accession_number, Study.status).where(Study.id.in_(ids))
        )
    }
    query = (
        select(Series.study_id, Instance.series_id, Instance.bytes, Instance.sha256)
        .join(Series, Series.id == Instance.series_id)
        .where(Series.study_id.in_(ids), Instance.received_at >= begin, Instance.received_at < end)
        .order_by(Series.study_id, _bytewise(connection, Instance.sha256))
    )
    sums: dict[int, _Sum] = {}
    for study_id, series_id, size, sha256 in connection.execute(query.execution_options(yield_per=ROWS)):
        sums.setdefault(study_id, _Sum()).add(series_id, size, sha256)
    for id_ in ids:
        head, found = heads.get(id_), sums.get(id_)
        if head is not None and found is not None:
            yield StudyLine(
                head.study_instance_uid,
                head.accession_number,
                head.status,
                len(found.series),
                found.instances,
                found.bytes,
                found.digest.hexdigest(),
            )


class _Sum:
    def __init__(self) -> None:
        self.series: set[int] = set()
        self.instances = self.bytes = 0
        self.digest = hashlib.sha256()

    def add(self, series_id: int, size: int, sha256: str) -> None:
        self.series.add(series_id)
        self.instances += 1
        self.bytes += size
        self.digest.update(f"{sha256}\n".encode())


def _bytewise(connection: Connection, column: Any) -> ColumnElement[Any]:
    """An order that is the same in every database and locale."""
    found: ColumnElement[Any] = column.collate("C") if connection.dialect.name == "postgresql" else column
    return found
