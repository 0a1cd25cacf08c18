"""Studies: the list with its search and filters, and one study."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select

from noctis.archiver.completion import complete_now
from noctis.db.engine import reading
from noctis.db.models import Facility
from noctis.repository.search import PAGE, studies_by_id
from noctis.repository.study_details import AT_ONCE, Details, details, find_study, series_of_study
from noctis.users.roles import Right
from noctis.web.access import Caller, LoggedIn, allow
from noctis.web.asked_studies import STATUSES, Asked, noted
from noctis.web.asking import note_query
from noctis.web.site import OnSite, Site
from noctis.web.templating import path_part, render

router = APIRouter(include_in_schema=False)
MODALITIES = (
    "CR",
    "CT",
    "DX",
    "ES",
    "IO",
    "IVUS",
    "MG",
    "MR",
    "NM",
    "OPT",
    "OT",
    "PT",
    "PX",
    "RF",
    "SC",
    "SR",
    "US",
    "XA",
)
FACILITIES_MAX = 2000


@router.get("/studies", dependencies=[allow(Right.SEE)])
def studies(request: Request, site: OnSite, caller: LoggedIn, asked: Asked) -> Response:
    wanted = asked.search(site, caller)
    note_query(site, caller, "query.studies", facility=asked.facility or caller.account.facility, **noted(asked))
    page = asked.find(site, wanted)
    values: dict[str, Any] = {"asked": asked, "found": page, "by_date": wanted.by_date}
    if _is_partial(request):
        answer = render(request, "studies/found.html", **values)
        address = f"{site.base_path}/studies{asked.query()}"
        shown = urlsplit(request.headers.get("hx-current-url", ""))
        same = address == shown.path + (f"?{shown.query}" if shown.query else "")
        answer.headers["HX-Push-Url"] = "false" if same else address
        return answer
    values |= {"facilities": _facilities(site, caller), "modalities": MODALITIES, "statuses": STATUSES}
    return render(request, "studies/list.html", **values)


@router.get("/studies/rows", dependencies=[allow(Right.SEE)])
def rows(
    request: Request, site: OnSite, caller: LoggedIn, ids: Annotated[str, Query(pattern=r"^\d{1,18}(\.\d{1,18})*$")]
) -> Response:
    """The rows that a page shows, as they are now. It is asked for every few seconds, so it leaves no event."""
    wanted = [int(each) for each in ids.split(".")[:PAGE]]
    return render(request, "studies/rows.html", rows=studies_by_id(site.engine, wanted, caller.scope()), ids=wanted)


@router.get("/studies/{slug}/{study_uid}", dependencies=[allow(Right.SEE)])
def study(request: Request, site: OnSite, caller: LoggedIn, slug: str, study_uid: str) -> Response:
    row = find_study(site.engine, slug, study_uid)
    note_query(site, caller, "query.study", facility=slug, study_instance_uid=row["study_instance_uid"])
    site.frames.warm()  # its series have thumbnails
    found = None
    if row["instances"] <= AT_ONCE:
        found = details(site.engine, row, site.pause_seconds)
    return _render(request, site, caller, "studies/study.html", row, found)


@router.get("/studies/{slug}/{study_uid}/arrivals", dependencies=[allow(Right.SEE)])
def arrivals(request: Request, site: OnSite, caller: LoggedIn, slug: str, study_uid: str) -> Response:
    """How a large study came; the study's page asks for it once it is shown."""
    row = find_study(site.engine, slug, study_uid)
    return _render(request, site, caller, "studies/arrivals.html", row, details(site.engine, row, site.pause_seconds))


def _render(
    request: Request, site: Site, caller: Caller, template: str, row: dict[str, Any], found: Details | None
) -> HTMLResponse:
    return render(
        request,
        template,
        slug=row["facility"],
        study=row,
        series_list=series_of_study(site.engine, row["id"]),
        details=found,
        media=site.home.media if caller.may(Right.SEE_ALL) else None,
    )


@router.get("/studies/{slug}/{study_uid}/status", dependencies=[allow(Right.SEE)])
def status(request: Request, site: OnSite, caller: LoggedIn, slug: str, study_uid: str) -> Response:
    """Where a study is; its page asks for it while it is receiving."""
    return render(request, "studies/status.html", slug=slug, study=find_study(site.engine, slug, study_uid))


@router.post("/studies/{slug}/{study_uid}/complete", dependencies=[allow(Right.OPERATE)])
def complete(site: OnSite, caller: LoggedIn, slug: str, study_uid: str) -> Response:
    row = find_study(site.engine, slug, study_uid)
    complete_now(site.engine, row["id"], caller.name, tell=site.settings.notifications.enabled)
    return RedirectResponse(f"{site.base_path}/studies/{slug}/{path_part(row)}", 303)


def _is_partial(request: Request) -> bool:
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"


def _facilities(site: Site, caller: Caller) -> list[dict[str, str]]:
    """Those that may have studies, removed ones too."""
    if caller.facility_id is not None:
        return []
    query = select(Facility.slug, Facility.name).order_by(Facility.name).limit(FACILITIES_MAX)
    with reading(site.engine) as connection:
        return [{"slug": row.slug, "name": row.name} for row in connection.execute(query)]
