"""What goes on at this moment: listeners, associations, the spool, the archiver, the disks."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, TypeAdapter

from noctis.observability.live import LiveAssociation
from noctis.users.roles import Right
from noctis.web.access import LoggedIn, allow
from noctis.web.doors import Door
from noctis.web.live import Machine
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["live"])


class Listener(BaseModel):
    """One port, as it is now."""

    facility: str | None = Field(description="slug; null: the default port")
    name: str
    ae_title: str
    port: int
    state: str
    error: str
    error_at: datetime | None
    workers: int
    live_associations: int
    live_at_default_port: int
    instances_per_second: float
    instances_by_minute: list[int] = Field(description="of the last hour, the minute that runs last")
    last_instance: datetime | None
    studies_today: int | None = Field(description="null: not known, as the database is away; so are the next two")
    refused_callers: int | None = Field(description="in the last 24 hours, each once")
    quarantine: int | None

    @classmethod
    def of(cls, door: Door) -> Self:
        return cls(
            facility=door.slug,
            name=door.name,
            ae_title=door.ae_title,
            port=door.port,
            state=door.state,
            error=door.error,
            error_at=datetime.fromisoformat(door.error_at) if door.error_at else None,
            workers=door.workers,
            live_associations=door.live,
            live_at_default_port=door.live_default,
            instances_per_second=door.rate,
            instances_by_minute=list(door.minutes),
            last_instance=door.last_instance,
            studies_today=door.today,
            refused_callers=door.refusals,
            quarantine=door.quarantine,
        )


class Listeners(BaseModel):
    at: datetime
    supervisor: str | None = Field(description="why it does not answer; null: it does")
    listeners: list[Listener]


class Ended(BaseModel):
    """An association that is over."""

    association_id: str
    facility: str
    port: int
    called: str
    calling: str
    address: str
    started_at: datetime
    ended_at: datetime
    seconds: float
    outcome: str
    instances: int
    bytes: int
    failures: int
    echoes: int


class Live(BaseModel):
    open: list[LiveAssociation]
    recent: list[Ended]
    machine: Machine | None = Field(description="spool, archiver and disks; null for an account of one facility")


@router.get("/listeners", dependencies=[allow(Right.SEE)])
def listeners(site: OnSite, caller: LoggedIn) -> Listeners:
    """Every port that the caller may see, the default one first."""
    overview = site.doors.overview()
    found = [Listener.of(each) for each in overview.seen_by(caller)]
    return Listeners(at=overview.at, supervisor=overview.supervisor_error or None, listeners=found)


@router.get("/live", dependencies=[allow(Right.SEE)])
def live(
    site: OnSite,
    caller: LoggedIn,
    facility: Annotated[str | None, Query(max_length=64, description="slug; left out: all")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="of recent associations")] = 50,
) -> Live:
    """Open associations, recent ones, and what waits."""
    facility_id = caller.scope(site.watch.id_of(facility) if facility is not None else None)
    return Live(
        open=site.watch.open(caller, facility),
        recent=TypeAdapter(list[Ended]).validate_python(site.watch.recent(facility_id, limit)),
        machine=site.watch.machine() if caller.may(Right.SEE_ALL) else None,
    )
