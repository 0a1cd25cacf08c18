"""Events: who changed what, and when."""

from dataclasses import asdict, fields
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from noctis.errors import UsageError
from noctis.repository import events
from noctis.repository.keyset import Page
from noctis.users.roles import Right
from noctis.web.access import allow
from noctis.web.event_rows import Asked, csv_file
from noctis.web.fields import PAGE, TEXT_MAX
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)


def _asked(request: Request) -> Asked:
    named = (each.name for each in fields(Asked))
    given = {name: request.query_params.get(name, "").strip()[:TEXT_MAX].replace("\0", "") for name in named}
    return Asked(**given)


@router.get("/events", dependencies=[allow(Right.SEE_ALL)])
def list_events(request: Request, site: OnSite) -> HTMLResponse:
    asked, after, problem = _asked(request), request.query_params.get("after") or None, None
    try:
        page = events.page(site.engine, asked.filter(site), PAGE, after)
    except UsageError as error:
        page, problem = Page([]), error
    actors, actions = events.names(site.engine)
    rows = [row | {"words": events.words(row["detail"])} for row in page.rows]
    given = {name: value for name, value in asdict(asked).items() if value}
    facilities = sorted(site.snapshots.current().facilities, key=lambda each: each.name)
    prefixes = sorted({f"{action.partition('.')[0]}." for action in actions if "." in action})
    values: dict[str, Any] = {
        "page": page,
        "rows": rows,
        "asked": asked,
        "is_filtered": bool(given),
        "query": urlencode(given),
        "after": after,
        "problem": problem,
    }
    choices: dict[str, Any] = {"actors": actors, "actions": actions, "prefixes": prefixes, "facilities": facilities}
    return render(request, "events.html", **values, **choices)


@router.get("/events.csv", dependencies=[allow(Right.SEE_ALL)])
def as_csv(request: Request, site: OnSite) -> Response:
    return csv_file(site, _asked(request).filter(site))
