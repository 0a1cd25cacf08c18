"""Facilities from the last snapshot, for a database that was lost or damaged and is made anew.

Takes a database whose facilities table is empty. Promises the slugs, AE titles, ports, policies, devices and
certificates of `run/facilities.json`; what is not in it (contact data, removed facilities and their ports, events) does
not come back. Leaves a table alone that has a row.
"""

from dataclasses import fields

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from noctis.config import Settings
from noctis.db import migrate, models
from noctis.db.engine import lock_registry, reachable
from noctis.facilities import snapshot as snapshots
from noctis.facilities.snapshot import SnapshotReader

log = structlog.get_logger()

_OTHERWISE = ("id", "devices", "certificates")


def upgrade(engine: Engine, settings: Settings, actor: str) -> tuple[migrate.SchemaState, int]:
    """Bring the schema up to date; tables that are made anew take the facilities of the last snapshot.

    Returns
    -------
    The schema as it was before, and how many facilities were entered.

    Raises
    ------
    DatabaseError
        The database cannot be written, or is of a newer release.
    """
    before = migrate.schema_state(engine)
    migrate.upgrade(engine)
    return before, 0 if before.current is not None else take_from_snapshot(engine, settings, actor)


def take_from_snapshot(engine: Engine, settings: Settings, actor: str) -> int:
    """Enter the facilities of the last snapshot; how many there were, 0 where the table has any.

    Raises
    ------
    DatabaseError
        The database cannot be written, or has no tables.
    """
    known = sorted(SnapshotReader(settings.paths.snapshot).current().facilities, key=lambda each: each.id)
    if not known:
        return 0
    with reachable(engine), Session(engine) as session, session.begin():
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
