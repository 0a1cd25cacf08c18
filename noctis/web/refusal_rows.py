"""Refusals as pages and API show them: the ledger's rows with what is known of them now."""

from typing import Any

from noctis.config import Settings
from noctis.errors import UsageError
from noctis.facilities.certificates import CertificateRegistry
from noctis.facilities.mending import Mended, lets_in_now, mend, networks_for
from noctis.facilities.onboarding import host_of
from noctis.facilities.remedies import Kind, Remedy, from_json
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.repository import refusals
from noctis.repository.keyset import Page
from noctis.repository.refusals import RefusalFilter
from noctis.web.access import Caller
from noctis.web.site import Site

KINDS = {  # as people read them
    Kind.ADD_DEVICE: "not a device",
    Kind.ALLOW_NETWORK: "outside its network",
    Kind.ENABLE_FACILITY: "facility disabled",
    Kind.BIND_CERTIFICATE: "certificate not bound",
    Kind.CALL: "called wrongly",
    Kind.CERTIFICATE: "client certificate",
    Kind.TLS: "TLS",
    Kind.LIMIT: "limit reached",
    Kind.PROTOCOL: "not DICOM",
}


FILTERS = ("q", "facility", "port", "calling", "address", "kind", "state", "since")


def filter_of(site: Site, asked: dict[str, str]) -> RefusalFilter:
    """As the ledger is asked.

    Raises
    ------
    UsageError
        The port is none.
    """
    port = asked.get("port")
    if port is not None and not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise UsageError(f"{port!r} is no port")
    facility = site.snapshots.current().by_slug.get(asked.get("facility", ""))
    return RefusalFilter(
        port=int(port) if port else None,
        facility=asked.get("facility"),
        facility_port=facility.port if facility else None,
        calling=asked.get("calling"),
        address=asked.get("address"),
        kind=asked.get("kind"),
        state=asked.get("state"),
        since=asked.get("since"),
        text=asked.get("q"),
    )


def looked_at(site: Site, wanted: RefusalFilter, limit: int, after: str | None = None) -> Page:
    """A page of refusals; see `one`."""
    page = refusals.page(site.engine, wanted, limit, after)
    snapshot = site.snapshots.current()
    return Page([_with_names(row, snapshot, site.settings) for row in page.rows], page.next)


def one(site: Site, refusal: int) -> dict[str, Any]:
    """One refusal, with whose port it came to, its kind, and whether it would be let in now.

    Raises
    ------
    NotFoundError
        There is none.
    """
    return _with_names(refusals.one(site.engine, refusal), site.snapshots.current(), site.settings)


def _with_names(row: dict[str, Any], snapshot: Snapshot, settings: Settings) -> dict[str, Any]:
    remedy = from_json(row["remedy"])
    owner = snapshot.by_port.get(row["port"])
    now = lets_in_now(snapshot, settings, row)
    return row | {
        "kind": str(remedy.kind) if remedy else None,
        "can_be_fixed": remedy is not None and remedy.is_button,
        "facility": owner.slug if owner else None,
        "facility_name": owner.name if owner else None,
        "former_facility": None if owner else row["port_of"],
        "shared_port": row["port"] == settings.server.port,
        "would_be_let_in": now.slug if now else None,
    }


def fix(
    site: Site,
    caller: Caller,
    refusal: int,
    *,
    facility: str | None = None,
    network: str | None = None,
    only_device: bool = False,
) -> Mended:
    """Do what lets the caller in; see `facilities.mending.mend`."""
    registry = CertificateRegistry(site.engine, site.settings, actor=caller.name)
    choice = {"facility": facility, "network": network, "only_device": only_device}
    return mend(site.engine, site.settings, registry, site.follow, refusal, caller.name, **choice)  # type: ignore[arg-type]


def choices(snapshot: Snapshot, remedy: Remedy) -> list[Facility]:
    """The facilities that a remedy may be of, by name."""
    slugs = remedy.facilities or tuple(each.slug for each in snapshot.facilities)
    return sorted((snapshot.by_slug[slug] for slug in slugs if slug in snapshot.by_slug), key=lambda each: each.name)


def networks(remedy: Remedy, address: str) -> list[str]:
    """Where the device may be said to be, the one that the remedy has first."""
    found = networks_for(address)
    return sorted(found, key=lambda each: each != remedy.network)


def instruction(settings: Settings, snapshot: Snapshot, row: dict[str, Any], remedy: Remedy | None) -> list[str]:
    """What to tell whoever looks after the sender; none where the sender cannot mend it."""
    if remedy is None or not (remedy.kind is Kind.CALL or remedy.called):
        return []
    host = host_of(settings)
    doors = [snapshot.by_slug[slug] for slug in remedy.facilities if slug in snapshot.by_slug]
    told = [f"Please call the AE title {each.ae_title} at {host}, port {each.port} ({each.name})." for each in doors]
    if remedy.called == settings.server.ae_title:
        told.append(f"Please call the AE title {remedy.called} at {host}, port {settings.server.port}.")
    if row["calling"] == settings.server.ae_title:
        told.append(f"Please do not call yourself {row['calling']}: that is this server's own AE title.")
    return told
