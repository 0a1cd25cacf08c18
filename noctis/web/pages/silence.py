"""Silence: which facility or device says nothing though it usually does; acknowledge, mute."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import NotFoundError, UsageError
from noctis.silence import State, words
from noctis.silence.mutes import REASON_MAX, parse_until
from noctis.users.roles import Right
from noctis.web import filters, silences
from noctis.web.access import LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.fields import PAGE, Words
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

LENGTHS = {"4h": "4 hours", "1d": "1 day", "1w": "1 week", "4w": "4 weeks", "ever": "for ever", "date": "through …"}
PAGES_MAX = 10_000
Slug = Annotated[str, Query(max_length=64)]
Number = Annotated[int, Query(ge=1, le=PAGES_MAX)]


def _values(
    site: OnSite, caller: LoggedIn, facility: Slug = "", q: Words = "", alarms: bool = False, page: Number = 1
) -> dict[str, Any]:
    """What the query asks for, as both templates take it."""
    asked = {"facility": facility, "q": q.strip(), "alarms": "true" if alarms else ""}
    asked = {name: value for name, value in asked.items() if value}
    found = silences.silences(
        site, caller, facility=facility, text=q.strip(), alarms=alarms, limit=PAGE, offset=(page - 1) * PAGE
    )
    return {
        "found": found,
        "facility": facility,
        "q": q,
        "alarms": alarms,
        "page": page,
        "pages": max(1, -(-found.found // PAGE)),
        "query": urlencode(asked),
        "strokes": silences.strokes,
        "usual": words.usual,
    }


Asked = Annotated[dict[str, Any], Depends(_values)]


@router.get("/silence", dependencies=[allow(Right.SEE)])
def silence(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    asked: Asked,
) -> HTMLResponse:
    facility = asked["facility"]
    known = site.snapshots.current().by_slug
    return render(
        request,
        "silence.html",
        **asked,
        name=known[facility].name if facility in known else facility,
        choices=filters.facilities(site, caller),
    )


@router.get("/silence/rows", dependencies=[allow(Right.SEE)])
def rows(
    request: Request,
    asked: Asked,
) -> HTMLResponse:
    """The table alone, as the page asks for it again."""
    return render(request, "silence_rows.html", **asked)


def _state(site: Site, slug: str, device: str) -> State:
    for state in silences.recent(site):
        if state.facility == slug and state.device == device:
            return state
    raise NotFoundError(f"No facility found for {slug!r}" if not device else f"there is no device {device!r}")


def _one(request: Request, site: Site, slug: str, device: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    state = _state(site, slug, device)
    shown = {
        "state": state,
        "percents": silences.percents(state.habit) if state.habit else [],
        "usual": words.usual,
        "lengths": LENGTHS,
        "reason_max": REASON_MAX,
        "problem": None,
        "given": {"reason": "", "length": "1d", "date": ""},
    }
    return render(request, "silence_one.html", status=status, **(shown | values))


@router.get("/silence/{slug}", dependencies=[allow(Right.SEE)])
def one(request: Request, site: OnSite, slug: Words, device: Words = "") -> HTMLResponse:
    """One facility or device: its habit in numbers, and what to say to its silence."""
    return _one(request, site, slug, device)


@router.get("/silence/{slug}/now", dependencies=[allow(Right.SEE)])
def now(request: Request, site: OnSite, slug: Words, device: Words = "") -> HTMLResponse:
    """How silent it is, as its page asks for it again."""
    return render(request, "silence_now.html", state=_state(site, slug, device))


@router.post("/silence/{slug}/acknowledge", dependencies=[allow(Right.OPERATE)])
def acknowledge(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: Words,
    device: Annotated[Words, Form()] = "",
    reason: Annotated[str, Form(max_length=2 * REASON_MAX)] = "",
) -> Response:
    try:
        with silences.saying(site, caller) as mutes:
            mutes.acknowledge(slug, device, reason)
    except UsageError as error:
        return _again(request, site, slug, device, error, {"reason": reason, "length": "1d", "date": ""})
    return _back(site, slug, device)


@router.post("/silence/{slug}/mute", dependencies=[allow(Right.OPERATE)])
def mute(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: Words,
    device: Annotated[Words, Form()] = "",
    reason: Annotated[str, Form(max_length=2 * REASON_MAX)] = "",
    length: Annotated[Words, Form()] = "",
    date: Annotated[Words, Form()] = "",
) -> Response:
    try:
        if length == "date" and not date:
            raise UsageError("until which date?")
        until = parse_until(date if length == "date" else length)
        with silences.saying(site, caller) as mutes:
            mutes.mute(slug, device, until, reason)
    except UsageError as error:
        return _again(request, site, slug, device, error, {"reason": reason, "length": length, "date": date})
    return _back(site, slug, device)


@router.post("/silence/{slug}/unmute", dependencies=[allow(Right.OPERATE)])
def unmute(site: OnSite, caller: LoggedIn, slug: Words, device: Annotated[Words, Form()] = "") -> Response:
    with silences.saying(site, caller) as mutes:
        mutes.unmute(slug, device)
    return _back(site, slug, device)


def _again(
    request: Request, site: Site, slug: str, device: str, error: UsageError, given: dict[str, str]
) -> HTMLResponse:
    """The page once more, with what was typed and what is wrong with it."""
    if isinstance(error, NotFoundError):
        raise error
    return _one(request, site, slug, device, status=status_of(error), problem=error, given=given)


def _back(site: Site, slug: str, device: str) -> Response:
    query = "?" + urlencode({"device": device}) if device else ""
    return RedirectResponse(f"{site.base_path}/silence/{slug}{query}", 303)
