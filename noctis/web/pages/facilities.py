"""Facilities, the home page: every door, as it is now."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from noctis.users.roles import Right
from noctis.web.access import LoggedIn, allow
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=[allow(Right.SEE)])
def home(request: Request, site: OnSite, caller: LoggedIn) -> HTMLResponse:
    facilities = [each for each in site.snapshots.current().facilities if caller.sees(each.slug)]
    return render(request, "facilities.html", facilities=facilities)
