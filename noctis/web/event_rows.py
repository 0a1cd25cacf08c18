"""Events as pages and API ask for them: the same filter, and the same file."""

from collections.abc import Iterator

from fastapi.responses import StreamingResponse

from noctis.repository import events, keyset
from noctis.repository.events import EventFilter
from noctis.web.csv_rows import csv_text
from noctis.web.site import Site

FILTERS = ("who", "what", "facility", "since", "until", "looked")  # looked: also who only looked at something
COLUMNS = ("at", "who", "what", "facility", "subject", "detail")


def filter_of(site: Site, asked: dict[str, str]) -> EventFilter:
    """As the index is asked.

    Raises
    ------
    UsageError
        A time is none.
    """
    slug, since, until = (asked.get(name) for name in ("facility", "since", "until"))
    what = asked.get("what") or ""
    only_looks = bool(what) and (what.startswith(events.LOOKED) or events.LOOKED.startswith(what))
    return EventFilter(
        facility_id=events.facility_id(site.engine, slug) if slug else None,
        actor=asked.get("who"),
        action=what,
        since=keyset.moment_of(since) if since else None,
        until=keyset.moment_of(until) if until else None,
        changes=asked.get("looked") != "true" and not only_looks,
    )


def csv_file(site: Site, wanted: EventFilter) -> StreamingResponse:
    """All events of a filter as CSV, sent as they are read."""
    rows = (
        (row["at"], row["actor"], row["action"], row["facility"], row["subject"], _detail(row["detail"]))
        for row in events.stream(site.engine, wanted)
    )
    pieces: Iterator[bytes] = (piece.encode("utf-8", "replace") for piece in csv_text(COLUMNS, rows))
    headers = {"Content-Disposition": 'attachment; filename="events.csv"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


def _detail(detail: dict[str, object]) -> str:
    return "; ".join(f"{name}: {said}" for name, said in events.words(detail))
