"""Events as pages and API ask for them: the same filter, and the same file."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi.responses import StreamingResponse

from noctis.repository import events, keyset
from noctis.repository.events import EventFilter
from noctis.web.csv_rows import csv_text
from noctis.web.site import Site

COLUMNS = ("at", "who", "what", "facility", "subject", "detail")


@dataclass(frozen=True)
class Asked:
    """What an address says; "": nothing."""

    who: str = ""
    what: str = ""
    facility: str = ""
    since: str = ""
    until: str = ""

    def filter(self, site: Site) -> EventFilter:
        """As the index is asked.

        Raises
        ------
        UsageError
            A time is none.
        """
        return EventFilter(
            facility_id=events.facility_id(site.engine, self.facility) if self.facility else None,
            actor=self.who or None,
            action=self.what or None,
            since=keyset.moment_of(self.since) if self.since else None,
            until=keyset.moment_of(self.until) if self.until else None,
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
