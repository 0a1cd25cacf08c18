"""Refusals: who was turned away and why, and the button that lets them in."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import NoctisError, UsageError
from noctis.facilities.remedies import from_json
from noctis.repository import refusals
from noctis.repository.keyset import Page
from noctis.repository.refusals import State
from noctis.users.roles import Right
from noctis.web import filters, refusal_rows
from noctis.web.access import LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.fields import ID_MAX, PAGE, RowId, Words
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

SINCE = {"1h": "the last hour", "24h": "the last day", "7d": "the last week", "30d": "the last 30 days"}
STATES = {State.OPEN: "to be looked at", State.WAITING: "fixed, waiting", State.LET_IN: "let in"}


def _values(site: Site, request: Request) -> dict[str, Any]:
    """What the table is made from. A filter that is malformed finds nothing, and says so."""
    asked = filters.asked(request.query_params, refusal_rows.FILTERS)
    after = request.query_params.get("after") or None
    problem = None
    try:
        page = refusal_rows.looked_at(site, refusal_rows.filter_of(site, asked), PAGE, after)
    except UsageError as error:
        page, problem = Page([]), error
    return {
        "page": page,
        "asked": dict.fromkeys(refusal_rows.FILTERS, "") | asked,
        "is_filtered": bool(asked),
        "query": urlencode(asked | ({"after": after} if after else {})),
        "filter_query": urlencode(asked),
        "after": after,
        "problem": problem,
        "kinds": refusal_rows.KINDS,
        "states": STATES,
    }


@router.get("/refusals", dependencies=[allow(Right.SEE_ALL)])
def list_refusals(request: Request, site: OnSite, caller: LoggedIn) -> HTMLResponse:
    dismissed = request.query_params.get("dismissed", "")
    values = _values(site, request) | {"facilities": filters.facilities(site, caller), "since": SINCE}
    return render(request, "refusals.html", **values, dismissed=dismissed if dismissed.isdecimal() else "")


@router.get("/refusals/rows", dependencies=[allow(Right.SEE_ALL)])
def rows(request: Request, site: OnSite) -> HTMLResponse:
    """The table alone, as the page asks for it again."""
    return render(request, "refusals_rows.html", **_values(site, request))


@router.post("/refusals/dismiss", dependencies=[allow(Right.OPERATE)])
def dismiss(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    id: Annotated[list[int] | None, Form()] = None,
    only: Annotated[int | None, Form()] = None,
    back: Annotated[Words, Form()] = "",
) -> Response:
    chosen = [only] if only is not None else id or []
    done = refusals.dismiss(site.engine, [each for each in chosen if 1 <= each <= ID_MAX], caller.name)
    return RedirectResponse(f"{site.base_path}/refusals?{back}&dismissed={done}".replace("?&", "?"), 303)


def _one(request: Request, site: Site, refusal: int, *, status: int = 200, **values: Any) -> HTMLResponse:
    row = refusal_rows.one(site, refusal)
    snapshot, remedy = site.snapshots.current(), from_json(row["remedy"])
    shown = {
        "row": row,
        "remedy": remedy,
        "facilities": refusal_rows.choices(snapshot, remedy) if remedy else [],
        "networks": refusal_rows.networks(remedy, row["address"]) if remedy else [],
        "instruction": refusal_rows.instruction(site.settings, snapshot, row, remedy),
        "kinds": refusal_rows.KINDS,
        "states": STATES,
        "problem": None,
        "chosen": {"facility": "", "network": None, "other": ""},
        "done": None,
    }
    return render(request, "refusal.html", status=status, **(shown | values))


@router.get("/refusals/{refusal}", dependencies=[allow(Right.SEE_ALL)])
def show(request: Request, site: OnSite, refusal: RowId) -> HTMLResponse:
    """What to do about one: the button with its choices, or what to tell the sender."""
    return _one(request, site, refusal)


@router.post("/refusals/{refusal}/fix", dependencies=[allow(Right.OPERATE)])
def fix(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    refusal: RowId,
    facility: Annotated[Words, Form()] = "",
    network: Annotated[Words | None, Form()] = None,
    other: Annotated[Words, Form()] = "",
    only_device: Annotated[bool, Form()] = False,
) -> Response:
    wanted = other.strip() if network == "other" else network
    try:
        if network == "other" and not wanted:
            raise UsageError("which network?", fix="for example 10.2.3.0/24")
        refusal_rows.fix(site, caller, refusal, facility=facility or None, network=wanted, only_device=only_device)
    except UsageError as error:
        if not _is_there(site, refusal):
            raise
        chosen = {"facility": facility, "network": network, "other": other}
        return _one(request, site, refusal, status=status_of(error), problem=error, chosen=chosen)
    return RedirectResponse(f"{site.base_path}/refusals/{refusal}", 303)


def _is_there(site: Site, refusal: int) -> bool:
    try:
        refusals.one(site.engine, refusal)
    except NoctisError:
        return False
    return True
