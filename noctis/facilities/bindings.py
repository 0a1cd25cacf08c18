"""Rows of client certificates: found, read, and let go with their device. Runs inside the registry's transaction."""

from typing import Any

from sqlalchemy import Select, select

from noctis.db import models
from noctis.errors import UsageError
from noctis.facilities.records import CertificateRecord

FINGERPRINT = 64  # hex digits


def check_fingerprint(text: str) -> str:
    """A fingerprint as it is kept: 64 hex digits, colons left out.

    Raises
    ------
    UsageError
        It is none.
    """
    found = text.strip().lower().replace(":", "")
    if len(found) != FINGERPRINT or set(found) - set("0123456789abcdef"):
        raise UsageError(
            f"{text!r} is neither a PEM file nor a SHA-256 fingerprint of {FINGERPRINT} hex digits",
            fix="openssl x509 -noout -fingerprint -sha256 -in CERT.pem",
        )
    return found


def by_fingerprint(fingerprint: str) -> Select[Any]:
    return select(models.ClientCertificate).where(models.ClientCertificate.fingerprint == fingerprint)


def as_bound(row: models.ClientCertificate, slug: str) -> CertificateRecord:
    return CertificateRecord(slug, row.device, row.fingerprint, row.subject, row.not_after)


def unbind_device(facility: models.Facility, title: str) -> list[str]:
    """Let go the certificates of a device's title that the facility has no more; their fingerprints."""
    if any(row.ae_title == title for row in facility.devices):
        return []
    gone = [row for row in facility.certificates if row.device == title]
    for row in gone:
        facility.certificates.remove(row)
    return [row.fingerprint for row in gone]
