"""The parts that audit messages are made of: the audit message schema of PS3.15 A.5.1, as XML elements.

Takes any text; what XML cannot hold (control characters of a caller's AE title) is replaced. The codes are those of
PS3.16 (DCM) and RFC 3881. The schema wants a name for every participant object: it is the ID again, as no patient's
name is ever sent.
"""

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
APPLICATION_SERVER = "4"  # Audit Source Type Code, PS3.15 A.5.1.2.1


class Code(NamedTuple):
    """A coded value."""

    value: str
    meaning: str
    system: str = "DCM"


class Outcome(IntEnum):
    """Event Outcome Indicator. For a security alert: whether what was done against it held (PS3.15 A.5.3.11)."""

    SUCCESS = 0
    MINOR = 4
    SERIOUS = 8
    MAJOR = 12


class Access(NamedTuple):
    """A network access point: its type (1: host name, 2: address) and what it is."""

    kind: str
    name: str


@dataclass(frozen=True)
class Participant:
    """Active Participant."""

    user: str
    requestor: bool = False  # one at the most in a message
    role: Code | None = None
    alternative: str = ""
    name: str = ""
    access: Access | None = None
    media: Code | None = None


@dataclass(frozen=True)
class Subject:
    """Participant Object Identification."""

    id: str
    id_type: Code
    type: str  # 1: person, 2: system object
    role: str  # PS3.15 A.5.1.2.2
    name: str = ""
    query: str | None = None  # in place of the name
    details: tuple[tuple[str, str], ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)  # SOP class: instances


@dataclass(frozen=True)
class Event:
    """Event Identification."""

    id: Code
    action: str  # C create, R read, U update, D delete, E execute
    at: datetime
    outcome: Outcome = Outcome.SUCCESS
    type: Code | None = None
    description: str = ""


@dataclass(frozen=True)
class Message:
    """One audit message, ready to be sent."""

    at: datetime
    outcome: Outcome
    xml: str


def write(event: Event, participants: Iterable[Participant], subjects: Iterable[Subject], source: str) -> Message:
    """The message; `source` is the Audit Source ID."""
    root = ET.Element("AuditMessage")
    _event(root, event)
    for participant in participants:
        _participant(root, participant)
    identified = _element(root, "AuditSourceIdentification", AuditSourceID=source)
    _element(identified, "AuditSourceTypeCode", **{"csd-code": APPLICATION_SERVER})
    for subject in subjects:
        _subject(root, subject)
    return Message(event.at, event.outcome, _DECLARATION + ET.tostring(root, encoding="unicode"))


def _event(root: ET.Element, event: Event) -> None:
    at = event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = _element(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=at,
        EventOutcomeIndicator=str(int(event.outcome)),
    )
    _code(made, "EventID", event.id)
    if event.type is not None:
        _code(made, "EventTypeCode", event.type)
    if event.description:
        _element(made, "EventOutcomeDescription").text = clean(event.description)


def _participant(root: ET.Element, participant: Participant) -> None:
    made = _element(
        root,
        "ActiveParticipant",
        UserID=participant.user,
        AlternativeUserID=participant.alternative or None,
        UserName=participant.name or None,
        UserIsRequestor="true" if participant.requestor else "false",
        NetworkAccessPointID=participant.access.name if participant.access else None,
        NetworkAccessPointTypeCode=participant.access.kind if participant.access else None,
    )
    if participant.role is not None:
        _code(made, "RoleIDCode", participant.role)
    if participant.media is not None:
        _code(_element(made, "MediaIdentifier"), "MediaType", participant.media)


def _subject(root: ET.Element, subject: Subject) -> None:
    made = _element(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=subject.id,
        ParticipantObjectTypeCode=subject.type,
        ParticipantObjectTypeCodeRole=subject.role,
    )
    _code(made, "ParticipantObjectIDTypeCode", subject.id_type)
    if subject.query is not None:
        _element(made, "ParticipantObjectQuery").text = _base64(subject.query)
    else:
        _element(made, "ParticipantObjectName").text = clean(subject.name or subject.id)
    for name, value in subject.details:
        _element(made, "ParticipantObjectDetail", type=name, value=_base64(value))
    if subject.classes:
        described = _element(made, "ParticipantObjectDescription")
        for uid, count in sorted(subject.classes.items()):
            _element(described, "SOPClass", UID=uid, NumberOfInstances=str(count))


def _element(parent: ET.Element, name: str, **attributes: str | None) -> ET.Element:
    return ET.SubElement(parent, name, {key: clean(value) for key, value in attributes.items() if value is not None})


def _code(parent: ET.Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
    ET.SubElement(parent, name, attributes)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def clean(text: str) -> str:
    """Text that XML can hold."""
    return _NOT_XML.sub("\ufffd", text)
