"""Frames, elements and files of instances, and studies as archives: for programs, and for the viewer's own pages."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from noctis.errors import DatabaseError, NotFoundError, UsageError
from noctis.frames.protocol import Request as Wanted
from noctis.repository import images
from noctis.repository.asked import asked_for
from noctis.repository.images import ImageRow
from noctis.users.roles import Right
from noctis.web import downloads, element_pages, pictures
from noctis.web.access import Caller, LoggedIn, allow
from noctis.web.asking import note_instance
from noctis.web.site import OnSite, Site

STUDY = "/studies/{slug}/{study_uid}"
SERIES = STUDY + "/series/{series_uid}"
INSTANCE = SERIES + "/instances/{sop_uid}"
PAGE_MAX = 5000  # instances of one answer

router = APIRouter(prefix="/api/v1", tags=["images"])


def _binary(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of an answer that is no JSON."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The bytes", "content": dict.fromkeys(media_types, schema)}}


BUSY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Too many are under way; Retry-After says when to ask again"}
}
Frame = Annotated[int, Path(ge=1, le=images.FRAMES_MAX, description="From 1")]
Center = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False, description="Window centre; with `width`")]
Width = Annotated[float | None, Query(gt=0, le=1e9, allow_inf_nan=False, description="Window width")]
Size = Annotated[int, Query(ge=0, le=8192, description="Pixels of the longer side at the most; 0: as it is")]
Version = Annotated[
    str | None, Query(alias="v", max_length=64, description="The instance's `digest`: lets a browser keep the picture")
]
Placeholder = Annotated[bool, Query(description="Draw why there is no picture in its place (SVG)")]


class InstanceOut(BaseModel):
    """One instance of a series."""

    model_config = ConfigDict(from_attributes=True)  # of an `ImageRow`

    sop_instance_uid: str
    address: str = Field(validation_alias="part", description="What names it in the paths of this API.")
    sop_class: str = Field(validation_alias="class_name")
    transfer_syntax_uid: str
    instance_number: str
    frames: int
    rows: int | None
    columns: int | None
    bytes: int
    digest: str
    no_image: str


class InstancesOut(BaseModel):
    """Instances of a series, in the order in which they are looked at."""

    total: int
    offset: int
    instances: list[InstanceOut]


class ElementOut(BaseModel):
    """One data element. `path` is its place, such as (0008,1140)[1].(0008,1150); items count from 1."""

    model_config = ConfigDict(from_attributes=True)  # of an `Element`

    path: str
    depth: int
    vr: str
    keyword: str
    name: str
    length: int
    vm: int
    value: str = Field(validation_alias="text")
    cut: bool
    sha256: str = Field(validation_alias="digest")
    meaning: str


class ElementsOut(BaseModel):
    """Elements of an instance; `problem` says why the list ends before the file does, if it does."""

    total: int
    offset: int
    problem: str
    elements: list[ElementOut]


@router.get(SERIES + "/instances", dependencies=[allow(Right.SEE)])
def instances(
    site: OnSite,
    slug: str,
    study_uid: str,
    series_uid: str,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
) -> InstancesOut:
    """The instances of a series, in order."""
    view = images.series(site.engine, slug, study_uid, series_uid, site.home.media)
    some = view.images[offset : offset + limit]
    return InstancesOut(total=len(view.images), offset=offset, instances=list(map(InstanceOut.model_validate, some)))


def _frame(
    request: Request,
    site: OnSite,
    row: ImageRow,
    wanted: Wanted,
    version: str | None,
    instead: bool,
) -> Response:
    give: Callable[..., Response] = pictures.picture_or_placeholder if instead else pictures.picture
    return give(request, site, row, wanted, version=version)


def _wanted(
    row: ImageRow, frame: int, center: float | None, width: float | None, invert: bool, size: int, jpeg: bool
) -> Wanted:
    if (center is None) != (width is None):
        raise UsageError("center and width belong together", fix="give both, or neither")
    return Wanted(frame, f"{row.sha256}.{row.transfer_syntax_uid}", center, width, invert, size, jpeg)


def _asked_frame(
    request: Request,
    site: OnSite,
    slug: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    frame: Frame,
    center: Center = None,
    width: Width = None,
    invert: bool = False,
    size: Size = 0,
    version: Version = None,
    placeholder: Placeholder = False,
) -> Callable[[bool], Response]:
    """What answers with the frame: as JPEG, or as PNG."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)

    def answer(jpeg: bool) -> Response:
        wanted = _wanted(row, frame, center, width, invert, size, jpeg)
        return _frame(request, site, row, wanted, version, placeholder)

    return answer


AskedFrame = Annotated[Callable[[bool], Response], Depends(_asked_frame)]


@router.get(
    INSTANCE + "/frames/{frame}.png",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary("image/png", "image/svg+xml") | BUSY,
)
def frame_png(asked: AskedFrame) -> Response:
    """One frame as a PNG of 8 bits: grey with the window applied, or RGB. The header Noctis-Frame has what is known of
    it: the window that was applied, those that the instance has, the extent of the values, geometry, frame rate."""
    return asked(False)


@router.get(
    INSTANCE + "/frames/{frame}.jpg",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary("image/jpeg", "image/svg+xml") | BUSY,
)
def frame_jpeg(asked: AskedFrame) -> Response:
    """As the PNG, smaller and not exact."""
    return asked(True)


@router.get(
    SERIES + "/thumbnail.png",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary("image/png", "image/svg+xml") | BUSY,
)
def thumbnail(
    request: Request,
    site: OnSite,
    slug: str,
    study_uid: str,
    series_uid: str,
    size: Annotated[int, Query(ge=16, le=512)] = 160,
    placeholder: Placeholder = False,
) -> Response:
    """A small picture of a series: of the image in its middle."""
    row = images.middle(site.engine, slug, study_uid, series_uid)
    wanted = _wanted(row, (row.frames + 1) // 2, None, None, False, size, False)
    return _frame(request, site, row, wanted, None, placeholder)


@router.get(INSTANCE + "/elements", dependencies=[allow(Right.SEE)])
def elements(
    site: OnSite,
    caller: LoggedIn,
    slug: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    q: Annotated[str, Query(max_length=200, description="Part of a tag, keyword, name or value")] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=2000)] = 500,
) -> ElementsOut:
    """The elements of an instance, file meta included; values are cut, pixel data left out."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)
    page = element_pages.page(site, row, q, offset, limit)
    note_instance(site, caller, row)
    found = list(map(ElementOut.model_validate, page.elements))
    return ElementsOut(total=page.total, offset=offset, problem=page.problem, elements=found)


@router.get(
    INSTANCE + "/file",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary(downloads.DICOM) | BUSY,
)
def file(site: OnSite, caller: LoggedIn, slug: str, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """The instance's file: its data set bit for bit as it was sent."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)
    answer = downloads.one_file(site.home.media, row, site.downloads, caller.name, _still(site, caller))
    _told(
        site,
        caller,
        "instance.downloaded",
        slug,
        study_instance_uid=row.study_uid,
        sop_instance_uid=row.sop_instance_uid,
    )
    return answer


@router.get(
    STUDY + "/archive.zip",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary(downloads.ZIP) | BUSY,
)
def study_archive(site: OnSite, caller: LoggedIn, slug: str, study_uid: str) -> Response:
    """Every instance of a study, as a ZIP made while it is sent."""
    first, rows = _peeked(images.everything(site.engine, slug, study_uid))
    answer = downloads.zip_file(
        site.home.media, rows, first.study_uid, site.downloads, caller.name, _still(site, caller)
    )
    _told(site, caller, "study.downloaded", slug, study_instance_uid=first.study_uid)
    return answer


@router.get(
    SERIES + "/archive.zip",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary(downloads.ZIP) | BUSY,
)
def series_archive(site: OnSite, caller: LoggedIn, slug: str, study_uid: str, series_uid: str) -> Response:
    """Every instance of a series, as a ZIP made while it is sent."""
    first, rows = _peeked(images.everything(site.engine, slug, study_uid, series_uid))
    answer = downloads.zip_file(
        site.home.media, rows, first.series_uid, site.downloads, caller.name, _still(site, caller)
    )
    uids = {"study_instance_uid": first.study_uid, "series_instance_uid": first.series_uid}
    _told(site, caller, "series.downloaded", slug, **uids)
    return answer


def _still(site: Site, caller: Caller) -> Callable[[], bool]:
    """Whether the account is what it was when the download began, and the token in force that was shown for it.

    With the database away both are believed to be.
    """

    def state() -> tuple[object, ...] | None:
        try:
            account = site.accounts(caller.name).get(caller.name)
        except NotFoundError:
            return None
        shown = caller.token is None or site.tokens(caller.name).is_in_force(caller.token.id)
        return account.id, account.role, account.facility_id, shown

    began = state()

    def still() -> bool:
        try:
            return state() == began
        except DatabaseError:
            return True

    return still


def _peeked(rows: Iterator[ImageRow]) -> tuple[ImageRow, Iterator[ImageRow]]:
    """The first row, and all of them."""
    first = next(rows)
    return first, chain((first,), rows)


def _told(site: Site, caller: Caller, action: str, slug: str, **uids: str) -> None:
    """An event; its subject is the UID of what was downloaded, which is the last of `uids`."""
    detail = asked_for(**uids)
    site.journal.event(caller.name, action, detail, subject=detail.get([*uids][-1], ""), slug=slug)
