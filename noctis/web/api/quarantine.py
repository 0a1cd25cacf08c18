"""Quarantine: what could not be filed, compared with what is, released or discarded."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from noctis.repository.element_differences import Difference, Kind
from noctis.repository.index import Outcome
from noctis.repository.quarantine import Reason
from noctis.users.roles import Right
from noctis.web import filters, quarantined
from noctis.web.access import LoggedIn, allow
from noctis.web.fields import PAGE, After, FacilitySlug, Limit, Since, Until, Words
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["quarantine"])

Slug = Annotated[Words, Path(description="The facility's.")]
Name = Annotated[Words, Path(description="The file's, as the list has it.")]


class QuarantinedOut(BaseModel):
    """An instance that could not be filed."""

    facility: str
    facility_name: str
    name: str = Field(description="Of its file; unique within the facility.")
    reason: str
    reason_words: str
    detail: str
    sop_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    sop_class: str
    bytes: int
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    received_at: datetime


class QuarantinePage(BaseModel):
    items: list[QuarantinedOut]
    next: str | None


class FiledOut(BaseModel):
    """What is filed under the same SOP Instance UID."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    bytes: int
    calling_ae_title: str
    peer_address: str
    received_at: datetime


class QuarantinedDetail(QuarantinedOut):
    target: dict[str, str] = Field(description="The UIDs it would be filed by, or a `problem`.")
    has_study: bool = Field(description="Whether the facility has that study already.")
    filed: FiledOut | None
    begun_into: str = Field(description="A release into this facility was begun and not finished.")


class Side(BaseModel):
    vr: str
    length: int
    vm: int
    value: str
    cut: bool
    sha256: str = Field(description="Of a binary or long value.")


class DifferenceOut(BaseModel):
    kind: Kind
    path: str
    tag: str
    keyword: str
    name: str
    filed: Side | None
    quarantined: Side | None


class Differences(BaseModel):
    filed: FiledOut | None = Field(description="null: nothing is filed under its SOP Instance UID.")
    different: list[DifferenceOut]
    same: int = Field(description="Elements that are the same on both sides.")
    problems: list[str]


class Release(BaseModel):
    replace: bool = Field(False, description="Take the place of what is filed; that goes into quarantine.")
    into: Words | None = Field(None, description="Another facility's slug; admins alone.")
    out_of: Words | None = Field(None, description="Its own facility's slug, said again where `into` is another.")


class ReleasedOut(BaseModel):
    outcome: Outcome
    facility: str
    path: str = Field(description="Below the archive's folder.")


class DiscardedOut(BaseModel):
    facility: str
    name: str
    discarded: bool = True


@router.get("/quarantine", dependencies=[allow(Right.SEE)])
def list_quarantine(
    site: OnSite,
    caller: LoggedIn,
    facility: FacilitySlug = "",
    reason: Reason | None = None,
    q: Annotated[Words, Query(description="The beginning of a UID, or part of a title or address.")] = "",
    since: Since = "",
    until: Until = "",
    limit: Limit = PAGE,
    after: After = None,
) -> QuarantinePage:
    """Instances in quarantine, the latest first."""
    given = {"facility": facility, "reason": reason, "q": q, "since": since, "until": until}
    asked = filters.asked(given, quarantined.FILTERS)
    wanted = quarantined.filter_of(site, caller, asked)
    page = quarantined.looked_at(site, wanted, limit, after)
    quarantined.note_query(site, caller, "query.quarantine", asked)
    return QuarantinePage(items=[QuarantinedOut(**row) for row in page.rows], next=page.next)


@router.get("/quarantine/{slug}/{name}", dependencies=[allow(Right.SEE)])
def show_quarantined(site: OnSite, caller: LoggedIn, slug: Slug, name: Name) -> QuarantinedDetail:
    """One instance, and what is filed in its place."""
    found = quarantined.shown(site, slug, name)
    quarantined.note_query(site, caller, "query.quarantined", {"name": name}, slug)
    named = {key: found[key] for key in ("target", "has_study", "begun_into")}
    return QuarantinedDetail(**found["row"], **named, filed=_filed(found["filed"]))


@router.get("/quarantine/{slug}/{name}/differences", dependencies=[allow(Right.SEE)])
def differences(site: OnSite, caller: LoggedIn, slug: Slug, name: Name) -> Differences:
    """What differs, element by element, between it and what is filed."""
    _, filed, comparison = quarantined.compared(site, slug, name)
    quarantined.note_query(site, caller, "query.quarantined", {"name": name, "differences": ""}, slug)
    if comparison is None:
        return Differences(filed=None, different=[], same=0, problems=[])
    return Differences(
        filed=_filed(filed),
        different=[_difference(each) for each in comparison.different],
        same=len(comparison.same),
        problems=comparison.problems,
    )


@router.post("/quarantine/{slug}/{name}/release", dependencies=[allow(Right.OPERATE)])
def release_quarantined(
    site: OnSite, caller: LoggedIn, slug: Slug, name: Name, choice: Release | None = None
) -> ReleasedOut:
    """File it after all."""
    chosen = choice.model_dump() if choice else {}
    released = quarantined.release_one(site, caller, slug, name, **chosen)
    return ReleasedOut(outcome=released.outcome, facility=chosen.get("into") or slug, path=released.path)


@router.post("/quarantine/{slug}/{name}/discard", dependencies=[allow(Right.OPERATE)])
def discard_quarantined(site: OnSite, caller: LoggedIn, slug: Slug, name: Name) -> DiscardedOut:
    """Throw it away for good."""
    quarantined.discard_one(site, caller, slug, name)
    return DiscardedOut(facility=slug, name=name)


def _filed(row: dict[str, Any] | None) -> FiledOut | None:
    return None if row is None else FiledOut(**{name: row[name] for name in FiledOut.model_fields})


def _difference(found: Difference) -> DifferenceOut:
    element = found.element
    left, right = quarantined.as_json(found.left), quarantined.as_json(found.right)
    return DifferenceOut(
        kind=found.kind,
        path=element.path,
        tag=element.tag,
        keyword=element.keyword,
        name=element.name,
        filed=Side(**left) if left else None,
        quarantined=Side(**right) if right else None,
    )
