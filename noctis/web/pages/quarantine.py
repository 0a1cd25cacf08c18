"""Quarantine: what could not be filed and why, the two versions of a conflict side by side, and what to do."""

from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import NoctisError, StorageError, UsageError
from noctis.repository import quarantine_list as listed
from noctis.repository.keyset import Page
from noctis.users.roles import Right
from noctis.web import filters, quarantined
from noctis.web.access import Caller, LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.fields import PAGE, TEXT_MAX, Words
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

BULK_MAX = 10_000  # instances at once
ACTIONS = {
    "release": "Release into their own facilities",
    "replace": "Release, and replace what is filed",
    "discard": "Discard for good",
}


@router.get("/quarantine", dependencies=[allow(Right.SEE)])
def list_quarantine(request: Request, site: OnSite, caller: LoggedIn) -> HTMLResponse:
    return _list(
        request,
        site,
        caller,
        filters.asked(request.query_params, quarantined.FILTERS),
        request.query_params.get("after") or None,
    )


def _list(
    request: Request,
    site: Site,
    caller: Caller,
    asked: dict[str, str],
    after: str | None = None,
    problem: UsageError | None = None,
) -> HTMLResponse:
    values: dict[str, Any] = {"problem": problem, "page": Page([])}
    try:
        values["page"] = quarantined.looked_at(site, quarantined.filter_of(site, caller, asked), PAGE, after)
        quarantined.note_query(site, caller, "query.quarantine", asked)
    except UsageError as error:
        values["problem"] = error
    counted = listed.counts(site.engine, caller.scope())
    values |= {
        "asked": dict.fromkeys(quarantined.FILTERS, "") | asked,
        "is_filtered": bool(asked),
        "query": urlencode(asked),
        "after": after,
        "facilities": filters.facilities(site, caller),
        "reasons": {each: f"{words} ({counted.get(each, 0)})" for each, words in quarantined.REASONS.items()},
        "actions": ACTIONS,
        "told": _told(request),
    }
    return render(request, "quarantine.html", status=status_of(problem) if problem else 200, **values)


def _told(request: Request) -> str | None:
    """What was just done, by a word in the address."""
    done = request.query_params.get("done")
    return {"released": "Released.", "discarded": "Discarded."}.get(done or "")


# -- many


@router.post("/quarantine/many", dependencies=[allow(Right.OPERATE)])
def many(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    action: Annotated[Words, Form()] = "",
    item: Annotated[list[Words] | None, Form()] = None,
    everything: Annotated[bool, Form()] = False,
    sure: Annotated[bool, Form()] = False,
    back: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Do it with what is chosen, or with all that the filter finds: asked once more, then in the background."""
    if action not in ACTIONS:
        raise UsageError("what shall be done with them?", fix="one of " + ", ".join(ACTIONS))
    asked = filters.asked(dict(parse_qsl(back)), quarantined.FILTERS)
    if everything:
        things = list(listed.names(site.engine, quarantined.filter_of(site, caller, asked), BULK_MAX))
    else:
        things = [(slug, name) for slug, _, name in (each.partition("/") for each in item or [])]
    if not things:
        problem = UsageError("nothing is chosen", fix="tick the lines that are meant, or that all are")
        return _list(request, site, caller, asked, problem=problem)
    if not sure:
        values: dict[str, Any] = {
            "action": action,
            "words": ACTIONS[action],
            "things": things,
            "back": urlencode(asked),
        }
        return render(request, "quarantine_sure.html", everything=everything, most=BULK_MAX, **values)
    job = site.jobs.start(caller.name, ACTIONS[action], things, _worker(site, caller, action))
    return RedirectResponse(f"{site.base_path}/quarantine/many/{job.id}?{urlencode(asked)}", 303)


def _worker(site: Site, caller: Caller, action: str) -> Any:
    def work(thing: tuple[str, ...]) -> str:
        slug, name = thing
        if action == "discard":
            quarantined.discard_one(site, caller, slug, name)
            return "discarded"
        return str(quarantined.release_one(site, caller, slug, name, replace=action == "replace").outcome)

    return work


@router.get("/quarantine/many/{job}", dependencies=[allow(Right.OPERATE)])
def progress(request: Request, site: OnSite, caller: LoggedIn, job: Words) -> HTMLResponse:
    asked = filters.asked(request.query_params, quarantined.FILTERS)
    values: dict[str, Any] = {"job": site.jobs.get(caller.name, job), "query": urlencode(asked)}
    template = "quarantine_progress.html" if request.headers.get("hx-request") == "true" else "quarantine_job.html"
    return render(request, template, **values)


# -- one


def _page(request: Request, site: Site, caller: Caller, slug: str, name: str, **values: Any) -> HTMLResponse:
    found = quarantined.shown(site, slug, name)
    comparison = problem = None
    if found["filed"] is not None:
        try:
            comparison = quarantined.compared(site, slug, name)[2]
        except StorageError as error:
            problem = error
    facilities = [each for each in site.snapshots.current().facilities if each.slug != slug]
    others = sorted(facilities, key=lambda each: each.name) if caller.may(Right.ADMINISTER) else []
    address = f"{site.base_path}/quarantine/{quote(slug)}/{quote(name, safe='')}"
    shown: dict[str, Any] = {
        **found,
        "comparison": comparison,
        "comparison_problem": problem,
        "others": others,
        "address": address,
        "problem": None,
    }
    return render(request, "quarantined.html", **(shown | values))


@router.get("/quarantine/{slug}/{name}", dependencies=[allow(Right.SEE)])
def show(request: Request, site: OnSite, caller: LoggedIn, slug: Words, name: Words) -> HTMLResponse:
    answer = _page(request, site, caller, slug, name)
    quarantined.note_query(site, caller, "query.quarantined", {"name": name}, slug)
    return answer


@router.get("/quarantine/{slug}/{name}/elements", dependencies=[allow(Right.SEE)])
def elements(request: Request, site: OnSite, caller: LoggedIn, slug: Words, name: Words) -> HTMLResponse:
    """Every element of the file, also of one that cannot be filed."""
    row, path = quarantined.one(site, slug, name)
    quarantined.note_query(site, caller, "query.quarantined", {"name": name, "elements": ""}, slug)
    wanted = request.query_params.get("q", "").strip()[:TEXT_MAX]
    listing = quarantined.elements_of(site, slug, path)
    low = wanted.lower()
    found = [
        each
        for each in listing.elements
        if low in f"{each.path} {each.keyword} {each.name} {each.vr} {each.text} {each.meaning}".lower()
    ]
    address = f"{site.base_path}/quarantine/{quote(slug)}/{quote(name, safe='')}"
    values: dict[str, Any] = {"row": row, "listing": listing, "found": found, "wanted": wanted, "address": address}
    return render(request, "quarantine_elements.html", **values)


@router.post("/quarantine/{slug}/{name}/release", dependencies=[allow(Right.OPERATE)])
def release(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: Words,
    name: Words,
    replace: Annotated[bool, Form()] = False,
    into: Annotated[Words, Form()] = "",
    out_of: Annotated[Words, Form()] = "",
) -> Response:
    options: dict[str, Any] = {"replace": replace, "into": into or None, "out_of": out_of or None}
    return _do(request, site, caller, slug, name, "released", quarantined.release_one, **options)


@router.post("/quarantine/{slug}/{name}/discard", dependencies=[allow(Right.OPERATE)])
def discard(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: Words,
    name: Words,
    sure: Annotated[bool, Form()] = False,
) -> Response:
    if not sure:
        error = UsageError("this cannot be undone", fix="tick that you are sure")
        return _page(request, site, caller, slug, name, problem=error, status=422)
    return _do(request, site, caller, slug, name, "discarded", quarantined.discard_one)


def _do(
    request: Request, site: Site, caller: Caller, slug: str, name: str, done: str, work: Any, **options: Any
) -> Response:
    """Do it and go back to the list, or say on the instance's own page why not."""
    try:
        work(site, caller, slug, name, **options)
    except NoctisError as error:
        site.quarantine.refresh()
        return _page(request, site, caller, slug, name, problem=error, status=status_of(error))
    return RedirectResponse(f"{site.base_path}/quarantine?done={done}", 303)
