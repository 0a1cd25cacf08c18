"""Facilities from the last snapshot, for a database that was lost or damaged and is made anew.

Takes a database whose facilities table is empty. Promises the slugs, AE titles, ports, policies, devices and
certificates of `run/facilities.json`; what is not in it (contact data, removed facilities and their ports, events) does
not come back. Leaves a table alone that has a row.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.orm import Session

from noctis.config import Settings
from noctis.db import migrate, models
from noctis.db.engine import lock_registry, reachable, sqlite_file
from noctis.errors import DatabaseError
from noctis.facilities import snapshot as snapshots
from noctis.facilities.snapshot import SnapshotReader
from noctis.repository.room import free_bytes
from noctis.text import size as in_words

log = structlog.get_logger()

ROOM = 3  # times its size: the copy, and what an upgrade writes, in the log of SQLite and in the database
_OTHERWISE = ("id", "devices", "certificates")


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade has done."""

    before: migrate.SchemaState
    copy: Path | None = None  # of a SQLite database, as it was before
    recovered: int = 0  # facilities that were entered


def upgrade(
    engine: Engine,
    settings: Settings,
    actor: str,
    *,
    tell: migrate.Tell | None = None,
    event: bool = True,
    reserve_bytes: int = 0,
) -> Upgraded:
    """Bring the schema up to date; tables that are made anew take the facilities of the last snapshot.

    All of it is one transaction: nobody sees tables without the facilities that belong into them. A SQLite database
    that holds something is copied first, while nobody can write to it.

    Parameters
    ----------
    event
        Whether an event tells of it.
    reserve_bytes
        That shall stay free on the database's disk, if they are.

    Raises
    ------
    UpgradingError
        Another machine is at it.
    DatabaseError
        The database cannot be written or copied, is held locked, or is of a newer release. It is as it was.
    """
    copy: Path | None = None
    recovered = 0

    def first(state: migrate.SchemaState) -> None:
        nonlocal copy
        if (file := sqlite_file(engine)) is not None and state.current is not None:
            _require_room(file, reserve_bytes)
            copy = file.with_name(f"{file.name}.before-{state.head}")
            if tell is not None:
                tell("a copy of it is made", 0, 0)
            migrate.backup_sqlite(file, copy)
            log.info("database.copied", copy=str(copy))

    def then(connection: Connection, state: migrate.SchemaState) -> None:
        nonlocal recovered
        with Session(connection) as session:  # whose end leaves the transaction open
            if state.current is None:
                recovered = _take(session, settings, actor)
            if event:
                session.add(
                    models.Event(
                        at=datetime.now(UTC),
                        actor=actor,
                        action="database.upgraded",
                        subject="noctis",
                        detail={"before": state.current, "now": state.head},
                    )
                )
            session.flush()

    before = migrate.upgrade(engine, tell=tell, first=first, then=then)
    if not before.up_to_date:
        log.info("database.upgraded", before=before.current, now=before.head)
    return Upgraded(before, copy, recovered)


def _require_room(file: Path, reserve_bytes: int) -> None:
    """Room for the copy and for what an upgrade writes besides, without taking from the reserve.

    Raises
    ------
    DatabaseError
        There is not enough.
    """
    size = sum(path.stat().st_size for path in (file, file.with_name(f"{file.name}-wal")) if path.exists())
    needed, free = size * ROOM, free_bytes(file.parent)
    if free < needed or (free >= reserve_bytes and free - needed < reserve_bytes):
        reserved = f", of which {in_words(reserve_bytes)} are the reserve" if reserve_bytes else ""
        raise DatabaseError(
            f"an upgrade of {file} needs {in_words(needed)} on its disk; {in_words(free)} are free{reserved}",
            fix=f"make room on the disk of {file.parent}",
        )


def take_from_snapshot(engine: Engine, settings: Settings, actor: str) -> int:
    """Enter the facilities of the last snapshot; how many there were, 0 where the table has any.

    Raises
    ------
    DatabaseError
        The database cannot be written, or has no tables.
    """
    with reachable(engine), Session(engine) as session, session.begin():
        return _take(session, settings, actor)


def _take(session: Session, settings: Settings, actor: str) -> int:
    known = sorted(SnapshotReader(settings.paths.snapshot).current().facilities, key=lambda each: each.id)
    if not known:
        return 0
    lock_registry(session.connection())
    if session.scalar(select(func.count()).select_from(models.Facility)):
        return 0
    for each in known:
        _enter(session, each, actor)
    log.warning("facilities.recovered", facilities=len(known), snapshot=str(settings.paths.snapshot))
    return len(known)


def _enter(session: Session, known: snapshots.Facility, actor: str) -> None:
    columns = [each.name for each in fields(snapshots.Facility) if each.name not in _OTHERWISE]
    facility = models.Facility(**{name: getattr(known, name) for name in columns})
    facility.devices = [models.Device(ae_title=each.ae_title, network=each.network) for each in known.devices]
    session.add(facility)
    session.flush()
    for each in known.certificates:
        session.add(models.ClientCertificate(facility_id=facility.id, device=each.device, fingerprint=each.fingerprint))
    session.add(models.UsedPort(port=facility.port, slug=facility.slug))
    session.add(
        models.Event(
            actor=actor, action="facility.recovered", facility_id=facility.id, subject=facility.slug, detail={}
        )
    )
