"""The forms that make and change a facility: what is typed is looked at as it is typed, and saved as it was shown."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import ConflictError, UsageError
from noctis.facilities.records import CHOICES, FacilityRecord
from noctis.facilities.values import CONTACT, LIMITS
from noctis.users.roles import Right
from noctis.web import facility as acts
from noctis.web import facility_fields as fields
from noctis.web.access import LoggedIn, allow
from noctis.web.failures import status_of
from noctis.web.site import OnSite, Site
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=2000)]
TEXT_MAX = 2000  # characters of a field; of more the rest is not looked at


async def _typed(request: Request) -> dict[str, str]:
    async with request.form(max_files=0, max_fields=100) as found:
        return {name: text[:TEXT_MAX] for name, text in found.items() if isinstance(text, str)}


Typed = Annotated[dict[str, str], Depends(_typed)]  # every field of a form


# -- a new one


@router.get("/add-facility", dependencies=[allow(Right.ADMINISTER)])
def add_form(request: Request) -> HTMLResponse:
    return render(request, "facility_add.html", **_new())


def _new(typed: dict[str, str] | None = None, problems: dict[str, str] | None = None) -> dict[str, Any]:
    blank = dict.fromkeys(("name", "ae_title", "port", "proposed_ae_title", "proposed_port", "slug", *CONTACT), "")
    values = blank | {"workers": "1"} | (typed or {})
    return {"typed": values, "problems": problems or {}, "titles": fields.TITLES}


@router.post("/add-facility/preview", dependencies=[allow(Right.ADMINISTER)])
def preview(
    request: Request,
    site: OnSite,
    name: Text = "",
    ae_title: Text = "",
    port: Text = "",
    proposed_ae_title: Text = "",
    proposed_port: Text = "",
) -> HTMLResponse:
    """AE title and port for a name as it is being typed, as saving will have them; what was typed there stays."""
    typed = {
        "name": name,
        "ae_title": ae_title,
        "port": port,
        "proposed_ae_title": proposed_ae_title,
        "proposed_port": proposed_port,
    }
    problems = _propose(site, typed)
    return render(request, "facility_generated.html", **_new(typed, problems))


def _propose(site: Site, typed: dict[str, str]) -> dict[str, str]:
    """Fill in what is generated, and say what is wrong with what was typed."""
    own_title = typed["ae_title"].strip() not in ("", typed["proposed_ae_title"])
    own_port = typed["port"].strip() not in ("", typed["proposed_port"])
    problems: dict[str, str] = {}
    registry = site.registry("web")
    if typed["name"].strip():
        try:
            proposal = registry.proposal(typed["name"], typed["proposed_ae_title"][-4:])
            typed |= {
                "slug": proposal.slug,
                "proposed_ae_title": proposal.ae_title,
                "proposed_port": str(proposal.port),
            }
            typed["ae_title"] = typed["ae_title"] if own_title else proposal.ae_title
            typed["port"] = typed["port"] if own_port else str(proposal.port)
        except (UsageError, ConflictError) as error:
            problems["name"] = error.message
    changes: dict[str, Any] = {}
    if own_title:
        changes["ae_title"] = typed["ae_title"]
    if own_port:
        try:
            changes["port"] = fields.value_of("port", typed["port"])
        except UsageError as error:
            problems["port"] = error.message
    return problems | {field: error.message for field, error in registry.problems(None, changes).items()}


@router.post("/add-facility", dependencies=[allow(Right.ADMINISTER)])
def add(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    name: Text = "",
    ae_title: Text = "",
    port: Text = "",
    workers: Text = "1",
    proposed_ae_title: Text = "",
    proposed_port: Text = "",
    address: Text = "",
    phone: Text = "",
    email: Text = "",
    licence_number: Text = "",
) -> Response:
    typed = {"name": name, "ae_title": ae_title, "port": port, "workers": workers}
    ae_title, port = ae_title.strip() or proposed_ae_title, port.strip() or proposed_port  # as it was shown
    contact = {"address": address, "phone": phone, "email": email, "licence_number": licence_number}
    problems: dict[str, str] = {}
    values: dict[str, Any] = {"ae_title": ae_title or None}
    for field, text in (("port", port), ("workers", workers.strip())):
        try:
            values[field] = fields.value_of(field, text) if text else None
        except UsageError as error:
            problems[field] = error.message
    status = 422
    if not problems:
        values["workers"] = values["workers"] or 1
        try:
            record = acts.add(site, caller.name, name, contact=dict(contact), **values)
            return RedirectResponse(f"{site.base_path}/facilities/{record.slug}/onboarding", 303)
        except (UsageError, ConflictError) as error:
            status = status_of(error)
            wanted = {"name": name, **contact, **{key: value for key, value in values.items() if value is not None}}
            problems = _which(site, None, wanted) or {"name": error.message}
    typed |= contact | {"proposed_ae_title": proposed_ae_title, "proposed_port": proposed_port}
    if problems.keys() & {"ae_title", "port"}:  # what was free when it was shown may be somebody's by now
        _propose(site, typed)
    return render(request, "facility_add.html", status=status, **_new(typed, problems))


def _which(site: Site, slug: str | None, values: dict[str, Any]) -> dict[str, str]:
    """Whose fields the problems are."""
    return {field: error.message for field, error in site.registry("web").problems(slug, values).items()}


# -- one that is there


@router.get("/facilities/{slug}/edit", dependencies=[allow(Right.ADMINISTER)])
def edit_form(request: Request, site: OnSite, slug: str) -> HTMLResponse:
    record = acts.known(site, slug)
    return _form(request, site, record, fields.Form(fields.shown(record)))


def _form(
    request: Request, site: Site, record: FacilityRecord, form: fields.Form, status: int = 200, notice: str = ""
) -> HTMLResponse:
    return render(
        request,
        "facility_edit.html",
        status=status,
        record=record,
        typed=fields.shown(record) | form.typed,
        problems=form.problems,
        notice=notice,
        stamp=fields.stamp(record),
        titles=fields.TITLES,
        choices=CHOICES,
        limits=tuple(LIMITS),
        defaults=fields.defaults(site.settings),
        **_effect(site, record, form),
    )


def _effect(site: Site, record: FacilityRecord, form: fields.Form) -> dict[str, Any]:
    """What the form's changes will do, as far as they can be made."""
    problems = {fields.TITLES[field]: text for field, text in form.problems.items()}
    effects: list[Any] = []
    if not problems and form.changes:
        try:
            effects = acts.effects(site, record.slug, form.changes)
        except (UsageError, ConflictError) as error:
            found = _which(site, record.slug, form.changes)
            problems = {fields.TITLES[field]: text for field, text in found.items()} or {"": error.message}
    return {"effects": effects, "wrong": problems, "changed": [fields.TITLES[each] for each in form.changes]}


@router.post("/facilities/{slug}/effect", dependencies=[allow(Right.ADMINISTER)])
def effect(request: Request, site: OnSite, slug: str, typed: Typed) -> HTMLResponse:
    """What saving will do, asked for while it is typed. Nothing is changed."""
    record = acts.known(site, slug)
    return render(request, "facility_effect.html", **_effect(site, record, fields.read(typed, record)))


@router.post("/facilities/{slug}/edit", dependencies=[allow(Right.ADMINISTER)])
def edit(request: Request, site: OnSite, caller: LoggedIn, slug: str, typed: Typed) -> Response:
    record = acts.known(site, slug)
    form = fields.read(typed, record)
    if typed.get("stamp") != fields.stamp(record):
        notice = "This facility was changed by somebody else meanwhile. Look at what would change now, and save again."
        return _form(request, site, record, form, 409, notice)
    if form.problems:
        return _form(request, site, record, form, 422)
    try:
        if form.changes:
            acts.edit(site, caller.name, slug, form.changes)
    except (UsageError, ConflictError) as error:
        form.problems = _which(site, slug, form.changes) or {"name": error.message}
        return _form(request, site, record, form, status_of(error))
    return RedirectResponse(f"{site.base_path}/facilities/{slug}", 303)
