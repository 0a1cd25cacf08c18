"""How a page of a search is found without looking at many rows (`search` has what is promised).

The index of the list's order is followed and each row tested, until the page is full: what is frequent is met in the
first `CHUNK`. Where it is not, a word that at most `GATHER` studies have, two words that at most so many have both, or
a status, give those studies, which are tested and sorted. Else the walk goes on, a chunk after the other, and is given
up after `WALK` rows or `SECONDS`. It goes along a frequent word's entries instead where those reach further: the word
may be rare just where the walk begins.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    and_,
    case,
    func,
    intersect,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from noctis.db.models import Facility, Study, StudyStatus, StudyTerm
from noctis.repository.words import ACCESSION, PATIENT, fold

GATHER = 5_000  # entries of a word
PAIR = 60_000  # entries of each of two words, of which those of both are looked for
ENTRIES = 50_000  # entries of a word that are looked at for those of one facility
CHUNK = 4_000  # rows
WALK = 100_000  # rows
SECONDS = 0.02
ASKED_MAX = 6  # words of one search that are looked for
Query = Select[*tuple[Any, ...]]
_TESTED: Any = (Study.id, Study.study_date, Study.words, Study.modalities, Study.status)
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")


@dataclass(frozen=True)
class StudySearch:
    """Which studies; "" and None: any. Words are looked for at their beginnings, and all must be there."""

    facility_id: int | None = None
    text: str = ""  # words of the patient, accession number, description and modalities; or a Study Instance UID
    patient: str = ""  # words of the patient's name and ID
    accession: str = ""
    first_date: str = ""  # YYYYMMDD, inclusive
    last_date: str = ""
    modality: str = ""
    status: str = ""  # StudyStatus

    @property
    def by_date(self) -> bool:
        """Whether the list is in the order of study dates."""
        return bool(self.first_date or self.last_date)

    @property
    def lowest(self) -> str:
        """The first study date that comes into question; studies without one do not."""
        return self.first_date or "0"


@dataclass(frozen=True)
class Position:
    """A study's place in the list."""

    id: int
    date: str = ""  # where the list is in the order of study dates

    def __str__(self) -> str:
        return f"{self.id}.{self.date}" if self.date else str(self.id)


@dataclass
class Found:
    """What a search found, in the direction that it went."""

    keys: list[Position] = field(default_factory=list)  # one more than a page, where there are more
    given_up: Position | None = None  # where the walk ended before the page was full and all was looked at
    examined: int | None = None  # rows, where it was given up


@dataclass(frozen=True)
class _Term:
    """A word as entries of `study_term`."""

    word: str
    exact: bool = False

    @property
    def condition(self) -> ColumnElement[bool]:
        if self.exact:
            return StudyTerm.term == self.word
        return and_(StudyTerm.term >= self.word, StudyTerm.term < self.word + "\x7f")

    @property
    def telling(self) -> bool:
        """Whether it may be rare; one letter hardly is."""
        return self.exact or len(self.word) > 1

    @property
    def entries(self) -> Query:
        return select(StudyTerm.study_id.label("id")).where(self.condition)


class Finder:
    """One page of one search, in one direction."""

    def __init__(
        self, connection: Connection, wanted: StudySearch, start: Position | None, limit: int, *, newer: bool = False
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._start = start
        self._limit = limit
        self._newer = newer

    def find(self) -> Found:
        """The matches behind the start."""
        if _UID.fullmatch(self._wanted.text.strip()):
            return Found(self._positions(self._by_uid(self._wanted.text.strip())))
        found = Found(self._matches(None, self._start, self._limit + 1))
        if len(found.keys) > self._limit:
            return found  # what is frequent
        last = self._reach(None, self._start)
        if last is None:
            return found  # that were all
        candidates = self._candidates()
        if candidates is not None:
            return Found(self._positions(self._among(candidates)))
        return self._walk(found, last)

    def _positions(self, query: Query) -> list[Position]:
        by_date = self._wanted.by_date
        return [Position(row.id, row.study_date if by_date else "") for row in self._connection.execute(query)]

    # -- walking

    def _walk(self, found: Found, start: Position) -> Found:
        """Go on after a first chunk that ended at `start`."""
        deadline, examined = time.monotonic() + SECONDS, CHUNK
        term = self._furthest(start)
        while time.monotonic() < deadline and examined < WALK:
            found.keys += self._matches(term, start, self._limit + 1 - len(found.keys))
            last = self._reach(term, start)
            if len(found.keys) > self._limit or last is None:
                return found
            start, examined = last, examined + CHUNK
        found.given_up, found.examined = start, examined
        return found

    def _matches(self, term: str | None, start: Position | None, limit: int) -> list[Position]:
        """The matches among the next `CHUNK` rows of a walk."""
        rows = self._ordered(select(*_TESTED), start)
        if term is not None:
            entries = self._entries(term, start).limit(CHUNK).subquery("entries")
            rows = select(*_TESTED).join(entries, entries.c.id == Study.id)
        walked = rows.limit(CHUNK).subquery("walked")
        # its order is that of the walk: to ask for it would make SQLite sort all of it, and be no page the sooner
        return self._positions(select(walked.c.id, walked.c.study_date).where(*self._tests(walked.c)).limit(limit))

    def _reach(self, term: str | None, start: Position | None) -> Position | None:
        """The last of the next `CHUNK` rows of a walk; None: there are not so many."""
        key = select(Study.id, Study.study_date if self._wanted.by_date else literal("").label("study_date"))
        steps = self._ordered(key, start) if term is None else self._entries(term, start)
        found = self._positions(steps.offset(CHUNK - 1).limit(1))
        return found[0] if found else None

    def _furthest(self, start: Position) -> str | None:
        """The word whose entries a walk gets furthest along; None: to the order itself."""
        best, furthest = None, self._reach(None, start)
        if furthest is None:
            return None
        for term in self._frequent():
            there = self._reach(term, start)
            if there is None:
                return term
            if (there.id > furthest.id) if self._newer else (there.id < furthest.id):
                best, furthest = term, there
        return best

    def _frequent(self) -> Iterator[str]:
        """Words that were asked for of which nothing else is the beginning. `study_term` knows no dates, and of one
        facility `_candidates` has looked far enough."""
        if self._wanted.by_date or self._wanted.facility_id is not None:
            return
        for term in self._terms():
            known = select(StudyTerm.term).order_by(StudyTerm.term).limit(1)
            first = self._connection.scalar(known.where(term.condition))
            others = known.where(StudyTerm.term > (first or ""), StudyTerm.term < term.word + "\x7f")
            if first is not None and (term.exact or self._connection.scalar(others) is None):
                yield first

    def _entries(self, term: str, start: Position | None) -> Query:
        column = StudyTerm.study_id
        query = select(column.label("id"), literal("").label("study_date")).where(StudyTerm.term == term)
        if start is not None:
            query = query.where(column > start.id if self._newer else column < start.id)
        return query.order_by(self._direction(column))

    # -- the order: facility, date, id, as far as they were asked for

    def _ordered(self, query: Query, start: Position | None) -> Query:
        """In the order of an index, from where it begins to where it ends. Facilities are compared as the first part of
        the order, and not told to be equal: else PostgreSQL may take an index without them, and go through what others
        have sent since.
        """
        wanted = self._wanted
        owner = [] if wanted.facility_id is None else [wanted.facility_id]
        columns: list[Any] = [*([Study.facility_id] if owner else []), *([Study.study_date] if wanted.by_date else [])]
        columns.append(Study.id)
        first = [*owner, *([wanted.lowest] if wanted.by_date else [])]
        last = [*owner, *([wanted.last_date] if wanted.last_date else [])]
        if first:
            query = query.where(_tuple(columns[: len(first)]) >= _tuple(first))
        if last:
            query = query.where(_tuple(columns[: len(last)]) <= _tuple(last))
        if start is not None:
            there = _tuple([*owner, *([start.date] if wanted.by_date else []), start.id])
            query = query.where(_tuple(columns) > there if self._newer else _tuple(columns) < there)
        return query.order_by(*map(self._direction, columns))

    def _direction(self, column: Any) -> Any:
        return column.asc() if self._newer else column.desc()

    # -- few candidates

    def _candidates(self) -> CTE | None:
        """The ids of few studies that all that match are among; None: no word or status is rare."""
        best: tuple[int, Query] | None = None
        if self._wanted.status == StudyStatus.RECEIVING:
            receiving = select(Study.id).where(Study.status == literal_column("'receiving'"))
            if (count := self._count(receiving)) <= GATHER:
                best = (count, receiving)
        for number, term in enumerate(self._terms()):
            if best is not None and best[0] < self._limit:
                break
            count = self._count(term.entries)
            here = self._wanted.facility_id is not None and term.telling and (number == 0 or term.exact)
            if here and count > GATHER:
                count = self._count_in_facility(term)
            if count <= GATHER and (best is None or count < best[0]):
                best = (count, self._in_facility(term.entries).distinct())
        found = best[1] if best else self._of_both()
        return None if found is None else _materialized(found)

    def _of_both(self) -> Query | None:
        """The ids of few studies that have both of two words, neither of them rare: a family name and a first name."""
        telling = [term for term in self._terms() if term.telling][:3]
        if len(telling) < 2:
            return None
        counted = [(self._count(term.entries, PAIR), term) for term in telling]
        pair = sorted((each for each in counted if each[0] <= PAIR), key=lambda each: each[0])[:2]
        if len(pair) < 2:
            return None
        both = intersect(*(self._in_facility(term.entries) for _, term in pair)).limit(GATHER + 1)
        ids = self._connection.scalars(both).all()
        return select(Study.id).where(Study.id.in_(ids)) if len(ids) <= GATHER else None

    def _in_facility(self, entries: Query) -> Query:
        wanted = self._wanted.facility_id
        return entries if wanted is None else entries.where(StudyTerm.facility_id == wanted)

    def _count(self, query: Query, limit: int = GATHER) -> int:
        """Rows of a query, at most one more than `limit`."""
        bounded = query.limit(limit + 1).subquery()
        return self._connection.scalar(select(func.count()).select_from(bounded)) or 0

    def _count_in_facility(self, term: _Term) -> int:
        """Entries of a word in the facility; more than `GATHER` where there are too many elsewhere."""
        bounded = select(StudyTerm.facility_id).where(term.condition).limit(ENTRIES + 1).subquery()
        ours = func.sum(case((bounded.c.facility_id == self._wanted.facility_id, 1), else_=0))
        total, own = self._connection.execute(select(func.count(), ours).select_from(bounded)).one()
        return int(own or 0) if total <= ENTRIES else GATHER + 1

    def _among(self, candidates: CTE) -> Query:
        """Each of them looked at. Columns are dressed, so that no other way than by `id` comes into question."""
        wanted, start = self._wanted, self._start
        date: Any = Study.study_date.concat("")
        tests = self._tests(Study)
        if wanted.facility_id is not None:
            tests.append(Study.facility_id + 0 == wanted.facility_id)
        if wanted.by_date:
            tests.append(date >= wanted.lowest)
        if wanted.last_date:
            tests.append(date <= wanted.last_date)
        order = [*([date] if wanted.by_date else []), candidates.c.id]
        if start is not None:
            there = _tuple([*([start.date] if wanted.by_date else []), start.id])
            tests.append(_tuple(order) > there if self._newer else _tuple(order) < there)
        query = select(Study.id, Study.study_date).join(candidates, candidates.c.id == Study.id).where(*tests)
        return query.order_by(*map(self._direction, order)).limit(self._limit + 1)

    def _by_uid(self, uid: str) -> Query:
        owners = select(Facility.id).scalar_subquery()
        found = select(Study.id).where(Study.study_instance_uid == uid, Study.facility_id.in_(owners))
        finder = Finder(self._connection, replace(self._wanted, text=""), self._start, self._limit, newer=self._newer)
        return finder._among(_materialized(found))

    # -- what was asked for

    def _terms(self) -> list[_Term]:
        wanted = self._wanted
        words = {word for asked in (wanted.patient, wanted.accession, wanted.text) for word in fold(asked)}
        longest = sorted(words, key=lambda word: (-len(word), word))[:ASKED_MAX]  # the likeliest to be rare
        found = [_Term(word) for number, word in enumerate(longest) if number == 0 or len(word) > 1]
        modality = fold(wanted.modality)
        return [*found, _Term(modality[0], exact=True)] if len(modality) == 1 else found

    def _tests(self, row: Any) -> list[ColumnElement[bool]]:
        """What the indexes of the order do not know; `row` has the columns."""
        wanted, found = self._wanted, list[ColumnElement[bool]]()
        if wanted.status:
            found.append(row.status.concat("") == wanted.status)  # its index would lead through nearly all studies
        if wanted.modality:
            found.append(_holds("\\" + row.modalities + "\\", f"\\{wanted.modality.strip().upper()}\\"))
        found += [_holds(row.words, f" {PATIENT}:{word}") for word in fold(wanted.patient)]
        found += [_holds(row.words, f" {ACCESSION}:{word}") for word in fold(wanted.accession)]
        for word in fold(wanted.text):
            found.append(or_(_holds(row.words, f":{word}"), _holds("\\" + row.modalities, f"\\{word.upper()}")))
        return found


def _tuple(values: Sequence[Any]) -> Any:
    parts = [literal(each) if isinstance(each, int | str) else each for each in values]
    return tuple_(*parts) if len(parts) > 1 else parts[0]


class _Place(FunctionElement[int]):
    """Where a part begins in a text, from 1; 0: nowhere. Neither case nor wildcards."""

    type = Integer()
    inherit_cache = True


@compiles(_Place)
def _compile_place(element: _Place, compiler: Any, **options: Any) -> str:
    name = "instr" if compiler.dialect.name == "sqlite" else "strpos"
    return f"{name}({compiler.process(element.clauses, **options)})"


def _holds(column: Any, part: str) -> ColumnElement[bool]:
    return _Place(column, literal(part, String)) > 0


def _materialized(query: Query) -> CTE:
    return query.cte("candidates").prefix_with("MATERIALIZED", dialect="postgresql")
