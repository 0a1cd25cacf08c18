"""Paging by where the last page ended (keyset): as quick on page 1000 as on the first, and steady while rows are added.

For lists with the latest first, by a time and the row's id. A mark is opaque text for URLs.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, or_

from noctis.errors import UsageError

MARK_MAX = 64  # characters


@dataclass(frozen=True)
class Page:
    """Some rows of a list, and the mark after which the others come; None: there are no others."""

    rows: list[dict[str, Any]]
    next: str | None = None
    searched_to: str | None = None  # ISO 8601: how far back was looked, where that was not to the end


def mark(at: datetime, row: int) -> str:
    """Behind this row."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat()}~{row}"


def parse_mark(text: str) -> tuple[datetime, int]:
    """What `mark` gave.

    Raises
    ------
    UsageError
        It is none.
    """
    time, _, row = text.partition("~")
    try:
        if len(text) > MARK_MAX or not (row.isascii() and row.isdigit()) or int(row) >= 1 << 63:
            raise ValueError
        at = datetime.fromisoformat(time)
        if at.tzinfo is not None:
            raise ValueError
    except ValueError:
        raise UsageError("this is no place in a list", fix="begin with the first page") from None
    return at.replace(tzinfo=UTC), int(row)


def behind(at: Any, row: Any, text: str | None) -> list[ColumnElement[bool]]:
    """The condition for rows behind a mark, by the columns of the order; none for no mark."""
    if not text:
        return []
    time, number = parse_mark(text)
    return [and_(at <= time, or_(at < time, row < number))]


def holds(engine: Engine, column: Any, text: str) -> ColumnElement[bool]:
    """Whether a text has a part, whatever its case (in SQLite of ASCII letters: its own LIKE, which costs little)."""
    like = column.contains if engine.dialect.name == "sqlite" else column.icontains
    found: ColumnElement[bool] = like(text, autoescape=True)
    return found


def moment_of(text: str) -> datetime:
    """A time that somebody typed: ISO 8601, without an offset the local one.

    Raises
    ------
    UsageError
        It is none.
    """
    try:
        if len(text) > MARK_MAX:
            raise ValueError
        at = datetime.fromisoformat(text.strip())
        return at.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError("this is no time", fix="for example 2026-01-31 or 2026-01-31T14:00") from None
