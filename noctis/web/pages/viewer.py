"""The viewer of a series, and the elements of an instance."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noctis.errors import NotFoundError
from noctis.repository import images
from noctis.repository.elements import WHOLE_MAX
from noctis.users.roles import Right
from noctis.web import element_pages
from noctis.web.access import LoggedIn, allow
from noctis.web.asking import note_instance, note_query
from noctis.web.contents import contents
from noctis.web.site import OnSite
from noctis.web.templating import render

router = APIRouter(include_in_schema=False)

STUDY = "/studies/{slug}/{study_uid}"
CARDS = 120  # thumbnails of one page
ELEMENTS = 500  # rows of one page
# Centre and width in HU, as most workstations have them.
PRESETS = (
    ("Brain", 40, 80),
    ("Subdural", 75, 215),
    ("Lung", -600, 1500),
    ("Mediastinum", 40, 400),
    ("Bone", 480, 2500),
    ("Abdomen", 60, 400),
    ("Liver", 30, 150),
)


@router.get(STUDY + "/series/{series_uid}", dependencies=[allow(Right.SEE)])
def series(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: str,
    study_uid: str,
    series_uid: str,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> HTMLResponse:
    view = images.series(site.engine, slug, study_uid, series_uid, site.home.media)
    pages = max(1, -(-len(view.images) // CARDS))
    page = min(page, pages)
    first = (page - 1) * CARDS
    site.frames.warm()
    if page == 1:
        note_query(
            site,
            caller,
            "query.instance",
            facility=slug,
            study_instance_uid=view.study["study_instance_uid"],
            series_instance_uid=view.series["series_instance_uid"],
        )
    return render(
        request,
        "viewer/series.html",
        view=view,
        study=view.study,
        series=view.series,
        cards=list(enumerate(view.images[first : first + CARDS], first + 1)),
        pages=pages,
        page=page,
        presets=PRESETS if view.series["modality"] == "CT" else (),
        can_be_seen=any(not row.no_image for row in view.images),
    )


@router.get(STUDY + "/instances/{sop_uid}", dependencies=[allow(Right.SEE)])
def instance(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: str,
    study_uid: str,
    sop_uid: str,
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    row = images.instance(site.engine, slug, study_uid, sop_uid)
    found = element_pages.page(site, row, q, (page - 1) * ELEMENTS, ELEMENTS)
    values: dict[str, Any] = {
        "row": row,
        "q": q,
        "page": page,
        "pages": max(1, -(-found.total // ELEMENTS)),
        "found": found,
        "first": (page - 1) * ELEMENTS,
    }
    if request.headers.get("hx-request") == "true":
        return render(request, "viewer/elements_table.html", **values)
    note_instance(site, caller, row)
    return render(request, "viewer/instance.html", contents=contents(site, row), **values)


@router.get(STUDY + "/instances/{sop_uid}/value", dependencies=[allow(Right.SEE)])
def value(
    request: Request,
    site: OnSite,
    slug: str,
    study_uid: str,
    sop_uid: str,
    path: Annotated[str, Query(max_length=1000)],
) -> HTMLResponse:
    row = images.instance(site.engine, slug, study_uid, sop_uid)
    element = element_pages.whole_value(site, row, path)
    if element is None:
        raise NotFoundError("this instance has no such element")
    return render(request, "viewer/value.html", row=row, element=element, most=WHOLE_MAX)


@router.get(STUDY + "/series/{series_uid}/instances/{sop_uid}", dependencies=[allow(Right.SEE)])
def instance_of_series(site: OnSite, slug: str, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """The address that one makes up from the API's; the page is the study's."""
    from urllib.parse import quote

    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)
    to = "/".join(quote(each, safe="") for each in (row.slug, row.study_part, "instances", row.part))
    return RedirectResponse(f"{site.base_path}/studies/{to}", 303)
