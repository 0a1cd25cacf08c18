"""The table `quarantined`, kept true to the folder: the .json beside each file is the truth."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from noctis.db.engine import reachable, reading
from noctis.db.models import Event, Facility, Quarantined
from noctis.repository import notices
from noctis.repository.quarantine import Quarantine, QuarantinedFile, read_note

QUARANTINED: Table = Quarantined.__table__  # type: ignore[assignment]
EVENT: Table = Event.__table__  # type: ignore[assignment]

OVER_CAP = "quarantine.over_cap"


def sync(engine: Engine, quarantine: Quarantine, *, tell: bool = True) -> int:
    """Make the table say what the folders hold; returns how many rows changed. Files of unknown facilities wait.

    Parameters
    ----------
    tell
        The notifier, of what is new.

    Raises
    ------
    DatabaseError
        It cannot be reached; the next call does it.
    """
    with reading(engine) as connection:
        slugs = {row.slug: row.id for row in connection.execute(select(Facility.slug, Facility.id))}
        rows = _known(connection)
    files = {(slugs[slug], name): quarantine.folder(slug) / name for slug in slugs for name in quarantine.names(slug)}
    gone = sorted(rows - files.keys())
    new = [row for key in sorted(files.keys() - rows) if (row := _row(key[0], files[key])) is not None]
    if not gone and not new:
        return 0
    with reachable(engine), engine.begin() as connection:
        for facility_id, name in gone:
            forget(connection, facility_id, name)
        if new:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            connection.execute(dialect.insert(QUARANTINED).on_conflict_do_nothing(), new)  # somebody does the same
            if tell:
                notices.quarantined(connection, new)
    return len(gone) + len(new)


def _known(connection: Connection) -> set[tuple[int, str]]:
    rows = connection.execute(select(QUARANTINED.c.facility_id, QUARANTINED.c.name))
    return {(row.facility_id, row.name) for row in rows}


def forget(connection: Connection, facility_id: int, name: str) -> None:
    """Take one row out."""
    connection.execute(delete(QUARANTINED).where(QUARANTINED.c.facility_id == facility_id, QUARANTINED.c.name == name))


def note_over_cap(engine: Engine, facility_id: int, slug: str, actor: str, cap: int) -> bool:
    """An event, once a day and facility, that the quarantine holds more than its cap; True if it was written."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with engine.begin() as connection:
        if connection.execute(
            select(EVENT.c.id)
            .where(EVENT.c.facility_id == facility_id, EVENT.c.action == OVER_CAP, EVENT.c.at >= today)
            .limit(1)
        ).first():
            return False
        connection.execute(
            insert(EVENT),
            {
                "at": datetime.now(UTC),
                "actor": actor,
                "action": OVER_CAP,
                "facility_id": facility_id,
                "subject": slug,
                "detail": {"cap": cap},
            },
        )
    return True


def _row(facility_id: int, path: Path) -> dict[str, Any] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    file = QuarantinedFile("", path, read_note(path))
    note = file.note
    try:
        received_at = datetime.fromisoformat(note.received_at)
    except ValueError:
        received_at = datetime.fromtimestamp(status.st_mtime, UTC)
    if received_at.tzinfo is None:
        received_at = received_at.replace(tzinfo=UTC)
    return {
        "facility_id": facility_id,
        "name": file.name,
        "reason": str(note.reason),
        "detail": _text(note.detail),
        "sop_instance_uid": _text(note.sop_instance_uid),
        "study_instance_uid": _text(note.study_instance_uid),
        "sop_class_uid": _text(note.sop_class_uid),
        "bytes": status.st_size,
        "calling_ae_title": _text(note.calling),
        "called_ae_title": _text(note.called),
        "peer_address": _text(note.address),
        "received_at": received_at,
    }


def _text(value: object) -> str:
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()
