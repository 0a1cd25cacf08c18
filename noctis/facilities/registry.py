"""The registry: facilities and devices in the database. Every change is one transaction that also writes its event.

Takes names, titles and ports as an operator types them. Promises that what it returns is committed, that AE titles
are unique among facilities and devices, and that no port, slug or AE title of one facility ever becomes another's.
Refuses with a message that says who has the name, title or port already.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, or_, select
from sqlalchemy.orm import Session, selectinload

from noctis.config import Settings
from noctis.db import models
from noctis.db.engine import lock_registry, reachable, reading
from noctis.errors import ConflictError, NoctisError, NotFoundError, UsageError
from noctis.facilities import naming, ports, values
from noctis.facilities import snapshot as snapshots
from noctis.facilities.bindings import unbind_device
from noctis.facilities.recognition import strip_title
from noctis.facilities.records import CHOICES, DeviceRecord, FacilityRecord
from noctis.text import counted


@dataclass(frozen=True)
class Proposal:
    """What is generated for a new facility."""

    slug: str
    ae_title: str
    port: int


class Registry:
    """Facilities and devices; one object for the CLI, the watcher and the web."""

    def __init__(self, engine: Engine, settings: Settings, actor: str) -> None:
        self._engine = engine
        self._settings = settings
        self._actor = actor

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        with reachable(self._engine), Session(self._engine, expire_on_commit=False) as session, session.begin():
            lock_registry(session.connection())
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with reachable(self._engine), self._engine.connect().execution_options(read_only=True) as connection:
            yield Session(connection)

    # -- looking

    def all(self, *, removed: bool = False) -> list[FacilityRecord]:
        """All facilities by name; the removed ones too if asked."""
        with self._reading() as session:
            query = (
                select(models.Facility).options(selectinload(models.Facility.devices)).order_by(models.Facility.name)
            )
            if not removed:
                query = query.where(models.Facility.removed_at.is_(None))
            return [_record(row) for row in session.scalars(query)]

    def get(self, key: str) -> FacilityRecord:
        """The facility with this slug, name, AE title, port or id.

        Raises
        ------
        NotFoundError
            There is none; the message names the nearest ones.
        """
        with self._reading() as session:
            return _record(_find(session, key))

    def by_slug(self, slug: str, *, removed: bool = False) -> FacilityRecord:
        """The facility with this very slug; a removed one only if asked for.

        Raises
        ------
        NotFoundError
            There is none.
        """
        with self._reading() as session:
            row = session.scalar(select(models.Facility).where(models.Facility.slug == slug))
            if row is None:
                raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
            if row.removed_at is not None and not removed:
                raise NotFoundError(f"the facility '{row.name}' was removed", fix=f"noctis facility restore {slug}")
            return _record(row)

    def snapshot(self) -> snapshots.Snapshot:
        """What listeners shall know. A row that plain SQL has filled with what cannot be used is left out and named."""
        facility, device = models.Facility, models.Device
        certificate = models.ClientCertificate
        lists = ("devices", "certificates")
        columns = [getattr(facility, each.name) for each in fields(snapshots.Facility) if each.name not in lists]
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(*columns).where(facility.removed_at.is_(None)).order_by(facility.slug)
            ).all()
            devices: dict[int, list[snapshots.Device]] = {}
            for owner, title, network in connection.execute(
                select(device.facility_id, device.ae_title, device.network).order_by(device.ae_title, device.network)
            ):
                devices.setdefault(owner, []).append(snapshots.Device(strip_title(title), network))
            certificates: dict[int, list[snapshots.ClientCertificate]] = {}
            for owner, fingerprint, title in connection.execute(
                select(certificate.facility_id, certificate.fingerprint, certificate.device).order_by(
                    certificate.fingerprint
                )
            ):
                bound = snapshots.ClientCertificate(fingerprint.lower(), strip_title(title))
                certificates.setdefault(owner, []).append(bound)
        usable: list[snapshots.Facility] = []
        refused: list[str] = []
        for row in rows:
            try:
                known = snapshots.Facility(
                    **row._mapping,
                    devices=tuple(devices.get(row.id, ())),
                    certificates=tuple(certificates.get(row.id, ())),
                )
                usable.append(self._usable(known))
            except UsageError as error:
                refused.append(f"facility {row.id} ({row.name!r}): {error.message}")
        here = {facility.id for facility in usable}
        foreign = (each.fingerprint for owner in certificates.keys() - here for each in certificates[owner])
        return snapshots.Snapshot(tuple(usable), tuple(refused), tuple(sorted(foreign)))

    def _usable(self, facility: snapshots.Facility) -> snapshots.Facility:
        if not naming.is_slug(facility.slug):
            raise UsageError(f"the slug {facility.slug!r} cannot be a folder name")
        if facility.port == self._settings.server.port:
            raise UsageError(f"its port {facility.port} is the default listener's")
        for field in (*CHOICES, *values.LIMITS):
            values.check_policy(field, getattr(facility, field))
        return replace(facility, ae_title=naming.check_ae_title(facility.ae_title))

    # -- looking ahead

    def proposal(self, name: str, digits: str = "") -> Proposal:
        """What a facility of this name would get if it were added now. Nothing is taken: somebody may be faster.

        Parameters
        ----------
        digits
            The last ones of the AE title, where it was proposed before: they stay while they are free.

        Raises
        ------
        UsageError, ConflictError
            The name cannot be.
        """
        name = naming.check_name(name)
        with self._reading() as session:
            values.refuse_same_name(session, name)
            title = values.free_title(session, self._settings, name, digits)
            return Proposal(_free_slug(session, name), title, ports.next_port(session, self._settings))

    def problems(self, key: str | None, changes: dict[str, Any]) -> dict[str, NoctisError]:
        """What would be refused of `changes` to a facility (None: to a new one), field by field. Changes nothing."""
        found: dict[str, NoctisError] = {}
        with self._reading() as session:
            owner = None if key is None else _find(session, key).id
            for field, value in changes.items():
                try:
                    values.checked(session, self._settings, owner, field, value)
                except (UsageError, ConflictError) as error:
                    found[field] = error
        return found

    def would_be(self, key: str, changes: dict[str, Any]) -> FacilityRecord:
        """The facility as `edit` would make it; refuses what that refuses, and changes nothing."""
        with self._reading() as session:
            facility = _find(session, key)
            kept = {
                field: values.checked(session, self._settings, facility.id, field, value)
                for field, value in changes.items()
            }
            return replace(_record(facility), **kept)

    # -- changing

    def add(
        self,
        name: str,
        *,
        ae_title: str | None = None,
        port: int | None = None,
        workers: int = 1,
        devices: Iterable[DeviceRecord] = (),
        contact: dict[str, str | None] | None = None,
    ) -> FacilityRecord:
        """Create a facility; title and port are generated where they are not given.

        Raises
        ------
        UsageError, ConflictError
            See the module's contract.
        """
        name, settings = naming.check_name(name), self._settings
        with self._changing() as session:
            values.refuse_same_name(session, name)
            facility = models.Facility(
                name=name,
                slug=_free_slug(session, name),
                ae_title=values.free_title(session, settings, name)
                if ae_title is None
                else values.check_title(session, settings, ae_title),
                port=ports.next_port(session, settings) if port is None else ports.check_port(session, settings, port),
                workers=values.check_workers(workers),
                **{field: values.check_contact(field, text) for field, text in (contact or {}).items()},
            )
            session.add(facility)
            session.flush()
            session.refresh(facility)
            _remember_port(session, facility)
            for device in devices:
                self._add_device(session, facility, device)
            self._note(session, "facility.added", facility, ae_title=facility.ae_title, port=facility.port)
            session.flush()
            return _record(facility)

    def edit(self, key: str, changes: dict[str, Any]) -> FacilityRecord:
        """Change what `changes` names: name, ae_title, port, workers, enabled, what `CHOICES` and `LIMITS` have, and
        the contact fields. The slug stays: it is the folder.
        """
        with self._changing() as session:
            facility = _find(session, key)
            before = {field: getattr(facility, field) for field in changes}
            for field, value in changes.items():
                setattr(facility, field, values.checked(session, self._settings, facility.id, field, value))
            changed = {
                field: {"from": old, "to": getattr(facility, field)}
                for field, old in before.items()
                if old != getattr(facility, field)
            }
            if changed:
                _remember_port(session, facility)
                action = "facility.edited"
                if set(changed) == {"enabled"}:
                    action = "facility.enabled" if facility.enabled else "facility.disabled"
                self._note(session, action, facility, **changed)
            return _record(facility)

    def remove(self, key: str, *, keep_studies: bool = False) -> FacilityRecord:
        """Take a facility out of service for good. Its slug, AE title and port stay taken, its studies stay.

        Raises
        ------
        ConflictError
            It has studies and `keep_studies` was not said.
        """
        with self._changing() as session:
            facility = _find(session, key)
            studies = session.scalar(
                select(func.count()).select_from(models.Study).where(models.Study.facility_id == facility.id)
            )
            if studies and not keep_studies:
                raise ConflictError(
                    f"'{facility.name}' has {counted(studies, 'study', 'studies')}",
                    fix=f"noctis facility remove {facility.slug} --keep-studies   (or only: noctis facility disable "
                    f"{facility.slug})",
                )
            facility.enabled = False
            facility.removed_at = datetime.now(UTC)
            self._note(session, "facility.removed", facility, studies=studies)
            return _record(facility)

    def restore(self, key: str) -> FacilityRecord:
        """Bring a removed facility back, with its slug, AE title and port."""
        with self._changing() as session:
            facility = _find(session, key, removed=True)
            if facility.removed_at is None:
                raise UsageError(f"'{facility.name}' is not removed")
            values.refuse_same_name(session, facility.name, facility.id)
            facility.removed_at = None
            facility.enabled = True
            self._note(session, "facility.restored", facility)
            return _record(facility)

    def add_device(self, key: str, device: DeviceRecord) -> FacilityRecord:
        with self._changing() as session:
            facility = _find(session, key)
            self._add_device(session, facility, device)
            self._note(session, "device.added", facility, device=str(device))
            session.flush()
            session.refresh(facility)
            return _record(facility)

    def remove_device(self, key: str, device: DeviceRecord) -> FacilityRecord:
        """Remove the device of this title (and of this network, where one is given); with the last of the title its
        client certificates are bound to nobody any more.
        """
        with self._changing() as session:
            facility = _find(session, key)
            gone = [
                row
                for row in facility.devices
                if row.ae_title == device.ae_title and device.network in ("", row.network)
            ]
            if not gone:
                known = ", ".join(str(DeviceRecord(row.ae_title, row.network)) for row in facility.devices) or "none"
                raise NotFoundError(f"'{facility.name}' has no device {device}; it has: {known}")
            for row in gone:
                facility.devices.remove(row)
            unbound = unbind_device(facility, device.ae_title)
            detail = {"unbound_certificates": unbound} if unbound else {}
            self._note(session, "device.removed", facility, device=str(device), **detail)
            session.flush()
            return _record(facility)

    def _add_device(self, session: Session, facility: models.Facility, device: DeviceRecord) -> None:
        values.check_device(session, self._settings, facility, device)
        facility.devices.append(models.Device(ae_title=device.ae_title, network=device.network))
        session.flush()

    def _note(self, session: Session, action: str, facility: models.Facility, **detail: Any) -> None:
        session.add(
            models.Event(
                actor=self._actor, action=action, facility_id=facility.id, subject=facility.slug, detail=detail
            )
        )


def _find(session: Session, key: str, *, removed: bool = False) -> models.Facility:
    facility = models.Facility
    query = select(facility).where(
        or_(facility.slug == key, func.lower(facility.name) == key.lower(), facility.ae_title == strip_title(key))
    )
    number = int(key) if key.isascii() and key.isdigit() else None
    rows = list(session.scalars(query))
    if not rows and number is not None and number < 1 << 31:
        rows = list(session.scalars(select(facility).where(or_(facility.id == number, facility.port == number))))
    rows = [row for row in rows if removed or row.removed_at is None] or rows
    exact = [row for row in rows if row.slug == key] or rows
    if exact and (removed or exact[0].removed_at is None):
        return exact[0]
    if exact:
        raise NotFoundError(
            f"the facility '{exact[0].name}' was removed", fix=f"noctis facility restore {exact[0].slug}"
        )
    live = list(session.execute(select(facility.slug, facility.name).where(facility.removed_at.is_(None))))
    by_word = {word.lower(): slug for slug, name in live for word in (slug, name)}
    near = list(
        dict.fromkeys(by_word[word] for word in difflib.get_close_matches(key.lower(), by_word, n=5, cutoff=0.4))
    )
    hint = f"did you mean {', '.join(near)}?" if near else "noctis facility list"
    raise NotFoundError(f"No facility found for {key!r}", fix=hint)


def _free_slug(session: Session, name: str) -> str:
    slug = naming.slugify(name)
    taken = set(session.scalars(select(models.Facility.slug).where(models.Facility.slug.startswith(slug))))
    candidate, number = slug, 1
    while candidate in taken or not naming.is_slug(candidate):
        number += 1
        candidate = f"{slug}-{number}"
    return candidate


def _remember_port(session: Session, facility: models.Facility) -> None:
    if session.get(models.UsedPort, facility.port) is None:
        session.add(models.UsedPort(port=facility.port, slug=facility.slug))


def _record(row: models.Facility) -> FacilityRecord:
    fields = {name: getattr(row, name) for name in FacilityRecord.__dataclass_fields__ if name != "devices"}
    devices = tuple(DeviceRecord(device.ae_title, device.network) for device in row.devices)
    return FacilityRecord(**fields, devices=devices)
