"""One facility: how it is, its devices, what to type into its modalities, and what an operator may do with it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import ConflictError, NoctisError, NotFoundError, UsageError
from noctis.facilities.onboarding import onboarding
from noctis.facilities.records import FacilityRecord
from noctis.users.roles import Right
from noctis.web import facility as acts
from noctis.web import facility_fields as fields
from noctis.web import sparkline
from noctis.web.access import LoggedIn, allow
from noctis.web.checklist import Target
from noctis.web.failures import status_of
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

RECENT = 10  # associations on a facility's page
Text = Annotated[str, Form(max_length=200)]


@router.get("/facilities/{slug}", dependencies=[allow(Right.SEE)])
def page(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    return _page(request, site, slug)


def _page(request: Request, site: Site, slug: str, error: NoctisError | None = None, **typed: str) -> HTMLResponse:
    record = acts.known(site, slug, removed=True)
    return render(
        request,
        "facility.html",
        status=200 if error is None else status_of(error),
        record=record,
        certificates=acts.certificates_of(site, record),
        kept_out=acts.kept_out(site, site.snapshots.current().by_slug.get(slug)),
        device=typed,
        problem=error,
        titles=fields.TITLES,
        shown=fields.shown(record),
        defaults=fields.defaults(site.settings),
        **_now(site, record),
    )


def _now(site: Site, record: FacilityRecord) -> dict[str, Any]:
    overview = site.doors.overview()
    return {"overview": overview, "door": overview.door(record.slug), "sparkline": sparkline}


@router.get("/facilities/{slug}/now", dependencies=[allow(Right.SEE)])
def now(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    """The part of the page that lives. No database is asked beyond what all doors are."""
    door = site.doors.overview().door(slug)
    if door is None:
        raise NotFoundError("No open facility found for this address")
    return render(request, "facility_now.html", slug=slug, overview=site.doors.overview(), door=door)


@router.get("/facilities/{slug}/usage", dependencies=[allow(Right.SEE)])
def usage(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    """Sums over all its studies, and its last associations: asked for when the page is there."""
    record = acts.known(site, slug, removed=True)
    recent = site.watch.recent(record.id, RECENT)
    return render(request, "facility_usage.html", record=record, usage=acts.usage_of(site, record), recent=recent)


# -- devices


@router.post("/facilities/{slug}/devices", dependencies=[allow(Right.OPERATE)])
def add_device(
    request: Request, site: OnSite, caller: LoggedIn, slug: str, ae_title: Text = "", network: Text = ""
) -> Response:
    try:
        acts.add_device(site, caller.name, slug, acts.device_of(ae_title, network))
    except (UsageError, ConflictError) as error:
        return _page(request, site, slug, error, ae_title=ae_title, network=network)
    return _back(site, slug, "#devices")


@router.post("/facilities/{slug}/devices/remove", dependencies=[allow(Right.OPERATE)])
def remove_device(site: OnSite, caller: LoggedIn, slug: str, ae_title: Text = "", network: Text = "") -> Response:
    acts.remove_device(site, caller.name, slug, acts.device_of(ae_title, network))
    return _back(site, slug, "#devices")


# -- in and out of service


@router.post("/facilities/{slug}/enable", dependencies=[allow(Right.OPERATE)])
def enable(site: OnSite, caller: LoggedIn, slug: str) -> Response:
    acts.edit(site, caller.name, slug, {"enabled": True})
    return _back(site, slug)


@router.get("/facilities/{slug}/disable", dependencies=[allow(Right.OPERATE)])
def ask_disable(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    """What disabling will do; its button does it."""
    record = acts.known(site, slug)
    effects = acts.effects(site, slug, {"enabled": False})
    return render(request, "facility_ask.html", record=record, act="disable", effects=effects)


@router.post("/facilities/{slug}/disable", dependencies=[allow(Right.OPERATE)])
def disable(site: OnSite, caller: LoggedIn, slug: str) -> Response:
    acts.edit(site, caller.name, slug, {"enabled": False})
    return _back(site, slug)


@router.get("/facilities/{slug}/remove", dependencies=[allow(Right.ADMINISTER)])
def ask_remove(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    record = acts.known(site, slug)
    effects = acts.effects(site, slug, {"enabled": False}) if record.enabled else []
    return render(request, "facility_ask.html", record=record, act="remove", effects=effects)


@router.post("/facilities/{slug}/remove", dependencies=[allow(Right.ADMINISTER)])
def remove(site: OnSite, caller: LoggedIn, slug: str) -> Response:
    """The page has said that studies are kept."""
    acts.remove(site, caller.name, slug, keep_studies=True)
    return RedirectResponse(f"{site.base_path}/removed-facilities", 303)


@router.post("/facilities/{slug}/restore", dependencies=[allow(Right.ADMINISTER)])
def restore(site: OnSite, caller: LoggedIn, slug: str) -> Response:
    acts.restore(site, caller.name, slug)
    return _back(site, slug)


@router.get("/removed-facilities", dependencies=[allow(Right.ADMINISTER)])
def removed(request: Request, site: OnSite) -> HTMLResponse:
    records = [each for each in site.registry("web").all(removed=True) if each.removed_at is not None]
    return render(request, "facilities_removed.html", records=records)


def _back(site: Site, slug: str, fragment: str = "") -> Response:
    return RedirectResponse(f"{site.base_path}/facilities/{slug}{fragment}", 303)


# -- onboarding


@router.get("/facilities/{slug}/onboarding", dependencies=[allow(Right.SEE)])
def card(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    """What to type into the modality, and whether it gets through."""
    record = acts.known(site, slug)
    return render(
        request,
        "onboarding.html",
        record=record,
        card=onboarding(site.settings, record),
        steps=site.checklist.steps(_target(record), patient=False),
    )


@router.get("/facilities/{slug}/onboarding/checks", dependencies=[allow(Right.SEE)])
def checks(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    record = acts.known(site, slug)
    return render(request, "checklist.html", record=record, steps=site.checklist.steps(_target(record)))


def _target(record: FacilityRecord) -> Target:
    return Target(record.id, record.slug, record.port, record.ae_title, record.enabled)
