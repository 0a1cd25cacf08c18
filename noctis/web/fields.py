"""What comes in from outside, as types: texts that any database takes, numbers that any column takes."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, StringConstraints

TEXT_MAX = 200  # characters
PAGE, PAGE_MAX = 50, 500  # rows
ID_MAX = (1 << 63) - 1


def _sound(text: str) -> str:
    if "\0" in text or (not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)):
        raise ValueError("the text has a NUL or half a character")
    return text


Words = Annotated[str, StringConstraints(max_length=TEXT_MAX), AfterValidator(_sound)]
RowId = Annotated[int, Path(ge=1, le=ID_MAX)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Rows of one page.")]
FacilitySlug = Annotated[Words, Query(description="A facility's slug.")]
Since = Annotated[Words, Query(description="A time (ISO 8601); without an offset the server's local one.")]
Until = Annotated[Words, Query(description="A time as in `since`: what came before it.")]
After = Annotated[Words | None, Query(description="The `next` of the page before.")]
