"""What a facility's senders did first: whether a new one has got through, and how far."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Executable, select

from noctis.db.engine import reading
from noctis.db.models import AssociationRecord, Refusal, Study
from noctis.facilities.naming import CHECKING


@dataclass(frozen=True)
class First:
    """When something was first done, and by whom, where that is known."""

    at: datetime
    calling: str = ""
    address: str = ""


@dataclass(frozen=True)
class Refused:
    """The last caller that was turned away at a port."""

    at: datetime
    called: str
    calling: str
    address: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Firsts:
    """None: it has not been seen. Our own checks do not count."""

    connection: First | None
    echo: First | None
    instance: First | None
    complete: First | None  # study
    refused: Refused | None


def firsts(engine: Engine, facility_id: int, port: int) -> Firsts:
    """What the ledgers know; an association is in them once it has ended."""
    row = AssociationRecord
    mine = (
        select(row.started_at, row.calling, row.address)
        .where(row.facility_id == facility_id, row.calling != CHECKING)
        .order_by(row.ended_at)
        .limit(1)
    )
    study = select(Study.first_received).where(Study.facility_id == facility_id)
    complete = study.with_only_columns(Study.completed_at).where(Study.completed_at.is_not(None))
    refusal = (
        select(Refusal.last_seen, Refusal.called, Refusal.calling, Refusal.address, Refusal.reason, Refusal.fix)
        .where(Refusal.port == port)
        .order_by(Refusal.last_seen.desc())
        .limit(1)
    )
    with reading(engine) as connection:

        def first(query: Executable) -> First | None:
            found = connection.execute(query).first()
            return None if found is None else First(*found)

        refused = connection.execute(refusal).first()
        return Firsts(
            first(mine),
            first(mine.where(row.echoes > 0)),
            first(study.order_by(Study.first_received).limit(1)),
            first(complete.order_by(Study.first_received).limit(1)),
            None if refused is None else Refused(*refused),
        )
