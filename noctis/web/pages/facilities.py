"""Facilities, the home page: every door, as it is now."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from noctis.users.roles import Right
from noctis.web import sparkline
from noctis.web.access import LoggedIn, allow
from noctis.web.doors import Door
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=[allow(Right.SEE)])
def home(
    request: Request, site: OnSite, caller: LoggedIn, q: Annotated[str, Query(max_length=200)] = ""
) -> HTMLResponse:
    """The page; of a request of htmx's the doors alone."""
    overview = site.doors.overview()
    doors = overview.seen_by(caller)
    shown = [each for each in doors if matches(each, q)]
    polled = request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers
    return render(
        request,
        "doors.html" if polled else "facilities.html",
        overview=overview,
        doors=shown,
        hidden=len(doors) - len(shown),
        q=q,
        sparkline=sparkline,
    )


def matches(door: Door, text: str) -> bool:
    """Whether a door is looked for by `text`: part of its name, slug, AE title or port."""
    words = (door.name, door.slug or "", door.ae_title, str(door.port))
    return any(text.strip().casefold() in word.casefold() for word in words)
