"""What a list of studies was asked for, in an address: the same for the page and the API."""

from dataclasses import dataclass, fields
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query
from sqlalchemy import select

from noctis.db.engine import reading
from noctis.db.models import Facility
from noctis.errors import NotFoundError, UsageError
from noctis.repository.search import PAGE, Position, StudyPage, StudySearch, date_of, find_studies, position
from noctis.web.access import Caller
from noctis.web.site import Site

TEXT_MAX = 200  # characters
Text = Annotated[str, Query(max_length=TEXT_MAX)]
STATUSES = ("receiving", "complete")


@dataclass(frozen=True)
class AskedStudies:
    """The parameters as they were given."""

    q: str = ""
    facility: str = ""
    first: str = ""  # in the address: from
    last: str = ""  # in the address: to
    patient: str = ""
    accession: str = ""
    modality: str = ""
    status: str = ""
    newer: str = ""
    older: str = ""

    @property
    def filters(self) -> dict[str, str]:
        """What was asked for, under its name in an address."""
        named = {_IN_ADDRESS.get(each.name, each.name): getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in named.items() if value and name not in ("newer", "older")}

    def query(self, **places: Position | str | None) -> str:
        """The query part of an address with these filters, with its `?`; "" for none."""
        wanted = self.filters | {name: str(place) for name, place in places.items() if place}
        return f"?{urlencode(wanted)}" if wanted else ""

    def find(self, site: Site, wanted: StudySearch, limit: int = PAGE) -> StudyPage:
        """The page that was asked for."""
        newer, older = position(self.newer), position(self.older)
        return find_studies(site.engine, wanted, newer_than=newer, older_than=older, limit=limit)

    def search(self, site: Site, caller: Caller) -> StudySearch:
        """As a search of what the caller may see.

        Raises
        ------
        UsageError, NotFoundError
            A value is malformed, or there is no such facility.
        """
        if self.status not in ("", *STATUSES):
            raise UsageError("this is no status of a study", fix="one of: " + ", ".join(STATUSES))
        modality = self.modality.strip().upper()
        if modality and not (len(modality) <= 16 and modality.isascii() and modality.replace("_", "").isalnum()):
            raise UsageError("this is no modality", fix="for example CT")
        return StudySearch(
            facility_id=caller.scope(_facility_id(site, self.facility) if self.facility else None),
            text=self.q,
            patient=self.patient,
            accession=self.accession,
            first_date=date_of(self.first),
            last_date=date_of(self.last),
            modality=modality,
            status=self.status,
        )


_IN_ADDRESS = {"first": "from", "last": "to"}


def noted(asked: AskedStudies) -> dict[str, str]:
    """What was asked for, under the names that events have."""
    names = {"q": "text", "from": "date", "to": "date"}
    return {names.get(name, name): value for name, value in asked.filters.items() if name != "facility"}


def _facility_id(site: Site, slug: str) -> int:
    found = None
    if "\0" not in slug:
        with reading(site.engine) as connection:
            found = connection.scalar(select(Facility.id).where(Facility.slug == slug))
    if found is None:
        raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
    return found


def _asked(
    q: Text = "",
    facility: Text = "",
    first: Annotated[str, Query(alias="from", max_length=TEXT_MAX, description="study date, YYYY-MM-DD")] = "",
    last: Annotated[str, Query(alias="to", max_length=TEXT_MAX, description="study date, YYYY-MM-DD")] = "",
    patient: Text = "",
    accession: Text = "",
    modality: Text = "",
    status: Text = "",
    newer: Annotated[str, Query(max_length=500, description="`newer` of another page")] = "",
    older: Annotated[str, Query(max_length=500, description="`older` of another page")] = "",
) -> AskedStudies:
    return AskedStudies(q, facility, first, last, patient, accession, modality, status, newer, older)


Asked = Annotated[AskedStudies, Depends(_asked)]
