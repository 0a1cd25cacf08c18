"""Every kind of audit message, against the schema of PS3.15 A.5.1 and the tables of A.5.3."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from noctis.audit import messages
from noctis.audit.messages import Writer
from noctis.audit.rows import AssociationRow, EventRow, RefusalRow, Studies
from noctis.audit.syslog import encode
from noctis.audit.xml import Message
from tests.auditing import Frames, Received, parse

AT = datetime(2026, 1, 2, 8, 0, 0, 123456, tzinfo=UTC)
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
STUDY, PATIENT, NODE, SEARCH = "110180", "2", "110182", "10"


def writer(*, patients: bool = True) -> Writer:
    return Writer(source="noctis-1", host="front.example", ae_title="NOCTIS_SERVER", patients=patients)


def received(message: Message) -> Received:
    (frame,) = Frames().feed(encode(message, "front.example"))
    return parse(frame)


def event(action: str, subject: str = "", **detail: Any) -> EventRow:
    return EventRow(1, AT, "alice", action, subject, detail, 1, "central", "CENTRAL1")


def told(row: EventRow, studies: Studies | None = None) -> Received:
    (message,) = writer().event(row, studies or Studies())
    return received(message)


def association(**changes: Any) -> AssociationRow:
    values = {
        "id": 1, "association_id": "a1", "facility_id": 1, "facility": "central", "port": 11113, "called": "CENTRAL1",
        "calling": "CT1", "address": "192.0.2.7", "started_at": AT, "ended_at": AT, "outcome": "released",
        "instances": 3, "failures": 0,
    }  # fmt: skip
    return AssociationRow(**{**values, **changes})


def brought(*instances: tuple[str, str, str]) -> Studies:
    found = Studies()
    for each in instances:
        found.add(*each)
    return found


def test_the_frame() -> None:
    frame = encode(writer().event(event("application.started", pid=7), Studies())[0], "front end")
    count, _, rest = frame.partition(b" ")
    assert int(count) == len(rest)
    assert rest.startswith(b"<85>1 2026-01-02T08:00:00.123Z front?end noctis ")
    assert b' DICOM+RFC3881 - \xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?><AuditMessage>' in rest


def test_start_and_stop() -> None:
    started = told(event("application.started", pid=7, by="alice"))
    assert (started.id, started.type, started.outcome, started.priority) == ("110100", "110120", "0", 85)
    assert started.users == ["7", "alice@front.example"]
    assert started.requestors == ["alice@front.example"]
    assert told(event("application.stopped", pid=7)).type == "110121"
    lost = told(event("application.lost", pid=7, started_at="2026-01-01"))
    assert (lost.type, lost.outcome, lost.priority) == ("110121", "12", 84)
    assert "2026-01-01" in lost.text


def test_a_refused_association() -> None:
    row = RefusalRow(1, 11113, "CENTRAL1", "STRANGER", "192.0.2.9", "calling AE title not recognised", 5, 2, AT, AT)
    alert = received(writer().refusal(row))
    assert (alert.id, alert.type, alert.outcome, alert.priority) == ("110113", "110126", "4", 84)
    assert alert.objects(NODE) == ["STRANGER@192.0.2.9"]
    assert "STRANGER" in alert.users
    assert alert.requestors == ["noctis-1"]
    assert "refused 2 times (5 since" in alert.details[0]


def test_instances_of_one_patient() -> None:
    (message,) = writer().association(
        association(), brought(("P1", "1.2.1", CT), ("P1", "1.2.1", CT), ("P1", "1.2.2", MR))
    )
    found = received(message)
    assert (found.id, found.action, found.outcome) == ("110104", "C", "0")
    assert found.objects(STUDY) == ["1.2.1", "1.2.2"]
    assert found.objects(PATIENT) == ["P1"]
    assert found.classes == {CT: 2, MR: 1}
    assert found.requestors == ["CT1"]
    roles = [each.get("csd-code") for each in found.root.iter("RoleIDCode")]
    assert roles == ["110153", "110152"]


def test_one_message_tells_of_one_patient() -> None:
    found = writer().association(association(), brought(("P1", "1.2.1", CT), ("P2", "1.2.2", CT), ("", "1.2.3", CT)))
    assert [received(each).objects(PATIENT) for each in found] == [[], ["P1"], ["P2"]]


def test_patients_are_left_out_where_they_shall_be() -> None:
    (message,) = writer(patients=False).association(association(), brought(("P1", "1.2.1", CT)))
    assert received(message).objects(PATIENT) == []
    assert "P1" not in message.xml


def test_what_was_there_already_and_what_was_refused() -> None:
    (message,) = writer().association(association(), Studies())
    assert (received(message).action, received(message).outcome) == ("R", "0")
    well, failed = writer().association(association(failures=2), brought(("P1", "1.2.1", CT)))
    assert (received(well).outcome, received(failed).outcome) == ("0", "8")
    assert writer().association(association(instances=0), Studies()) == []


def test_many_studies_are_several_messages() -> None:
    studies = brought(*(("P1", f"1.2.{number}", CT) for number in range(45)))
    found = [received(each) for each in writer().association(association(), studies)]
    assert [len(each.objects(STUDY)) for each in found] == [20, 20, 5]
    assert all(len(encode(each, "h")) < 32768 for each in writer().association(association(), studies))


def test_a_query() -> None:
    found = told(event("query.studies", fields=["modality", "patient"], modality="CT"))
    assert (found.id, found.action) == ("110112", "E")
    assert found.objects(SEARCH) == ["query.studies"]
    assert json.loads(found.query) == {"facility": "central", "fields": ["modality", "patient"], "modality": "CT"}
    assert found.requestors == ["alice@front.example"]


def test_an_import() -> None:
    found = told(event("import.done", "central", spooled=3, imported=2), brought(("P1", "1.2.1", CT)))
    assert (found.id, found.action) == ("110107", "C")
    assert found.root.find(".//MediaType").get("csd-code") == "110037"
    assert found.objects(STUDY) == ["1.2.1"]


@pytest.mark.parametrize(("action", "code"), [("quarantine.released", "U"), ("quarantine.discarded", "D")])
def test_what_leaves_the_quarantine(action: str, code: str) -> None:
    found = told(event(action, "0001-x.dcm"), Studies({"P1": {"1.2.1": {}}}))
    assert (found.id, found.action) == ("110103", code)
    assert found.objects(STUDY) == ["1.2.1"]
    assert told(event(action, "0001-x.dcm")).objects(STUDY) == []


def session(action: str, subject: str = "ada", actor: str = "ada", **detail: Any) -> Received:
    (message,) = writer().event(EventRow(1, AT, actor, action, subject, detail), Studies())
    return received(message)


@pytest.mark.parametrize(
    ("action", "detail", "kind", "outcome", "said"),
    [
        ("session.login", {}, "110122", "0", ""),
        ("session.refused", {"reason": "wrong password"}, "110122", "4", "wrong password"),
        ("session.refused", {"reason": "locked"}, "110122", "8", "locked"),
        ("token.used", {"id": 7, "token": "nightly"}, "110122", "0", "token 7 (nightly)"),
        ("token.refused", {"reason": "expired", "id": 7, "token": "n"}, "110122", "4", "token 7 (n): expired"),
        ("session.logout", {}, "110123", "0", ""),
        ("user.logged_out", {"sessions": 2}, "110123", "0", "everywhere, by ada; sessions: 2"),
    ],
)
def test_who_comes_and_goes(action: str, detail: dict[str, Any], kind: str, outcome: str, said: str) -> None:
    """PS3.15 A.5.3.12: a person with a network access point, the node, and no object."""
    found = session(action, **detail, address="192.0.2.9")
    assert (found.id, found.type, found.action, found.outcome, found.text) == ("110114", kind, "E", outcome, said)
    assert found.priority == (85 if outcome == "0" else 84)
    assert found.users == ["ada@front.example", "noctis-1"]
    assert found.requestors == ["ada@front.example"]
    person = found.root.find("ActiveParticipant")
    assert (person.get("NetworkAccessPointID"), person.get("NetworkAccessPointTypeCode")) == ("192.0.2.9", "2")
    assert found.root.find("ParticipantObjectIdentification") is None


def test_who_comes_from_nowhere_or_is_nobody() -> None:
    """An access point is mandatory: where none was noted it is this machine. A name that nobody has is not told."""
    person = session("session.logout").root.find("ActiveParticipant")
    assert (person.get("NetworkAccessPointID"), person.get("NetworkAccessPointTypeCode")) == ("front.example", "1")
    stranger = session("session.refused", "", "nobody", address="192.0.2.9", reason="no such user")
    assert stranger.requestors == ["nobody@front.example"]
    other = session("user.logged_out", "bob", "ada", sessions=1)
    assert other.requestors == ["bob@front.example"]
    assert "by ada" in other.text


@pytest.mark.parametrize(
    ("action", "kind", "outcome"),
    [
        ("user.added", "110137", "0"),
        ("user.edited", "110137", "0"),
        ("user.password_set", "110137", "0"),
        ("user.unlocked", "110137", "0"),
        ("user.removed", "110137", "0"),
        ("token.added", "110137", "0"),
        ("token.removed", "110137", "0"),
        ("user.locked", "110137", "8"),
        ("session.address_locked", "110126", "8"),
        ("token.address_locked", "110126", "8"),
    ],
)
def test_what_becomes_of_accounts(action: str, kind: str, outcome: str) -> None:
    """Security Alerts; what Noctis did against guessing held, which is a serious failure and no major one."""
    found = session(action, "bob", "ada", id=7)
    assert (found.id, found.type, found.outcome) == ("110113", kind, outcome)
    assert found.requestors == ["noctis-1"]
    assert found.users == ["noctis-1", "ada@front.example"]
    assert found.objects(NODE if kind == "110126" else "12") == ["bob"]
    assert f"{action} bob" in found.details[0]


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("facility.added", "110128"),
        ("device.removed", "110137"),
        ("certificate.bound", "110137"),
        ("database.restored", "110132"),
        ("database.upgraded", "110131"),
        ("supervisorctl.called", "110132"),
        ("something.new", "110132"),
    ],
)
def test_an_operators_change(action: str, kind: str) -> None:
    found = told(event(action, "central", port={"from": 1, "to": 2}))
    assert (found.id, found.type, found.outcome, found.priority) == ("110113", kind, "0", 85)
    assert found.objects(NODE) == ["CENTRAL1"]
    assert "alice@front.example" in found.users
    assert '"to": 2' in found.details[0]


def test_what_the_system_did_of_its_own_is_not_told() -> None:
    for action in messages.NOT_TOLD:
        assert writer().event(event(action), Studies()) == []


def test_any_text_can_be_told() -> None:
    row = RefusalRow(1, 1, "A\x01<&>", 'B"\x1b[31m', "::1", "odd \ud800 ]]> \ufffe", 1, 1, AT, AT)
    found = received(writer().refusal(row))
    assert found.objects(NODE) == ['B"\ufffd[31m@::1']
    bare = EventRow(1, AT, "", "x", "", {})
    assert received(writer().event(bare, Studies())[0]).objects("12") == ["x"]
