"""Client certificates that belong to facilities, in the database. Every change is one transaction with its event.

Takes fingerprints (SHA-256 of the DER form, hex), never a key. Promises that a certificate is one facility's, or one
device's of it. Refuses one that is somebody's already, and says whose.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from noctis.db import models
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.facilities import naming
from noctis.facilities.bindings import as_bound, by_fingerprint, check_fingerprint
from noctis.facilities.records import CertificateRecord, FacilityRecord
from noctis.facilities.registry import Registry

SHORTEST = 8  # of a fingerprint that is named by its beginning


class CertificateRegistry(Registry):
    """The registry, and the certificates beside it."""

    def bound(self, key: str | None = None) -> list[CertificateRecord]:
        """The certificates of the facility with this slug, name, AE title, port or id; None: of all."""
        facility, certificate = models.Facility, models.ClientCertificate
        query = (
            select(certificate, facility.slug)
            .join(facility, certificate.facility_id == facility.id)
            .where(facility.removed_at.is_(None))
            .order_by(facility.slug, certificate.device, certificate.created_at)
        )
        if key is not None:
            query = query.where(facility.id == self.get(key).id)
        with self._reading() as session:
            return [as_bound(row, slug) for row, slug in session.execute(query)]

    def bind(
        self,
        key: str,
        fingerprint: str,
        *,
        device: str = "",
        subject: str = "",
        not_after: datetime | None = None,
        action: str = "certificate.bound",
    ) -> FacilityRecord:
        """Make a certificate a facility's, or its device's.

        Parameters
        ----------
        device
            The calling AE title that it is for; "": any.
        subject, not_after
            As the certificate says; "" and None where only its fingerprint is known.
        action
            Of the event.
        """
        fingerprint = check_fingerprint(fingerprint)
        title = naming.check_ae_title(device) if device else ""
        record = self.get(key)
        with self._changing() as session:
            holder = session.scalar(by_fingerprint(fingerprint))
            if holder is not None:
                whose = f"'{holder.facility.name}'" + (f" (of {holder.device})" if holder.device else "")
                raise ConflictError(
                    f"the certificate {fingerprint[:16]}… is bound to {whose} already",
                    fix=f"noctis tls unbind {fingerprint[:16]}",
                )
            facility = self._facility(session, record)
            session.add(
                models.ClientCertificate(
                    facility_id=facility.id, device=title, fingerprint=fingerprint, subject=subject, not_after=not_after
                )
            )
            detail: dict[str, Any] = {"fingerprint": fingerprint, "subject": subject, "device": title}
            detail["not_after"] = not_after.isoformat() if not_after else None
            self._note(session, action, facility, **detail)
        return record

    def unbind(self, fingerprint: str) -> CertificateRecord:
        """Make a certificate nobody's; `fingerprint` may be its beginning.

        Raises
        ------
        NotFoundError
            There is none, or several begin so.
        """
        wanted = fingerprint.lower().replace(":", "")
        if len(wanted) < SHORTEST or set(wanted) - set("0123456789abcdef"):
            raise UsageError(f"{fingerprint!r} is no fingerprint", fix="noctis tls list")
        with self._changing() as session:
            rows = list(
                session.scalars(
                    select(models.ClientCertificate).where(models.ClientCertificate.fingerprint.startswith(wanted))
                )
            )
            if len(rows) != 1:
                many = (
                    f"{len(rows)} certificates begin with" if rows else "no certificate is bound with the fingerprint"
                )
                raise NotFoundError(f"{many} {wanted}", fix="noctis tls list")
            facility = rows[0].facility
            gone = as_bound(rows[0], facility.slug)
            session.delete(rows[0])
            self._note(session, "certificate.unbound", facility, fingerprint=gone.fingerprint, device=gone.device)
            return gone

    def note(self, action: str, subject: str, key: str | None = None, **detail: Any) -> None:
        """An event about a certificate that is bound to nobody: the server's, or the CA's."""
        record = self.get(key) if key is not None else None
        with self._changing() as session:
            session.add(
                models.Event(
                    actor=self._actor,
                    action=action,
                    facility_id=record.id if record else None,
                    subject=record.slug if record else subject,
                    detail=detail,
                )
            )

    def _facility(self, session: Session, record: FacilityRecord) -> models.Facility:
        facility = session.get(models.Facility, record.id)
        if facility is None or facility.removed_at is not None:
            raise NotFoundError(f"the facility '{record.name}' was removed")
        return facility
