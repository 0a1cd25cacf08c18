"""Studies, in the API: the list with the page's search and filters, one study, its instances, "complete now"."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from noctis.archiver.completion import complete_now
from noctis.repository.search import PAGE
from noctis.repository.study_details import details, find_study, instances_of_study, series_of_study
from noctis.users.roles import Right
from noctis.web.access import LoggedIn, allow
from noctis.web.asked_studies import Asked, noted
from noctis.web.asking import note_query
from noctis.web.site import OnSite

router = APIRouter(prefix="/api/v1", tags=["studies"])
LIMIT_MAX = 200  # studies
INSTANCES_LIMIT_MAX = 1000
Slug = Annotated[str, Path(description="the facility's slug")]
StudyUid = Annotated[
    str, Path(description="the Study Instance UID; ~ and the study's id, where the UID cannot stand in an address")
]


class Study(BaseModel):
    """A study of one facility. Dates and times of DICOM are as they were sent; the others are ISO 8601 in UTC."""

    id: int
    facility: str
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    issuer_of_patient_id: str
    accession_number: str
    study_date: str
    study_time: str
    study_id: str
    study_description: str
    referring_physician_name: str
    modalities: str
    series: int
    instances: int
    bytes: int
    status: str
    first_received: datetime
    last_received: datetime
    completed_at: datetime | None
    late_instances: int


class Studies(BaseModel):
    """A page of the list. `older` and `newer` are what to ask with for what follows; null: nothing does."""

    studies: list[Study]
    older: str | None
    newer: str | None
    examined: int | None  # the search was given up after so many studies: there may be more beyond


class MissingNumbers(BaseModel):
    """Instance numbers that no instance has, both ends included."""

    first: int
    last: int


class Series(BaseModel):
    """A series, with what its instance numbers tell; null: they were not looked at."""

    id: int
    series_instance_uid: str
    modality: str
    series_number: str
    series_date: str
    series_description: str
    body_part_examined: str
    manufacturer: str
    station_name: str
    instances: int
    bytes: int
    missing_total: int | None = None
    missing: list[MissingNumbers] | None = None  # the first ranges
    repeated_total: int | None = None
    repeated: list[int] | None = None  # the first numbers that several instances have
    unnumbered: int | None = None


class Association(BaseModel):
    association_id: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    instances: int


class Arrival(BaseModel):
    """Instances that came from one caller without a long pause."""

    calling: str
    called: str
    address: str
    begin: datetime
    end: datetime
    instances: int
    associations: list[Association]


class WholeStudy(Study):
    """A study with its series and how it came."""

    series_list: list[Series]
    arrivals: list[Arrival]
    looked_at: int  # instances that `arrivals` and the numbers of series are from


class Instance(BaseModel):
    id: int
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    frames: str
    rows: int | None
    columns: int | None
    path: str  # below the archive's folder
    bytes: int
    sha256: str
    flags: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    received_at: datetime


class Instances(BaseModel):
    """Some instances of a study; `after` is what to ask with for those that follow, null: there are none."""

    instances: list[Instance]
    after: int | None


@router.get("/studies", dependencies=[allow(Right.SEE)])
def list_studies(
    site: OnSite, caller: LoggedIn, asked: Asked, limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = PAGE
) -> Studies:
    """Studies, the newest first; with a range of study dates, the latest date first."""
    wanted = asked.search(site, caller)
    note_query(site, caller, "query.studies", facility=asked.facility or caller.account.facility, **noted(asked))
    page = asked.find(site, wanted, limit)
    return Studies(
        studies=[Study(**row) for row in page.rows],
        older=str(page.older) if page.older else None,
        newer=str(page.newer) if page.newer else None,
        examined=page.examined,
    )


@router.get("/studies/{slug}/{study_uid}", dependencies=[allow(Right.SEE)])
def show_study(site: OnSite, caller: LoggedIn, slug: Slug, study_uid: StudyUid) -> WholeStudy:
    """One study, its series, gaps in their instance numbers, and who brought it."""
    row = find_study(site.engine, slug, study_uid)
    note_query(site, caller, "query.study", facility=slug, study_instance_uid=row["study_instance_uid"])
    found = details(site.engine, row, site.pause_seconds)
    series = []
    for part in series_of_study(site.engine, row["id"]):
        values: dict[str, Any] = {}
        if (numbers := found.numbers.get(part["id"])) is not None:
            values = {name: getattr(numbers, name) for name in ("missing_total", "repeated_total", "repeated")}
            values["unnumbered"] = numbers.unnumbered
            values["missing"] = [MissingNumbers(first=first, last=last) for first, last in numbers.missing]
        series.append(Series(**part, **values))
    arrivals = [Arrival(**vars(each)) for each in found.arrivals]
    return WholeStudy(**row, series_list=series, arrivals=arrivals, looked_at=found.looked_at)


@router.get("/studies/{slug}/{study_uid}/instances", dependencies=[allow(Right.SEE)])
def list_instances(
    site: OnSite,
    caller: LoggedIn,
    slug: Slug,
    study_uid: StudyUid,
    limit: Annotated[int, Query(ge=1, le=INSTANCES_LIMIT_MAX)] = 100,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
) -> Instances:
    """The instances of one study, in the order in which they were filed."""
    row = find_study(site.engine, slug, study_uid)
    note_query(
        site, caller, "query.instances", facility=slug, study_instance_uid=row["study_instance_uid"], limit=limit
    )
    rows = instances_of_study(site.engine, row["id"], limit + 1, after)
    more = len(rows) > limit
    rows = rows[:limit]
    return Instances(instances=[Instance(**each) for each in rows], after=rows[-1]["id"] if more else None)


@router.post("/studies/{slug}/{study_uid}/complete", dependencies=[allow(Right.OPERATE)])
def complete_study(site: OnSite, caller: LoggedIn, slug: Slug, study_uid: StudyUid) -> Study:
    """Complete a study though it has not been quiet long enough. One that is complete stays so."""
    row = find_study(site.engine, slug, study_uid)
    complete_now(site.engine, row["id"], caller.name, tell=site.settings.notifications.enabled)
    return Study(**find_study(site.engine, slug, study_uid))
