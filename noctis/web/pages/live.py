"""Live: who is connected, who was, what waits to be filed, and how long the disk will do."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from noctis.errors import NoctisError
from noctis.users.roles import Right
from noctis.web import filters
from noctis.web.access import LoggedIn, allow
from noctis.web.live import DAYS
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

OPEN_MAX = 200  # rows; how many more there are is said
RECENT = 50


@router.get("/live", dependencies=[allow(Right.SEE)])
def live(
    request: Request, site: OnSite, caller: LoggedIn, facility: Annotated[str, Query(max_length=64)] = ""
) -> HTMLResponse:
    """The page; of a request of htmx's the part that lives."""
    slug = facility or caller.account.facility
    known = site.snapshots.current().by_slug
    facility_id = caller.scope(site.watch.id_of(slug) if slug else None)
    recent, problem = [], None
    try:
        recent = site.watch.recent(facility_id, RECENT)
    except NoctisError as error:
        problem = error
    found = site.watch.open(caller, slug)
    polled = request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers
    return render(
        request,
        "live_now.html" if polled else "live.html",
        overview=site.doors.overview(),
        open=found[:OPEN_MAX],
        more=max(0, len(found) - OPEN_MAX),
        recent=recent,
        problem=problem,
        machine=site.watch.machine() if caller.may(Right.SEE_ALL) and not slug else None,
        days=DAYS,
        facility=facility,
        names={each.slug: each.name for each in known.values()},
        name=known[slug].name if slug in known else slug,
        choices=filters.facilities(site, caller),
    )
