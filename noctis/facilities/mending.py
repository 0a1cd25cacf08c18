"""Doing what lets a caller in that was turned away: a refusal's remedy, through the registry, with its event."""

import ipaddress
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from noctis.config import Settings
from noctis.errors import ConflictError, UsageError
from noctis.facilities import naming
from noctis.facilities.certificates import CertificateRegistry
from noctis.facilities.recognition import recognise
from noctis.facilities.records import DeviceRecord, FacilityRecord, parse_device
from noctis.facilities.remedies import Kind, Remedy, from_json
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.repository import refusals


@dataclass(frozen=True)
class Mended:
    """What was done."""

    facility: str  # slug
    words: str  # for people


def mend(
    engine: Engine,
    settings: Settings,
    registry: CertificateRegistry,
    follow: Callable[[], object],
    refusal: int,
    actor: str,
    *,
    facility: str | None = None,
    network: str | None = None,
    only_device: bool = False,
) -> Mended:
    """Do what a refusal's remedy says, tell the listeners, and mark the refusal. Done again it ends the same.

    Parameters
    ----------
    registry
        Of `actor`, whose name its event has.
    follow
        Tells the listeners.
    facility
        The slug, where the remedy leaves a choice.
    network
        CIDR: where the device may come from; "": from anywhere; None: as the remedy says.
    only_device
        Bind a certificate to this calling AE title alone.

    Raises
    ------
    NotFoundError
        There is no such refusal or facility.
    UsageError
        Nothing here can mend it, or no facility was named where one must be.
    ConflictError
        The AE title or the certificate is somebody else's, or the caller would be let in now as another facility.
    """
    row = refusals.one(engine, refusal)
    remedy = from_json(row["remedy"])
    if remedy is None or not remedy.is_button:
        raise UsageError("no button can mend this refusal", fix=row["fix"])
    record = registry.get(_chosen(remedy, facility))
    now = lets_in_now(registry.snapshot(), settings, row)
    if now is not None and now.slug != record.slug:  # of two facilities it would be let in to neither
        raise ConflictError(
            f"{row['calling']!r} would be let in now already, to '{now.name}'",
            fix=f"to have it in '{record.name}' instead: noctis device remove {now.slug} {shlex.quote(row['calling'])}",
        )
    words = _do(registry, record, remedy, network, only_device)
    follow()
    refusals.mark_mended(engine, refusal, actor, record.slug)
    return Mended(record.slug, words)


def _chosen(remedy: Remedy, facility: str | None) -> str:
    if not facility:
        if remedy.facility is None:
            choice = ", ".join(remedy.facilities) or "one of noctis facility list"
            raise UsageError("which facility is it?", fix=f"--facility {choice}")
        return remedy.facility
    if remedy.facilities and facility not in remedy.facilities:
        raise UsageError(f"this refusal is of {' or '.join(remedy.facilities)}, not of {facility!r}")
    return facility


def _do(
    registry: CertificateRegistry, record: FacilityRecord, remedy: Remedy, network: str | None, only_device: bool
) -> str:
    if remedy.kind is Kind.ENABLE_FACILITY:
        if not record.enabled:
            registry.edit(record.slug, {"enabled": True})
        return f"'{record.name}' is enabled"
    if remedy.kind is Kind.BIND_CERTIFICATE:
        device = remedy.device if only_device else ""
        if not any(each.fingerprint == remedy.certificate for each in registry.bound(record.slug)):
            registry.bind(record.slug, remedy.certificate, device=device)
        return f"the certificate {remedy.certificate[:16]}… is bound to '{record.name}'"
    device_record = device_of(remedy, network)
    if device_record not in record.devices:
        registry.add_device(record.slug, device_record)
    return f"{device_record.ae_title} may send to '{record.name}' from {device_record.network or 'anywhere'}"


def device_of(remedy: Remedy, network: str | None) -> DeviceRecord:
    """The device that the remedy adds.

    Raises
    ------
    UsageError
        The network is none, or the title cannot be a device's.
    """
    chosen = remedy.network if network is None else network.strip()
    title = naming.check_ae_title(remedy.device)
    return DeviceRecord(title, parse_device(f"ANY@{chosen}").network if chosen else "")


def networks_for(address: str) -> list[str]:
    """Where a device at `address` may be said to be: that address alone, the network around it, anywhere."""
    try:
        host = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return [""]
    width = 24 if host.version == 4 else 64
    return [str(ipaddress.ip_network(host)), str(ipaddress.ip_network(f"{host}/{width}", strict=False)), ""]


def lets_in_now(snapshot: Snapshot, settings: Settings, row: dict[str, Any]) -> Facility | None:
    """The facility that this caller would be now, as far as titles, address and certificate say; None: still none.

    Whoever mended it, by a button or otherwise, the ledger's row does not know.
    """
    remedy = from_json(row["remedy"])
    if remedy is None or not (remedy.is_button or remedy.kind is Kind.CALL):
        return None
    found = recognise(
        snapshot,
        settings.server.ae_title,
        row["port"],
        row["called"],
        row["calling"],
        row["address"],
        settings.server.port,
        remedy.certificate or None,
        trust=settings.listeners.trust,
    )
    return found if isinstance(found, Facility) else None
