"""Silence: which facility or device says nothing though it usually does; acknowledge, mute."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from noctis.errors import NotFoundError
from noctis.silence import State
from noctis.silence.mutes import REASON_MAX
from noctis.users.roles import Right
from noctis.web import silences
from noctis.web.access import LoggedIn, allow
from noctis.web.fields import PAGE, Limit, Words
from noctis.web.site import OnSite, Site

router = APIRouter(prefix="/api/v1", tags=["silence"])

OFFSET_MAX = 1_000_000


class MuteOut(BaseModel):
    """What an operator said."""

    kind: Literal["acknowledged", "muted"]
    until: str | None = Field(description="Of muted; null: for ever.")
    actor: str
    reason: str
    at: str


class SilenceOut(BaseModel):
    """One facility as a whole (`device` is empty), or one device of it."""

    facility: str
    name: str
    device: str
    enabled: bool
    state: str = Field(description="In a word or two.")
    last_at: str | None = Field(description="When it last sent; null: never.")
    silent_seconds: float | None
    probability: float | None = Field(description="That a week has a silence like this one; null: not known (yet).")
    alarm_at: str | None = Field(description="When it alarms, or alarmed, if nothing comes.")
    alarm: bool
    covered: bool = Field(description="A device that is too silent, as its whole facility is.")
    acknowledged: bool
    muted: bool
    mute: MuteOut | None
    sentence: str
    odds: list[float] | None = Field(
        description="Of the 168 hours of a week, from Monday 0 h, local: how likely each is to bring something."
    )


class SilencePage(BaseModel):
    items: list[SilenceOut]
    found: int = Field(description="On all pages.")
    raised: int = Field(description="Alarms that are neither acknowledged nor muted.")


class Which(BaseModel):
    device: Words = Field("", description="The calling AE title; empty: the facility as a whole.")


class Acknowledgement(Which):
    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""


class Muting(Acknowledgement):
    until: datetime | None = Field(None, description="null: for ever. Without a zone: UTC.")


def _out(state: State) -> SilenceOut:
    odds = [round(each, 3) for each in state.habit.odds] if state.habit else None
    return SilenceOut(**state.as_json(), odds=odds)


def _now(site: Site, slug: str, device: str) -> SilenceOut:
    for state in silences.recent(site):
        if (state.facility, state.device) == (slug, device):
            return _out(state)
    raise NotFoundError(f"{slug!r} has no device {device!r}")


@router.get("/silence", dependencies=[allow(Right.SEE)])
def list_silences(
    site: OnSite,
    caller: LoggedIn,
    facility: Words | None = None,
    q: Annotated[Words, Query(description="Part of a facility's name or a device's title.")] = "",
    alarms: Annotated[bool, Query(description="Only what is too silent.")] = False,
    limit: Limit = PAGE,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
) -> SilencePage:
    """Facilities and devices with their habit, alarms first."""
    found = silences.silences(site, caller, facility=facility, text=q, alarms=alarms, limit=limit, offset=offset)
    return SilencePage(items=[_out(each) for each in found.rows], found=found.found, raised=found.raised)


@router.post("/silence/{slug}/acknowledge", dependencies=[allow(Right.OPERATE)])
def acknowledge(site: OnSite, caller: LoggedIn, slug: Words, said: Acknowledgement) -> SilenceOut:
    """It is known that it is silent; until it sends again."""
    with silences.saying(site, caller) as mutes:
        mutes.acknowledge(slug, said.device, said.reason)
    return _now(site, slug, said.device)


@router.post("/silence/{slug}/mute", dependencies=[allow(Right.OPERATE)])
def mute(site: OnSite, caller: LoggedIn, slug: Words, said: Muting) -> SilenceOut:
    """No alarm of the facility and its devices, or of one device, until a time or for ever."""
    until = said.until.replace(tzinfo=UTC) if said.until and said.until.tzinfo is None else said.until
    with silences.saying(site, caller) as mutes:
        mutes.mute(slug, said.device, until, said.reason)
    return _now(site, slug, said.device)


@router.post("/silence/{slug}/unmute", dependencies=[allow(Right.OPERATE)])
def unmute(site: OnSite, caller: LoggedIn, slug: Words, said: Which) -> SilenceOut:
    """Neither acknowledged nor muted any more."""
    with silences.saying(site, caller) as mutes:
        mutes.unmute(slug, said.device)
    return _now(site, slug, said.device)
