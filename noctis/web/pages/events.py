"""Events: who changed what, and when."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from noctis.errors import UsageError
from noctis.repository import events
from noctis.repository.keyset import Page
from noctis.users.roles import Right
from noctis.web import filters
from noctis.web.access import LoggedIn, allow
from noctis.web.event_rows import FILTERS, csv_file, filter_of
from noctis.web.fields import PAGE
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/events", dependencies=[allow(Right.SEE_ALL)])
def list_events(request: Request, site: OnSite, caller: LoggedIn) -> HTMLResponse:
    asked = filters.asked(request.query_params, FILTERS)
    after, problem = request.query_params.get("after") or None, None
    try:
        page = events.page(site.engine, filter_of(site, asked), PAGE, after)
    except UsageError as error:
        page, problem = Page([]), error
    actors, actions = events.names(site.engine)
    rows = [row | {"words": events.words(row["detail"])} for row in page.rows]
    prefixes = sorted({f"{action.partition('.')[0]}." for action in actions if "." in action})
    values: dict[str, Any] = {
        "page": page,
        "rows": rows,
        "asked": dict.fromkeys(FILTERS, "") | asked,
        "is_filtered": bool(asked),
        "query": urlencode(asked),
        "after": after,
        "problem": problem,
    }
    choices: dict[str, Any] = {"actors": actors, "actions": actions, "prefixes": prefixes}
    return render(request, "events.html", **values, **choices, facilities=filters.facilities(site, caller))


@router.get("/events.csv", dependencies=[allow(Right.SEE_ALL)])
def as_csv(request: Request, site: OnSite) -> Response:
    return csv_file(site, filter_of(site, filters.asked(request.query_params, FILTERS)))
