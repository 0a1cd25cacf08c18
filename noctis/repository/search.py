"""The list of studies, searched and filtered, a page at a time; fast however many there are.

The newest study comes first, by when its first instance came (`Study.id`); with a range of study dates, the latest
date. A page begins after a position, never at a number of rows, so that what arrives meanwhile moves nothing.

No request looks at more than a bounded number of rows (`search_finder`). Where that finds no whole page, the answer
says how far it has looked, and from where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from noctis.db.engine import reading
from noctis.db.models import Study
from noctis.errors import UsageError
from noctis.repository.index_values import TEXT_MAX
from noctis.repository.queries import plain, study_columns
from noctis.repository.search_finder import Finder, Position, StudySearch

__all__ = ["PAGE", "Position", "StudyPage", "StudySearch", "date_of", "find_studies", "position", "studies_by_id"]

PAGE = 50  # studies


@dataclass(frozen=True)
class StudyPage:
    """Some studies of the list, and where it goes on in both directions; None: nowhere."""

    rows: list[dict[str, Any]]  # as `queries.studies` gives them
    newer: Position | None = None
    older: Position | None = None
    examined: int | None = None  # it was given up after so many; what was not looked at is beyond `older` or `newer`


def position(text: str) -> Position | None:
    """What `str` of a position gave; None for "".

    Raises
    ------
    UsageError
        It is none.
    """
    if not text:
        return None
    number, _, date = text.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) <= 18) or "\0" in date or len(date) > TEXT_MAX:
        raise UsageError("this is no position in the list of studies", fix="start from the first page")
    return Position(int(number), date)


def date_of(text: str) -> str:
    """YYYY-MM-DD or YYYYMMDD as a DA; "" stays.

    Raises
    ------
    UsageError
        It is neither.
    """
    digits = text.strip().replace("-", "")
    if digits and not (len(digits) == 8 and digits.isascii() and digits.isdigit()):
        raise UsageError("this is no date", fix="YYYY-MM-DD, for example 2026-01-31")
    return digits


def find_studies(
    engine: Engine,
    wanted: StudySearch,
    *,
    older_than: Position | None = None,
    newer_than: Position | None = None,
    limit: int = PAGE,
) -> StudyPage:
    """One page: the newest, or those that follow a position in one direction."""
    with reading(engine) as connection:
        _steer(connection)
        if newer_than is not None:
            found = Finder(connection, wanted, newer_than, limit, newer=True).find()
            keys = found.keys[:limit]
            if len(keys) == limit or found.given_up is not None:
                more = keys[-1] if len(found.keys) > limit else found.given_up
                keys.reverse()
                return StudyPage(_rows(connection, keys), more, keys[-1] if keys else newer_than, found.examined)
            older_than = None  # less than a page are newer: the first page
        found = Finder(connection, wanted, older_than, limit).find()
        keys = found.keys[:limit]
        more = keys[-1] if len(found.keys) > limit else found.given_up
        newer = (keys[0] if keys else older_than) if older_than is not None else None
        return StudyPage(_rows(connection, keys), newer, more, found.examined)


def studies_by_id(engine: Engine, ids: Sequence[int], facility_id: int | None = None) -> list[dict[str, Any]]:
    """These studies as they are now, in the order of `ids`; `facility_id` None: of all facilities."""
    query = study_columns().where(Study.id.in_(ids))
    if facility_id is not None:
        query = query.where(Study.facility_id == facility_id)
    with reading(engine) as connection:
        rows = {row.id: plain(row) for row in connection.execute(query)}
    return [rows[each] for each in ids if each in rows]


def _rows(connection: Connection, keys: Sequence[Position]) -> list[dict[str, Any]]:
    ids = [key.id for key in keys]
    rows = {row.id: plain(row) for row in connection.execute(study_columns().where(Study.id.in_(ids)))}
    return [rows[each] for each in ids if each in rows]


def _steer(connection: Connection) -> None:
    """PostgreSQL plans by statistics, which may be old or missing: plans that use no index are out of the question."""
    if connection.dialect.name == "postgresql":
        kinds = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "incremental_sort")
        settings = [*(f"enable_{kind}" for kind in kinds), "jit"]
        connection.execute(text("SELECT " + ", ".join(f"set_config('{each}', 'off', true)" for each in settings)))
