"""A receipt as JSON, CSV or text, line by line; and read again from its file. One study is one line of the JSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from noctis.config import Settings
from noctis.errors import StorageError
from noctis.receipts.day import StudyLine, Summing, Totals, bounds
from noctis.text import counted, moment, size

VERSION = 1
COLUMNS = tuple(StudyLine.__dataclass_fields__)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would reckon with


@dataclass(frozen=True)
class Head:
    """Whose receipt, of which day."""

    facility: str  # slug
    name: str
    ae_title: str
    day: str  # YYYY-MM-DD, local
    begin: str  # ISO 8601, UTC
    end: str
    revision: int  # 0: made for whoever asked, and not kept
    made_at: str

    @classmethod
    def of(cls, facility: str, name: str, ae_title: str, day: date, revision: int) -> "Head":
        begin, end = (each.isoformat() for each in bounds(day))
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(facility, name, ae_title, day.isoformat(), begin, end, revision, made_at)


def folder_of(settings: Settings) -> Path:
    """Where the receipts are kept."""
    return settings.receipts.folder or settings.paths.receipts


def path_of(settings: Settings, slug: str, day: str) -> Path:
    """Where a facility's receipt of a day (YYYY-MM-DD) is kept."""
    return folder_of(settings) / slug / f"{day}.json"


def as_json(head: Head, lines: Iterable[StudyLine], summing: Summing) -> Iterator[str]:
    """The JSON document, in pieces."""
    yield _dump({"version": VERSION, **asdict(head)})[:-1] + ',"studies":['
    comma = "\n"
    for line in lines:
        summing.add(line)
        yield comma + _dump(line.as_json())
        comma = ",\n"
    yield '\n],"totals":' + _dump(summing.totals.as_json()) + "}\n"


def as_csv(lines: Iterable[StudyLine], summing: Summing) -> Iterator[str]:
    """A line for each study, with the columns' names above. What a spreadsheet would take for a formula gets an
    apostrophe in front."""
    yield _row(COLUMNS)
    for line in lines:
        summing.add(line)
        yield _row([_harmless(getattr(line, name)) for name in COLUMNS])


def as_text(head: Head, lines: Iterable[StudyLine], summing: Summing) -> Iterator[str]:
    """For people."""
    revision = f", revision {head.revision}" if head.revision > 1 else ""
    yield f"Receipt of {head.day} for {head.name} ({head.ae_title}){revision}, made {moment(head.made_at)}\n\n"
    yield f"{'series':>6} {'instances':>9} {'size':>9}  {'status':<9}  {'accession':<16}  study, SHA-256\n"
    for line in lines:
        summing.add(line)
        yield (
            f"{line.series:>6} {line.instances:>9} {size(line.bytes):>9}  {line.status:<9}  "
            f"{line.accession_number:<16}  {line.study_instance_uid} {line.sha256}\n"
        )
    yield "\n" + summary(summing.totals) + "\n"


def summary(totals: Totals) -> str:
    """The sums, for people."""
    return (
        f"{counted(totals.studies, 'study', 'studies')}, {totals.series} series, "
        f"{counted(totals.instances, 'instance')}, {size(totals.bytes)} ({totals.bytes} bytes)\n"
        f"SHA-256 of the day: {totals.sha256}"
    )


class Stored:
    """A receipt's file, read line by line.

    Raises
    ------
    StorageError
        It is not there, or is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open(encoding="utf-8") as file:
                document = json.loads(file.readline().rstrip("\n") + "]}")
            self.head = Head(**{name: document[name] for name in Head.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"the receipt {path.name} cannot be read") from error

    def lines(self) -> Iterator[StudyLine]:
        with self._path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                if not line.startswith("{"):
                    return
                yield StudyLine(**json.loads(line.rstrip(",\n")))


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _row(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
