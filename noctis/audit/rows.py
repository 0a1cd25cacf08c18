"""What a message is made from: rows of the ledgers, with what else must be known of them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class EventRow:
    """Of the table `event`."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    facility_id: int | None = None
    facility: str | None = None  # slug
    ae_title: str | None = None  # the facility's


@dataclass(frozen=True)
class RefusalRow:
    """Of the table `refusal`, since it was last told of."""

    id: int
    port: int
    called: str
    calling: str
    address: str
    reason: str
    count: int  # in all
    new: int  # not told of yet
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True)
class AssociationRow:
    """Of the table `association`."""

    id: int
    association_id: str
    facility_id: int
    facility: str  # slug
    port: int
    called: str
    calling: str
    address: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    instances: int
    failures: int


@dataclass
class Studies:
    """What came: instances by patient's ID, Study Instance UID and SOP Class UID."""

    patients: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    instances: int = 0

    def add(self, patient: str, study: str, sop_class: str) -> None:
        classes = self.patients.setdefault(patient, {}).setdefault(study, {})
        classes[sop_class] = classes.get(sop_class, 0) + 1
        self.instances += 1
