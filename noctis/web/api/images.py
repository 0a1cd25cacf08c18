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
VoiLut = Annotated[
    int, Query(ge=0, le=8, description="Which VOI LUT of the instance in place of a window, from 1; 0: as it is sent")
]
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
    row: ImageRow,
    frame: int,
    center: float | None = None,
    width: float | None = None,
    *,
    table: int = 0,
    invert: bool = False,
    size: int = 0,
    jpeg: bool = False,
    overlays: bool = False,
) -> Wanted:
    if (center is None) != (width is None):
        raise UsageError("center and width belong together", fix="give both, or neither")
    if table and center is not None:
        raise UsageError("a window and a VOI LUT were asked for", fix="give center and width, or table")
    return Wanted(frame, f"{row.sha256}.{row.transfer_syntax_uid}", center, width, table, invert, size, jpeg, overlays)


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
    table: VoiLut = 0,
    invert: bool = False,
    size: Size = 0,
    version: Version = None,
    placeholder: Placeholder = False,
) -> Callable[[bool], Response]:
    """What answers with the frame: as JPEG, or as PNG."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)

    def answer(jpeg: bool) -> Response:
        wanted = _wanted(row, frame, center, width, table=table, invert=invert, size=size, jpeg=jpeg)
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
    INSTANCE + "/frames/{frame}/overlays.png",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary("image/png") | BUSY,
)
def frame_overlays(
    request: Request,
    site: OnSite,
    slug: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    frame: Frame,
    version: Version = None,
) -> Response:
    """The overlays of a frame as a PNG to be laid over it, see-through where nothing is drawn: graphics in yellow,
    regions of interest in blue. A frame's header Noctis-Frame says in `overlays` how many it has."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)
    return pictures.picture(request, site, row, _wanted(row, frame, overlays=True), version=version)


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
    wanted = _wanted(row, (row.frames + 1) // 2, size=size)
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


PARTS: dict[int | str, dict[str, Any]] = {
    206: {"description": "The range that was asked for (one, in bytes; If-Range with the ETag)"},
    304: {"description": "If-None-Match has the ETag"},
    416: {"description": "There is nothing of the range that was asked for"},
}


@router.head(INSTANCE + "/file", dependencies=[allow(Right.SEE)], include_in_schema=False)
@router.get(
    INSTANCE + "/file",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary(downloads.DICOM) | PARTS | BUSY,
)
def file(
    request: Request, site: OnSite, caller: LoggedIn, slug: str, study_uid: str, series_uid: str, sop_uid: str
) -> Response:
    """The instance's file: its data set bit for bit as it was sent. It can be had in parts, by Range."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)
    still = _still(site, caller)
    answer = downloads.one_file(request, site.home.media, row, site.downloads, caller.name, still)
    return _told_of_instance(site, caller, row, answer)


@router.head(INSTANCE + "/embedded", dependencies=[allow(Right.SEE)], include_in_schema=False)
@router.get(
    INSTANCE + "/embedded",
    dependencies=[allow(Right.SEE)],
    response_class=Response,
    responses=_binary("application/pdf", "application/xml", "application/octet-stream", "video/*") | PARTS | BUSY,
)
def embedded(
    request: Request,
    site: OnSite,
    caller: LoggedIn,
    slug: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    inline: Annotated[bool, Query(description="To be shown, where a browser can: a PDF, an MP4")] = False,
) -> Response:
    """The document that the instance wraps (PDF, CDA, a 3D model), or the stream of its video, by itself. It can be had
    in parts, by Range."""
    row = images.instance(site.engine, slug, study_uid, sop_uid, series_uid)
    still = _still(site, caller)
    answer = downloads.wrapped(request, site.home.media, row, site.downloads, caller.name, still, inline=inline)
    return _told_of_instance(site, caller, row, answer)


def _told_of_instance(site: Site, caller: Caller, row: ImageRow, answer: Response) -> Response:
    if downloads.begins(answer):
        uids = {"study_instance_uid": row.study_uid, "sop_instance_uid": row.sop_instance_uid}
        _told(site, caller, "instance.downloaded", row.slug, **uids)
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
        site.home.media, slug, rows, first.study_uid, site.downloads, caller.name, _still(site, caller)
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
        site.home.media, slug, rows, first.series_uid, site.downloads, caller.name, _still(site, caller)
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
