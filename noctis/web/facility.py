"""What the pages and the API do with one facility: looked up, changed, and looked ahead."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from noctis.errors import NoctisError, NotFoundError, UsageError
from noctis.facilities import effect, naming
from noctis.facilities.certificates import CertificateRegistry
from noctis.facilities.effect import Effect, Use
from noctis.facilities.records import CertificateRecord, DeviceRecord, FacilityRecord, parse_device
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.repository.usage import Usage, limits_of, report
from noctis.supervisor.plan import make_plan
from noctis.tls import policy as tls
from noctis.web.site import Site


def known(site: Site, slug: str, *, removed: bool = False) -> FacilityRecord:
    """The facility of this slug; a removed one only if asked for.

    Raises
    ------
    NotFoundError
        There is none.
    """
    if not naming.is_slug(slug):
        raise NotFoundError("No facility found for this address")
    return site.registry("web").by_slug(slug, removed=removed)


def device_of(ae_title: str, network: str) -> DeviceRecord:
    """A device as it was typed."""
    return parse_device(f"{ae_title}@{network}" if network.strip() else naming.check_ae_title(ae_title))


def usage_of(site: Site, record: FacilityRecord) -> dict[str, Any]:
    """What it has in the archive, against its quota."""
    return report(_used(site, record), limits_of(record, site.settings.storage))


def _used(site: Site, record: FacilityRecord) -> Usage:
    return site.doors.usage(record.id)


def certificates_of(site: Site, record: FacilityRecord) -> list[CertificateRecord]:
    if record.removed_at is not None:
        return []
    return CertificateRegistry(site.engine, site.settings, "web").bound(record.slug)


def kept_out(site: Site, facility: Facility | None) -> list[str]:
    """Why nobody can connect to its port, where it speaks TLS: each with what mends it."""
    policy = tls.policy_of(site.settings, facility) if facility is not None and facility.enabled else None
    if facility is None or policy is None:
        return []
    from noctis.tls.inventory import entries  # takes a while to import, and most have no TLS

    own = policy.certificate == tls.facility_files(site.settings, facility.slug)[0]
    kinds = {"facility" if own else "server", *(["ca"] if policy.asks else [])}
    found = (each for each in entries(site.settings, [facility], ()) if each.stops and each.kind in kinds)
    return [f"{each.title}: {each.problem}. What mends it: {each.fix}" for each in found]


# -- changing


def add(site: Site, actor: str, name: str, **values: Any) -> FacilityRecord:
    """See `Registry.add`."""
    record = site.registry(actor).add(name, **values)
    site.follow()
    return record


def edit(site: Site, actor: str, slug: str, changes: Mapping[str, Any]) -> FacilityRecord:
    known(site, slug)
    record = site.registry(actor).edit(slug, dict(changes))
    site.follow()
    return record


def remove(site: Site, actor: str, slug: str, *, keep_studies: bool) -> FacilityRecord:
    known(site, slug)
    record = site.registry(actor).remove(slug, keep_studies=keep_studies)
    site.follow()
    return record


def restore(site: Site, actor: str, slug: str) -> FacilityRecord:
    known(site, slug, removed=True)
    record = site.registry(actor).restore(slug)
    site.follow()
    return record


def add_device(site: Site, actor: str, slug: str, device: DeviceRecord) -> FacilityRecord:
    known(site, slug)
    record = site.registry(actor).add_device(slug, device)
    site.follow()
    return record


def remove_device(site: Site, actor: str, slug: str, device: DeviceRecord) -> FacilityRecord:
    known(site, slug)
    record = site.registry(actor).remove_device(slug, device)
    site.follow()
    return record


# -- looking ahead


def effects(site: Site, slug: str, changes: Mapping[str, Any]) -> list[Effect]:
    """What an edit will do; refuses what the edit would refuse. Nothing is changed."""
    if not changes:
        return []
    record = known(site, slug)
    would_be = site.registry("web").would_be(slug, dict(changes))
    snapshot = site.snapshots.current()
    before = snapshot.by_slug.get(slug)
    if before is None:
        raise UsageError("the listeners do not know this facility (yet)", fix="noctis check")
    names = {each.name for each in fields(Facility)}
    after = replace(before, **{field: getattr(would_be, field) for field in changes if field in names})
    plan, runs = _plan(site, snapshot, after)
    use = replace(_use(site, record), kept_out=kept_out(site, after))
    return effect.effects(plan, before, after, use, runs=runs)


def _plan(site: Site, snapshot: Snapshot, after: Facility) -> tuple[dict[str, list[dict[str, Any]]], bool]:
    others = tuple(after if each.slug == after.slug else each for each in snapshot.facilities)
    proposed = replace(snapshot, facilities=others)
    with suppress(NoctisError):
        return site.control.plan(proposed), True
    return make_plan(snapshot, proposed).as_json(), False


def _use(site: Site, record: FacilityRecord) -> Use:
    listeners = site.sampler.take().listeners  # as it is at this moment, not a second ago
    live = next((each["live_associations"] for each in listeners if each["facility"] == record.slug), 0)
    used = _used(site, record)
    return Use(live, used.instances, used.bytes)
