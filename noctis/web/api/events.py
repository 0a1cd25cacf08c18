"""Events: who changed what."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from noctis.repository import events
from noctis.users.roles import Right
from noctis.web.access import allow
from noctis.web.event_rows import csv_file, filter_of
from noctis.web.fields import PAGE, After, FacilitySlug, Limit, Since, Until, Words
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["events"])


class EventOut(BaseModel):
    """What somebody did, or what the system did of its own."""

    id: int
    at: datetime
    actor: str = Field(description="The user's name, or the process.")
    action: str
    facility: str | None = Field(description="The slug, where it concerns one.")
    subject: str
    detail: dict[str, Any]


class EventPage(BaseModel):
    items: list[EventOut]
    next: str | None
    searched_to: str | None = Field(description="How far back was looked, where that was not to the end.")


def _asked(
    who: Annotated[Words, Query(description="The actor's whole name.")] = "",
    what: Annotated[Words, Query(description="The action, or its beginning.")] = "",
    facility: FacilitySlug = "",
    since: Since = "",
    until: Until = "",
    looked: Annotated[bool, Query(description="false: without those who asked for data and changed nothing.")] = True,
) -> dict[str, str]:
    given = {"who": who, "what": what, "facility": facility, "since": since, "until": until}
    return given | {"looked": "true" if looked else ""}


Asked = Annotated[dict[str, str], Depends(_asked)]


@router.get("/events", dependencies=[allow(Right.SEE_ALL)])
def list_events(site: OnSite, asked: Asked, limit: Limit = PAGE, after: After = None) -> EventPage:
    """Events, the latest first."""
    page = events.page(site.engine, filter_of(site, asked), limit, after)
    return EventPage(
        items=[EventOut(**{name: row[name] for name in EventOut.model_fields}) for row in page.rows],
        next=page.next,
        searched_to=page.searched_to,
    )


@router.get(
    "/events.csv",
    dependencies=[allow(Right.SEE_ALL)],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
def events_as_csv(site: OnSite, asked: Asked) -> StreamingResponse:
    """The same as a file, whole (RFC 4180)."""
    return csv_file(site, filter_of(site, asked))
