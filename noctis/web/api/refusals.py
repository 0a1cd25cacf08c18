"""Refusals: who was turned away, and letting them in."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from noctis.errors import NotFoundError
from noctis.facilities.remedies import Kind
from noctis.repository import refusals
from noctis.repository.refusals import State
from noctis.users.roles import Right
from noctis.web import filters, refusal_rows
from noctis.web.access import LoggedIn, allow
from noctis.web.fields import ID_MAX, PAGE, After, FacilitySlug, Limit, RowId, Words
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["refusals"])


class RefusalOut(BaseModel):
    """A caller that was turned away. Repeats are counted."""

    id: int
    port: int
    called: str
    calling: str
    address: str
    reason: str = Field(description="In plain words.")
    fix: str = Field(description="The command, or the advice, that would let it in.")
    remedy: dict[str, Any] = Field(description="The same as data; empty in rows of earlier releases.")
    kind: str | None
    can_be_fixed: bool = Field(description="Whether POST …/fix can do it.")
    count: int
    first_seen: str
    last_seen: str
    state: State
    fixed_by: str
    fixed_facility: str
    fixed_at: str | None
    let_in_at: str | None
    facility: str | None = Field(description="Whose port it is; null: the default one, or nobody's now.")
    facility_name: str | None
    former_facility: str | None = Field(description="Whose port it was, if it is nobody's now.")
    shared_port: bool
    would_be_let_in: str | None = Field(description="The facility that the caller would be if it came now.")


class RefusalPage(BaseModel):
    items: list[RefusalOut]
    next: str | None


class Fix(BaseModel):
    facility: Words | None = Field(None, description="The slug, where the remedy leaves a choice.")
    network: Words | None = Field(None, description="CIDR; empty: from anywhere; null: as the remedy says.")
    only_device: bool = Field(False, description="Bind a certificate to this calling AE title alone.")


class Fixed(BaseModel):
    facility: str
    done: str
    refusal: RefusalOut


class Dismissal(BaseModel):
    ids: list[Annotated[int, Field(ge=1, le=ID_MAX)]] = Field(max_length=refusals.DISMISS_MAX)


class Dismissed(BaseModel):
    dismissed: int


@router.get("/refusals", dependencies=[allow(Right.SEE_ALL)])
def list_refusals(
    site: OnSite,
    facility: FacilitySlug = "",
    port: Annotated[int | None, Query(ge=1, le=65535)] = None,
    calling: Words = "",
    address: Words = "",
    kind: Kind | None = None,
    state: State | None = None,
    since: Annotated[Words, Query(description="6h, 7d, or a time (ISO 8601).")] = "",
    q: Annotated[Words, Query(description="Part of a title, the address or the reason.")] = "",
    limit: Limit = PAGE,
    after: After = None,
) -> RefusalPage:
    """Refusals, those seen last first."""
    given = {"facility": facility, "port": port, "calling": calling, "address": address, "kind": kind, "state": state}
    asked = filters.asked(given | {"since": since, "q": q}, refusal_rows.FILTERS)
    page = refusal_rows.looked_at(site, refusal_rows.filter_of(site, asked), limit, after)
    return RefusalPage(items=[RefusalOut(**row) for row in page.rows], next=page.next)


@router.get("/refusals/{refusal}", dependencies=[allow(Right.SEE_ALL)])
def show_refusal(site: OnSite, refusal: RowId) -> RefusalOut:
    """One refusal."""
    return RefusalOut(**refusal_rows.one(site, refusal))


@router.post("/refusals/{refusal}/fix", dependencies=[allow(Right.OPERATE)])
def fix_refusal(site: OnSite, caller: LoggedIn, refusal: RowId, choice: Fix | None = None) -> Fixed:
    """Do what lets this caller in: add the device, allow the network, enable the facility, bind the certificate."""
    mended = refusal_rows.fix(site, caller, refusal, **(choice.model_dump() if choice else {}))
    shown = RefusalOut(**refusal_rows.one(site, refusal))
    return Fixed(facility=mended.facility, done=mended.words, refusal=shown)


@router.delete("/refusals/{refusal}", dependencies=[allow(Right.OPERATE)])
def dismiss_refusal(site: OnSite, caller: LoggedIn, refusal: RowId) -> Dismissed:
    """Put a refusal away."""
    if not refusals.dismiss(site.engine, [refusal], caller.name):
        raise NotFoundError(f"there is no refusal {refusal}")
    return Dismissed(dismissed=1)


@router.post("/refusals/dismiss", dependencies=[allow(Right.OPERATE)])
def dismiss_refusals(site: OnSite, caller: LoggedIn, dismissal: Dismissal) -> Dismissed:
    """Put several away at once; those that are not there do not count."""
    return Dismissed(dismissed=refusals.dismiss(site.engine, dismissal.ids, caller.name))
