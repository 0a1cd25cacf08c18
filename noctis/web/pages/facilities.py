"""Facilities, the home page: every door, as it is now."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from noctis.users.roles import Right
from noctis.web import door_rows, sparkline
from noctis.web.access import LoggedIn, allow
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)
Word = Annotated[str, Query(max_length=20)]


@router.get("/", dependencies=[allow(Right.SEE)])
def home(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    q: Annotated[str, Query(max_length=200)] = "",
    show: Word = "",
    sort: Word = "",
) -> HTMLResponse:
    """The page; of a request of htmx's the doors alone."""
    overview = site.doors.overview()
    doors = overview.seen_by(caller)
    silent = site.silent()
    polled = request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers
    return render(
        request,
        "doors.html" if polled else "facilities.html",
        overview=overview,
        rows=door_rows.rows(doors, silent, q=q, show=show, sort=sort),
        silent=silent,
        none_yet=not any(each.slug for each in overview.doors),
        asked={"q": q, "show": show, "sort": sort},
        upwards=door_rows.UPWARDS,
        sparkline=sparkline,
    )
