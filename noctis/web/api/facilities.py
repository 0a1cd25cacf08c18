"""Facilities: listed, added, changed, taken out of service and brought back; their devices."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from noctis.facilities.effect import Effect
from noctis.facilities.onboarding import onboarding
from noctis.facilities.records import FacilityRecord
from noctis.users.roles import Right
from noctis.web import facility as acts
from noctis.web.access import LoggedIn, allow
from noctis.web.doors import Door
from noctis.web.site import OnSite, Site

router = APIRouter(prefix="/api/v1", tags=["facilities"])

Slug = Annotated[str, Path(max_length=64, description="The facility's slug", examples=["central-hospital"])]
Whole = Annotated[int, Field(ge=0, lt=1 << 63)]
Title = Annotated[str, Field(min_length=1, max_length=64, description="AE title, at most 16 characters")]


class Device(BaseModel):
    """One sender of a facility."""

    ae_title: Title
    network: Annotated[str, Field(max_length=64, description="CIDR; empty: from anywhere")] = ""


class Contact(BaseModel):
    model_config = ConfigDict(extra="forbid")
    address: Annotated[str | None, Field(max_length=1000)] = None
    phone: Annotated[str | None, Field(max_length=64)] = None
    email: Annotated[str | None, Field(max_length=254)] = None
    licence_number: Annotated[str | None, Field(max_length=64)] = None


class NewFacility(Contact):
    """A facility to add; AE title and port are generated where they are left out."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    ae_title: Title | None = None
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    devices: Annotated[list[Device], Field(max_length=1000)] = []


class Changes(Contact):
    """What is left out stays; a policy or limit that is null goes back to the configured default."""

    name: Annotated[str, Field(min_length=1, max_length=1000)] = ""
    ae_title: Title = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 0
    workers: Annotated[int, Field(ge=1, le=64)] = 0
    enabled: bool = True
    conflict: Literal["keep", "replace"] | None = None
    tls: Literal["on", "off"] | None = None
    client_certificates: Literal["required", "optional", "off"] | None = None
    quarantine_max_instances: Annotated[int | None, Field(ge=0, lt=1 << 31)] = None
    max_associations: Annotated[int | None, Field(ge=0, lt=1 << 31)] = None
    max_instance_bytes: Whole | None = None
    quota_bytes: Whole | None = None
    quota_instances: Whole | None = None

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class Facility(BaseModel):
    """A facility as it is stored, and the state of its listener."""

    slug: str
    name: str
    ae_title: str
    port: int
    enabled: bool
    state: str | None = Field(description="Of its listener; null: removed, or not known to the listeners yet")
    workers: int
    conflict: str | None
    tls: str | None
    client_certificates: str | None
    quarantine_max_instances: int | None
    max_associations: int | None
    max_instance_bytes: int | None
    quota_bytes: int | None
    quota_instances: int | None
    address: str | None
    phone: str | None
    email: str | None
    licence_number: str | None
    created_at: datetime
    removed_at: datetime | None
    devices: list[Device]

    @classmethod
    def of(cls, site: Site, record: FacilityRecord) -> Self:
        door = site.doors.overview().door(record.slug) if record.removed_at is None else None
        values = {name: getattr(record, name) for name in cls.model_fields if name not in ("state", "devices")}
        devices = [Device(ae_title=each.ae_title, network=each.network) for each in record.devices]
        return cls(**values, state=door.state if door else None, devices=devices)


class Usage(BaseModel):
    """What is archived, against the quotas; null: there is none."""

    instances: int
    bytes: int
    quota_instances: int | None
    quota_bytes: int | None
    instances_percent: float | None
    bytes_percent: float | None


class DefaultPort(BaseModel):
    port: int
    called_ae_title: str
    calling_ae_title: str
    echoscu: str


class Onboarding(BaseModel):
    """What to type into a modality."""

    host: str
    port: int
    tls: bool
    called_ae_title: str
    calling_ae_title: str
    calling_ae_titles: list[str]
    echoscu: str
    storescu: str
    default_port: DefaultPort


class OneFacility(Facility):
    usage: Usage
    onboarding: Onboarding


class Activity(BaseModel):
    """Instances that came at its own port."""

    rate: float = Field(description="a second, now")
    minutes: list[int] = Field(description="in each of the last 60 minutes, the one that runs last")
    last_minute: int = Field(description="when that one began, in seconds since 1970, UTC")


class Said(BaseModel):
    """One thing that a change does."""

    text: str
    notable: bool = Field(description="a sender, or who runs it, has to do something")

    @classmethod
    def of(cls, effect: Effect) -> Self:
        return cls(text=effect.text, notable=effect.notable)


@router.get("/facilities", dependencies=[allow(Right.SEE)])
def list_facilities(site: OnSite, caller: LoggedIn, removed: bool = False) -> list[Facility]:
    """All facilities by name; removed ones too if asked."""
    records = site.registry("web").all(removed=removed)
    return [Facility.of(site, each) for each in records if caller.sees(each.slug)]


@router.post("/facilities", status_code=201, dependencies=[allow(Right.ADMINISTER)])
def add_facility(site: OnSite, caller: LoggedIn, new: NewFacility) -> OneFacility:
    """Add a facility: it gets a listener at once."""
    contact = {name: getattr(new, name) for name in Contact.model_fields}
    devices = [acts.device_of(each.ae_title, each.network) for each in new.devices]
    values = {"ae_title": new.ae_title, "port": new.port, "workers": new.workers}
    return _one(site, acts.add(site, caller.name, new.name, devices=devices, contact=contact, **values))


@router.get("/facilities/{slug}", dependencies=[allow(Right.SEE)])
def get_facility(site: OnSite, slug: Slug) -> OneFacility:
    """One facility, a removed one too."""
    return _one(site, acts.known(site, slug, removed=True))


def _one(site: Site, record: FacilityRecord) -> OneFacility:
    plain = Facility.of(site, record).model_dump()
    card = onboarding(site.settings, record)
    return OneFacility.model_validate(plain | {"usage": acts.usage_of(site, record), "onboarding": card})


@router.patch("/facilities/{slug}", dependencies=[allow(Right.ADMINISTER)])
def change_facility(site: OnSite, caller: LoggedIn, slug: Slug, changes: Changes) -> OneFacility:
    """Change what is given."""
    return _one(site, acts.edit(site, caller.name, slug, changes.changes()))


@router.post("/facilities/{slug}/effect", dependencies=[allow(Right.ADMINISTER)])
def effect_of_changes(site: OnSite, slug: Slug, changes: Changes) -> list[Said]:
    """What these changes would do to what runs. Nothing is changed."""
    acts.known(site, slug)
    return [Said.of(each) for each in acts.effects(site, slug, changes.changes())]


@router.delete("/facilities/{slug}", dependencies=[allow(Right.ADMINISTER)])
def remove_facility(site: OnSite, caller: LoggedIn, slug: Slug, keep_studies: bool = False) -> Facility:
    """Take a facility out of service. Its AE title, port and folder are never given to another one."""
    return Facility.of(site, acts.remove(site, caller.name, slug, keep_studies=keep_studies))


@router.post("/facilities/{slug}/restore", dependencies=[allow(Right.ADMINISTER)])
def restore_facility(site: OnSite, caller: LoggedIn, slug: Slug) -> Facility:
    """Bring a removed facility back as it was."""
    return Facility.of(site, acts.restore(site, caller.name, slug))


@router.post("/facilities/{slug}/enable", dependencies=[allow(Right.OPERATE)])
def enable_facility(site: OnSite, caller: LoggedIn, slug: Slug) -> Facility:
    """Open its port again."""
    return Facility.of(site, acts.edit(site, caller.name, slug, {"enabled": True}))


@router.post("/facilities/{slug}/disable", dependencies=[allow(Right.OPERATE)])
def disable_facility(site: OnSite, caller: LoggedIn, slug: Slug) -> Facility:
    """Close its port; instances in flight finish."""
    return Facility.of(site, acts.edit(site, caller.name, slug, {"enabled": False}))


@router.post("/facilities/{slug}/devices", status_code=201, dependencies=[allow(Right.OPERATE)])
def add_device(site: OnSite, caller: LoggedIn, slug: Slug, device: Device) -> Facility:
    """Add a sender."""
    typed = acts.device_of(device.ae_title, device.network)
    return Facility.of(site, acts.add_device(site, caller.name, slug, typed))


@router.delete("/facilities/{slug}/devices", dependencies=[allow(Right.OPERATE)])
def remove_device(
    site: OnSite,
    caller: LoggedIn,
    slug: Slug,
    ae_title: Annotated[str, Query(max_length=64)],
    network: Annotated[str, Query(max_length=64, description="left out: whatever its network")] = "",
) -> Facility:
    """Remove a sender."""
    return Facility.of(site, acts.remove_device(site, caller.name, slug, acts.device_of(ae_title, network)))


@router.get("/facilities/{slug}/activity", dependencies=[allow(Right.SEE)])
def activity(site: OnSite, slug: Slug) -> Activity:
    """The last hour at its own port."""
    overview = site.doors.overview()
    door: Door | None = overview.door(slug)
    if door is None:
        acts.known(site, slug)
        return Activity(rate=0.0, minutes=[], last_minute=0)
    return Activity(rate=door.rate, minutes=list(door.minutes), last_minute=int(overview.at.timestamp() // 60 * 60))
