"""Notifications: what was told to whom, what could not be delivered, the rules, the receipts."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import NotFoundError, UsageError
from noctis.notifications import TITLES, DeliveryState
from noctis.notify import outbox, queries
from noctis.notify.rules import TABLE, Draft, Rules, masked, parse_recipients
from noctis.notify.testing import send_test
from noctis.users.roles import Right
from noctis.web.access import LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.fields import PAGE, RowId, Words
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

RECEIPTS_SHOWN = 30
STATES = {
    DeliveryState.PENDING: "waiting",
    DeliveryState.SENT: "delivered",
    DeliveryState.DEAD: "given up",
    DeliveryState.DISCARDED: "discarded",
}
DONE = {
    "added": "The rule is added.",
    "changed": "The rule is changed.",
    "removed": "The rule is removed.",
    "tested": "A test is on its way; the deliveries show what becomes of it.",
    "retried": "It is tried again now.",
    "discarded": "It is discarded.",
}
Typed = Annotated[Words, Form()]
Long = Annotated[str, Form(max_length=20_000)]


def _rules(site: Site, actor: str = "web") -> Rules:
    return Rules(site.engine, site.settings, actor)


def _values(site: Site, request: Request) -> dict[str, Any]:
    asked = {name: request.query_params.get(name, "")[:64] for name in ("state", "kind", "after")}
    rules = _rules(site).all()
    problem = None
    try:
        states = [asked["state"]] if asked["state"] in STATES else []
        kind = asked["kind"] if asked["kind"] in TITLES else None
        page = queries.deliveries(site.engine, PAGE, asked["after"] or None, states=states, kind=kind, rules=rules)
    except UsageError as error:
        page, problem = queries.Page([]), error
    return {
        "page": page,
        "asked": asked,
        "problem": problem,
        "receivers": queries.receivers(site.engine),
        "conditions": queries.conditions(site.engine),
        "rules": rules,
        "states": STATES,
        "titles": TITLES,
        "masked": masked,
    }


@router.get("/notifications", dependencies=[allow(Right.SEE_ALL)])
def notifications(request: Request, site: OnSite, done: str = "") -> HTMLResponse:
    notify = site.settings.notifications
    more: dict[str, Any] = {
        "done": DONE.get(done),
        "enabled": notify.enabled,
        "smtp": site.settings.smtp.host is not None,
        "receipts": queries.receipts(site.engine, RECEIPTS_SHOWN),
        "receipts_enabled": site.settings.receipts.enabled,
    }
    return render(request, "notifications.html", **_values(site, request), **more)


@router.get("/notifications/now", dependencies=[allow(Right.SEE_ALL)])
def now(request: Request, site: OnSite) -> HTMLResponse:
    """The part that lives: what lasts, the receivers, the deliveries."""
    return render(request, "notifications_now.html", **_values(site, request))


@router.post("/notifications/deliveries/{delivery}/retry", dependencies=[allow(Right.OPERATE)])
def retry(site: OnSite, caller: LoggedIn, delivery: RowId) -> Response:
    outbox.retry(site.engine, delivery, caller.name)
    return _on(site, "?done=retried")


@router.post("/notifications/deliveries/{delivery}/discard", dependencies=[allow(Right.OPERATE)])
def discard(site: OnSite, caller: LoggedIn, delivery: RowId) -> Response:
    outbox.discard(site.engine, delivery, caller.name)
    return _on(site, "?done=discarded")


# -- rules


def _draft(
    name: Typed = "",
    kinds: Annotated[list[str] | None, Form()] = None,
    facility: Typed = "",
    url: Long = "",
    secret: Long = "",
    recipients: Long = "",
    enabled: Annotated[bool, Form()] = False,
) -> Draft:
    """A rule as it was typed."""
    url, recipients = (each.replace("\0", "") for each in (url, recipients))
    chosen = tuple((kinds or [])[:50])
    return Draft(name, chosen, facility or None, url, secret or None, parse_recipients(recipients), enabled)


Drafted = Annotated[Draft, Depends(_draft)]


@router.get("/notifications/rules/add", dependencies=[allow(Right.ADMINISTER)])
def add_form(request: Request, site: OnSite) -> HTMLResponse:
    return _form(request, site, Draft("", ()), None)


@router.post("/notifications/rules/add", dependencies=[allow(Right.ADMINISTER)])
def add(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    draft: Drafted,
) -> Response:
    try:
        _, made = _rules(site, caller.name).add(draft)
    except UsageError as error:
        return _form(request, site, draft, None, problem=error)
    if made is not None:
        return render(request, "notification_secret.html", name=draft.name, secret=made)
    return _on(site, "?done=added")


@router.get("/notifications/rules/{rule}", dependencies=[allow(Right.ADMINISTER)])
def edit_form(request: Request, site: OnSite, rule: RowId) -> HTMLResponse:
    found = _rules(site).get(f"{TABLE}:{rule}")
    draft = Draft(found.name, found.kinds, found.facility, found.url, None, found.recipients, found.enabled)
    return _form(request, site, draft, rule)


@router.post("/notifications/rules/{rule}", dependencies=[allow(Right.ADMINISTER)])
def edit(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    rule: RowId,
    draft: Drafted,
) -> Response:
    try:
        _, made = _rules(site, caller.name).edit(rule, draft)
    except NotFoundError:
        raise
    except UsageError as error:
        return _form(request, site, draft, rule, problem=error)
    if made is not None:
        return render(request, "notification_secret.html", name=draft.name, secret=made)
    return _on(site, "?done=changed")


@router.post("/notifications/rules/{rule}/remove", dependencies=[allow(Right.ADMINISTER)])
def remove(site: OnSite, caller: LoggedIn, rule: RowId) -> Response:
    _rules(site, caller.name).remove(rule)
    return _on(site, "?done=removed")


@router.post("/notifications/test", dependencies=[allow(Right.ADMINISTER)])
def send_a_test(site: OnSite, caller: LoggedIn, rule: Typed = "") -> Response:
    send_test(site.engine, _rules(site, caller.name).get(rule), caller.name)
    return _on(site, "?done=tested")


def _form(
    request: Request, site: Site, draft: Draft, rule: int | None, problem: UsageError | None = None
) -> HTMLResponse:
    facilities = sorted(site.snapshots.current().facilities, key=lambda each: each.name)
    return render(
        request,
        "notification_rule.html",
        status=status_of(problem) if problem else 200,
        draft=draft,
        rule=rule,
        problem=problem,
        titles=TITLES,
        facilities=facilities,
        smtp=site.settings.smtp.host is not None,
    )


def _on(site: Site, more: str) -> Response:
    return RedirectResponse(f"{site.base_path}/notifications{quote(more, safe='?=&')}", 303)
