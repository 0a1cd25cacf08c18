"""Which audit message a row becomes (PS3.15 A.5.3). Pure.

Application Activity (A.5.3.1) for start and stop; DICOM Instances Transferred (A.5.3.7) for an association that brought
instances, one message for each patient as that section demands; Data Import (A.5.3.5); Query (A.5.3.10) for an
operator's query; DICOM Instances Accessed (A.5.3.6) for what left the quarantine; User Authentication (A.5.3.12) for
who logged in or out, by password or by token, and who tried; Security Alert (A.5.3.11) for the rest: a refused
association (Node Authentication: who called was not recognised as a node that may send; a minor failure, as it was kept
out), an account or address that was locked after wrong passwords, and every other change that an operator made (a
success: it is for information).
"""

import json
from collections.abc import Iterator

from noctis.audit.rows import AssociationRow, EventRow, RefusalRow, Studies
from noctis.audit.xml import Access, Code, Event, Message, Outcome, Participant, Subject, write

STUDIES_MAX = 20  # in one message: a receiver need not take more than 32768 bytes (PS3.15 A.6)
CLASSES_MAX = 100  # of one study
TEXT_MAX = 2000  # characters of a description

APPLICATION_ACTIVITY = Code("110100", "Application Activity")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
IMPORT = Code("110107", "Import")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

START = Code("110120", "Application Start")
STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
NETWORK_CONFIGURATION = Code("110128", "Network Configuration")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
USER_SECURITY = Code("110137", "User Security Attributes Changed")

APPLICATION = Code("110150", "Application")
LAUNCHER = Code("110151", "Application Launcher")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
SOURCE_MEDIA = Code("110155", "Source Media")
MEDIA_URI = Code("110037", "URI")

STUDY_UID = Code("110180", "Study Instance UID")
NODE_ID = Code("110182", "Node ID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
SEARCH_CRITERIA = Code("10", "Search Criteria", "RFC-3881")
URI = Code("12", "URI", "RFC-3881")

PERSON, SYSTEM = "1", "2"
PATIENT_ROLE, REPORT, SECURITY_RESOURCE, QUERY_ROLE = "1", "3", "13", "24"

# Actions of the system itself that are no change of an operator's, and told by other messages or by nobody.
NOT_TOLD = frozenset({"study.late", "quarantine.over_cap"})

# By the first part of an action, or by all of it: what kind of security alert it is. Others: RESTRICTED_FUNCTION.
ALERTS = {
    "facility": NETWORK_CONFIGURATION,
    "device": USER_SECURITY,
    "certificate": USER_SECURITY,
    "user": USER_SECURITY,
    "token": USER_SECURITY,
    "session.address_locked": NODE_AUTHENTICATION,
    "token.address_locked": NODE_AUTHENTICATION,
    "tls": SECURITY_CONFIGURATION,
    "supervisor.reloaded": NETWORK_CONFIGURATION,
    "database.upgraded": SOFTWARE_CONFIGURATION,
}
# What was done against these held: alerts, and no mere information (PS3.15 A.5.3.11).
LOCKED = frozenset({"user.locked", "session.address_locked", "token.address_locked"})
AUTHENTICATED = {  # action → what somebody did, or tried to do
    "session.login": LOGIN,
    "session.refused": LOGIN,
    "token.used": LOGIN,
    "token.refused": LOGIN,
    "session.logout": LOGOUT,
    "user.logged_out": LOGOUT,
}
ACCESSED = {  # action → what was done to the instance, the series or the study
    "quarantine.released": "U",
    "quarantine.taken_over": "C",
    "quarantine.discarded": "D",
    "instance.downloaded": "R",
    "series.downloaded": "R",
    "study.downloaded": "R",
}


class Writer:
    """Makes the messages of one installation.

    Parameters
    ----------
    source
        The Audit Source ID.
    host
        This machine's name.
    ae_title
        The server's.
    patients
        Whether patients' IDs may be told.
    """

    def __init__(self, *, source: str, host: str, ae_title: str, patients: bool) -> None:
        self._source = source
        self._host = host
        self._ae_title = ae_title
        self._patients = patients

    # -- events

    def event(self, row: EventRow, studies: Studies) -> list[Message]:
        """Of an event; `studies` are those of an import or of a quarantined instance."""
        if row.action in NOT_TOLD:
            return []
        if row.action.startswith("application."):
            return [self._activity(row)]
        if row.action.startswith("query."):
            return [self._query(row)]
        if row.action == "import.done":
            return list(self._import(row, studies))
        if row.action in ACCESSED:
            return [self._accessed(row, studies)]
        if row.action in AUTHENTICATED:
            return [self._authentication(row)]
        return [self._change(row)]

    def _activity(self, row: EventRow) -> Message:
        lost = row.action == "application.lost"
        event = Event(
            APPLICATION_ACTIVITY,
            "E",
            row.at,
            Outcome.MAJOR if lost else Outcome.SUCCESS,
            START if row.action == "application.started" else STOP,
            f"it ended without a stop, some time after {row.detail.get('started_at')}" if lost else "",
        )
        process = str(row.detail.get("pid", "noctis"))
        participants = [Participant(process, role=APPLICATION, alternative=self._titles(), access=self._here)]
        if by := row.detail.get("by"):
            participants.append(self._person(str(by), role=LAUNCHER))
        return self._write(event, participants, [])

    def _query(self, row: EventRow) -> Message:
        asked = json.dumps({"facility": row.facility, **row.detail}, ensure_ascii=False)
        subject = Subject(row.action, SEARCH_CRITERIA, SYSTEM, QUERY_ROLE, query=asked)
        participants = [self._person(row.actor, role=SOURCE), self._process(row.ae_title, role=DESTINATION)]
        return self._write(Event(QUERY, "E", row.at), participants, [subject])

    def _import(self, row: EventRow, studies: Studies) -> Iterator[Message]:
        said = f"{row.detail.get('spooled', 0)} instances taken, {row.detail.get('imported', 0)} of them new"
        event = Event(IMPORT, "C", row.at, description=said)
        participants = [
            self._person(row.actor),
            self._process(row.ae_title, role=DESTINATION),
            Participant("files", role=SOURCE_MEDIA, media=MEDIA_URI, access=self._here),
        ]
        for subjects in self._subjects(studies):
            yield self._write(event, participants, subjects)

    def _accessed(self, row: EventRow, studies: Studies) -> Message:
        event = Event(
            INSTANCES_ACCESSED, ACCESSED[row.action], row.at, description=f"{row.action}: {row.subject}"[:TEXT_MAX]
        )
        participants = [self._person(row.actor), self._process(row.ae_title)]
        return self._write(event, participants, next(self._subjects(studies)))

    def _authentication(self, row: EventRow) -> Message:
        """Whose name or token it was. Who ended another's sessions is in the description: no other person has a place.

        Outcomes as RFC 3881 §5.1.4 has them: 4 for a wrong password, 8 where there were too many to look at another.
        """
        outcome, said = Outcome.SUCCESS, ""
        if row.action.endswith(".refused"):
            reason = str(row.detail.get("reason", ""))
            outcome, said = (Outcome.SERIOUS if reason == "locked" else Outcome.MINOR), reason
        elif row.action == "user.logged_out":
            said = f"everywhere, by {row.actor}; sessions: {row.detail.get('sessions')}"
        if token := row.detail.get("token"):
            said = ": ".join(filter(None, (f"token {row.detail.get('id')} ({token})", said)))
        event = Event(USER_AUTHENTICATION, "E", row.at, outcome, AUTHENTICATED[row.action], said[:TEXT_MAX])
        address = row.detail.get("address")
        access = Access("2", str(address)) if address else self._here
        person = Participant(self._user(row.subject or row.actor), requestor=True, name=row.subject, access=access)
        return self._write(event, [person, self._process(None)], [])

    def _change(self, row: EventRow) -> Message:
        kind = ALERTS.get(row.action) or ALERTS.get(row.action.partition(".")[0], RESTRICTED_FUNCTION)
        said = f"{row.action} {row.subject}: {json.dumps(row.detail, ensure_ascii=False, default=str)}"[:TEXT_MAX]
        node = row.ae_title is not None or kind is NODE_AUTHENTICATION
        subject = Subject(
            row.ae_title or row.subject or row.action,
            NODE_ID if node else URI,
            SYSTEM,
            SECURITY_RESOURCE,
            name=row.facility or row.subject,
            details=(("Alert Description", said),),
        )
        participants = [self._process(row.ae_title, requestor=True), self._person(row.actor, requestor=False)]
        outcome = Outcome.SERIOUS if row.action in LOCKED else Outcome.SUCCESS
        return self._write(Event(SECURITY_ALERT, "E", row.at, outcome, kind), participants, [subject])

    # -- callers

    def refusal(self, row: RefusalRow) -> Message:
        """Of a caller that was turned away, once or more often since it was last told of."""
        times = f"{row.new} times" if row.new != 1 else "once"
        said = f"refused {times} ({row.count} since {row.first_seen.isoformat(timespec='seconds')}): {row.reason}"
        event = Event(SECURITY_ALERT, "E", row.last_seen, Outcome.MINOR, NODE_AUTHENTICATION, said[:TEXT_MAX])
        subject = Subject(
            f"{row.calling}@{row.address}",
            NODE_ID,
            SYSTEM,
            SECURITY_RESOURCE,
            details=(("Alert Description", said[:TEXT_MAX]),),
        )
        participants = [
            self._process(row.called, requestor=True),
            Participant(row.calling, alternative=_titles(row.calling), access=Access("2", row.address)),
        ]
        return self._write(event, participants, [subject])

    def association(self, row: AssociationRow, studies: Studies) -> list[Message]:
        """Of an association: what it brought, and what of it was refused; nothing of one that brought nothing."""
        participants = [
            Participant(
                row.calling,
                requestor=True,
                role=SOURCE,
                alternative=_titles(row.calling),
                access=Access("2", row.address),
            ),
            self._process(row.called, role=DESTINATION),
        ]
        found = []
        if row.instances:
            new = studies.instances
            said = f"{row.instances} instances acknowledged, {new} of them new; association {row.association_id}"
            event = Event(INSTANCES_TRANSFERRED, "C" if new else "R", row.ended_at, description=said)
            found += [self._write(event, participants, subjects) for subjects in self._subjects(studies)]
        if row.failures:
            said = f"{row.failures} instances were refused; association {row.association_id}"
            event = Event(INSTANCES_TRANSFERRED, "C", row.ended_at, Outcome.SERIOUS, description=said)
            found.append(self._write(event, participants, []))
        return found

    # -- parts

    def _subjects(self, studies: Studies) -> Iterator[list[Subject]]:
        """The objects of one message after the other: of one patient and `STUDIES_MAX` studies; at least one."""
        if not studies.patients:
            yield []
        for patient, told in sorted(studies.patients.items()):
            uids = sorted(told)
            for start in range(0, len(uids), STUDIES_MAX):
                subjects = [
                    Subject(uid, STUDY_UID, SYSTEM, REPORT, classes=dict(sorted(told[uid].items())[:CLASSES_MAX]))
                    for uid in uids[start : start + STUDIES_MAX]
                ]
                if self._patients and patient:
                    subjects.append(Subject(patient, PATIENT_NUMBER, PERSON, PATIENT_ROLE))
                yield subjects

    def _write(self, event: Event, participants: list[Participant], subjects: list[Subject]) -> Message:
        return write(event, participants, subjects, self._source)

    @property
    def _here(self) -> Access:
        return Access("1", self._host)

    def _titles(self) -> str:
        return _titles(self._ae_title)

    def _process(self, ae_title: str | None, *, role: Code | None = None, requestor: bool = False) -> Participant:
        return Participant(
            self._source, requestor=requestor, role=role, alternative=_titles(ae_title or self._ae_title),
            access=self._here,
        )  # fmt: skip

    def _person(self, name: str, *, role: Code | None = None, requestor: bool = True) -> Participant:
        return Participant(self._user(name), requestor=requestor, role=role, name=name, access=self._here)

    def _user(self, name: str) -> str:
        return f"{name}@{self._host}"


def _titles(*ae_titles: str) -> str:
    """Alternative User ID of a DICOM process (PS3.15 A.5.2.2)."""
    return "AETITLES=" + ";".join(ae_titles)
