"""Facilities and devices as they are stored and as they are typed: frozen, and without a database."""

import ipaddress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from noctis.errors import UsageError
from noctis.facilities import naming

CHOICES = {  # field → what it may be besides None, which is the configured default
    "conflict": ("keep", "replace"),
    "tls": ("on", "off"),
    "client_certificates": ("required", "optional", "off"),
}


@dataclass(frozen=True)
class DeviceRecord:
    ae_title: str
    network: str  # CIDR; "": from anywhere

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.network}" if self.network else self.ae_title


@dataclass(frozen=True)
class CertificateRecord:
    """A client certificate that is bound to a facility, or to one device of it."""

    facility: str  # slug
    device: str  # calling AE title; "": any
    fingerprint: str  # SHA-256 of the DER form, hex
    subject: str  # "": not known
    not_after: datetime | None  # None: not known


@dataclass(frozen=True)
class FacilityRecord:
    """One facility as it is stored."""

    id: int
    name: str
    slug: str
    ae_title: str
    port: int
    enabled: bool
    workers: int
    conflict: str | None
    quarantine_max_instances: int | None
    max_associations: int | None
    max_instance_bytes: int | None
    quota_bytes: int | None
    quota_instances: int | None
    tls: str | None
    client_certificates: str | None
    address: str | None
    phone: str | None
    email: str | None
    licence_number: str | None
    created_at: datetime
    removed_at: datetime | None
    devices: tuple[DeviceRecord, ...]

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["created_at"] = self.created_at.isoformat()
        document["removed_at"] = self.removed_at.isoformat() if self.removed_at else None
        return document


def parse_device(text: str) -> DeviceRecord:
    """`AET` or `AET@CIDR` as a device.

    Raises
    ------
    UsageError
        The title or the network is malformed.
    """
    title, at, network = text.partition("@")
    title = naming.check_ae_title(title)
    if not at:
        return DeviceRecord(title, "")
    try:
        return DeviceRecord(title, str(ipaddress.ip_network(network.strip(), strict=False)))
    except ValueError as error:
        raise UsageError(f"the network of {text!r} is not valid: {error}", fix="for example CT1@10.2.3.0/24") from error
