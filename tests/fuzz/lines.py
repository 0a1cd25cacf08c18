"""What processes leave each other: hints, journal lines, the snapshot of the facilities.

The first byte of an input says which. Oracle: what is malformed is left out (hints, lines) or a `ValueError` (the
snapshot); what is taken has the documented types; the database takes what the ledgers make of the lines.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from noctis.archiver import ledger
from noctis.archiver.backlog import Backlog
from noctis.db.models import AssociationRecord, Event, Refusal
from noctis.facilities import snapshot
from noctis.facilities.snapshot import ClientCertificate, Device, Facility, Snapshot
from noctis.repository import hints, journal
from noctis.repository.header import Header
from noctis.repository.hints import Hint
from tests.fuzz import header, rows

HINT, JOURNAL, SNAPSHOT = 0, 1, 2
_ROOT = Path("/spool")


def examine(data: bytes) -> None:
    if not data:
        return
    (examine_hint, examine_journal, examine_snapshot)[data[0] % 3](data[1:])


def examine_hint(data: bytes) -> None:
    for line in data.split(b"\n"):
        hint = hints._parse(line)
        if hint is None:
            continue
        assert [type(each) for each in (hint.slug, hint.name, hint.sha256)] == [str] * 3
        if hint.header is not None:
            header.sound(hint.header)
        backlog = Backlog(_ROOT, 5.0)
        backlog.add(hint)
        for entry, _ in backlog.take(1):
            assert entry.path.is_relative_to(_ROOT / entry.slug)
            assert ".." not in entry.path.parts


def examine_journal(data: bytes) -> None:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        (folder / "fuzz.jsonl").write_bytes(data)
        ledger.write_ledgers(rows.engine(), folder)
        assert list(folder.iterdir()) == [], "the database refused it"
    finally:
        shutil.rmtree(folder)
    with rows.engine().begin() as connection:
        for model in (Refusal, AssociationRecord, Event):
            connection.execute(model.__table__.delete())  # type: ignore[attr-defined]


def examine_snapshot(data: bytes) -> None:
    try:
        found = snapshot.parse(data)
    except ValueError:
        return
    assert snapshot.parse(snapshot.dump(found)) == found


def seeds() -> Iterator[bytes]:
    header_of = Header("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2", "1.2.1", patient_name="Łoś^Ewa", rows=512)
    for name in ("0000018f00000000-1f-2.dcm", "000000000000018f-0123456789abcdef-1f"):
        for each in (header_of, None):
            yield bytes((HINT,)) + hints._line(
                ("central", name, "0" * 64, None if each is None else {**each._asdict(), "flags": ["uid"]})
            )
    with tempfile.TemporaryDirectory() as folder:
        ours = journal.Journal(Path(folder), "seed")
        at = "2026-01-02T03:04:05+00:00"
        ours.append("refusal", at=at, port=11112, called="A", calling="B", address="::1", reason="r", fix="f")
        ours.append(
            "association", association_id="a1", slug="central", outcome="released", called="A", calling="B",
            address="::1", port=11112, instances=1, failures=0, echoes=0, bytes=5, started_at=at, ended_at=at,
        )  # fmt: skip
        ours.append("event", at=at, actor="x", action="y", slug="central", subject="s", detail={"a": 1})
        ours.append("quarantined")
        whole = (Path(folder) / "seed.jsonl").read_bytes()
    yield bytes((JOURNAL,)) + whole
    for line in whole.splitlines():
        yield bytes((JOURNAL,)) + line
    devices, certificates = (Device("CT1", "192.0.2.0/24"),), (ClientCertificate("0" * 64, "CT1"),)
    facility = Facility(1, "central", "Central", "CENTRAL", 11113, devices=devices, certificates=certificates)
    yield bytes((SNAPSHOT,)) + snapshot.dump(Snapshot((facility,), ("a row",)))


def hint_of(data: bytes) -> Hint | None:
    return hints._parse(data)
