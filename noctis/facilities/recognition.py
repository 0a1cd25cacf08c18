"""Recognition: which facility a caller is. One pure function decides, on every port (docs/facilities.md).

Titles are compared case-sensitively; leading and trailing spaces (and the NULs some devices pad with) do not count.
Nothing here reads a file or a database, and nothing a caller says can make two facilities one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from noctis.facilities.remedies import Kind, Remedy
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.observability.words import RefusalKind


class Reject(Enum):
    """(result, source, reason) of an A-ASSOCIATE-RJ, PS3.8 §9.3.4."""

    NO_REASON = (1, 1, 1)
    CALLING_NOT_RECOGNISED = (1, 1, 3)
    CALLED_NOT_RECOGNISED = (1, 1, 7)
    TEMPORARY_CONGESTION = (2, 3, 1)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@dataclass(frozen=True)
class Refusal:
    """Why a caller is turned away, in plain words, and what would let it in: as a command, and as data."""

    reason: str
    fix: str
    reject: Reject
    remedy: Remedy
    kind: RefusalKind


def strip_title(title: str) -> str:
    """An AE title as it is compared."""
    return title.strip(" \0")


def recognise(
    snapshot: Snapshot,
    server_title: str,
    port: int,
    called: str,
    calling: str,
    address: str,
    default_port: int,
    certificate: str | None = None,
    *,
    trust: bool = False,
    plain: bool = False,
) -> Facility | Refusal:
    """Which facility this caller is, or why it is none.

    Parameters
    ----------
    snapshot
        The facilities as they are now.
    server_title
        The server's own AE title, called on the default port.
    port
        The port the caller reached.
    called, calling
        The AE titles of the A-ASSOCIATE-RQ.
    address
        The peer's IPv4 or IPv6 address, as text.
    default_port
        The shared port.
    certificate
        The SHA-256 fingerprint, hex, of the TLS client certificate; "": one was asked for and none was shown; None:
        none is asked for, or the connection is plain.
    trust
        Whoever reaches an enabled facility's own port is that facility (`listeners.trust`).
    plain
        The connection is without TLS.
    """
    called, calling = strip_title(called), strip_title(calling)
    if port == default_port:
        found = _on_default_port(snapshot, server_title, called, calling, address)
        if isinstance(found, Facility):
            found = _too_open(found, plain, certificate) or found
    else:
        found = _on_own_port(snapshot, server_title, port, called, calling, address, trust)
    if certificate is None or isinstance(found, Refusal):
        return found
    return _of_certificate(snapshot, found, calling, certificate) or found


def _too_open(facility: Facility, plain: bool, certificate: str | None) -> Refusal | None:
    """The default port may ask for less than the facility's own does: then it is no way round that."""
    own = f"point the sender at its own port {facility.port}, with TLS"
    if plain and facility.tls == "on":
        return Refusal(
            f"'{facility.name}' takes TLS alone, and the default port is plain",
            f"{own}, or switch TLS on at all ports (tls.enabled)",
            Reject.NO_REASON,
            _call(facility),
            RefusalKind.TLS,
        )
    if not plain and not certificate and facility.client_certificates == "required":
        return Refusal(
            f"'{facility.name}' wants a client certificate, and none was shown",
            f"{own} and a certificate: noctis tls issue {facility.slug}",
            Reject.CALLING_NOT_RECOGNISED,
            _call(facility),
            RefusalKind.CERTIFICATE,
        )
    return None


def _on_own_port(
    snapshot: Snapshot, server_title: str, port: int, called: str, calling: str, address: str, trust: bool
) -> Facility | Refusal:
    facility = snapshot.by_port.get(port)
    if facility is None:
        return Refusal(
            f"no facility has port {port}",
            "noctis facility list",
            Reject.CALLED_NOT_RECOGNISED,
            Remedy(Kind.CALL),
            RefusalKind.CALLED,
        )
    if not facility.enabled:
        return _disabled(facility)
    if trust or facility.ae_title in (called, calling):
        return facility
    return _as_device_of(facility, snapshot, server_title, called, calling, address)


def _as_device_of(
    facility: Facility, snapshot: Snapshot, server_title: str, called: str, calling: str, address: str
) -> Facility | Refusal:
    devices = [device for device in facility.devices if device.ae_title == calling]
    if any(device.admits(address) for device in devices):
        return facility
    add = f"noctis device add {facility.slug} {_quoted(calling)}"
    if devices:
        networks = ", ".join(device.network for device in devices)
        return Refusal(
            f"{calling!r} is a device of '{facility.name}', but {address} is outside its network {networks}",
            f"noctis device add {facility.slug} {_quoted(f'{calling}@{_host_network(address)}')}",
            Reject.CALLING_NOT_RECOGNISED,
            Remedy(Kind.ALLOW_NETWORK, (facility.slug,), calling, _host_network(address)),
            RefusalKind.NETWORK,
        )
    owner = snapshot.by_ae_title.get(called)
    if owner is not None:
        return Refusal(
            f"called {called!r}, which is '{owner.name}' on port {owner.port}; "
            f"this is the port {facility.port} of '{facility.name}'",
            f"point the sender at port {owner.port}, or: {add}",
            Reject.CALLED_NOT_RECOGNISED,
            _call(owner),
            RefusalKind.PORT,
        )
    remedy = _adding(snapshot, server_title, facility, calling)
    if called == server_title:
        return Refusal(
            f"{calling!r} is not a device of '{facility.name}', whose port this is",
            add,
            Reject.CALLING_NOT_RECOGNISED,
            remedy,
            RefusalKind.CALLING,
        )
    return Refusal(
        f"No facility found for AE title: neither the called {called!r} nor the calling {calling!r} is "
        f"{facility.ae_title!r} or a device of '{facility.name}', whose port this is",
        f"set the called AE title to {facility.ae_title} at the sender, or: {add}",
        Reject.CALLED_NOT_RECOGNISED,
        remedy,
        RefusalKind.CALLED,
    )


def _adding(snapshot: Snapshot, server_title: str, facility: Facility, calling: str) -> Remedy:
    """Make the calling one a device of `facility`; a title that is somebody's own cannot become one."""
    if calling == server_title or calling in snapshot.by_ae_title:
        return _call(snapshot.by_ae_title.get(calling, facility))
    return Remedy(Kind.ADD_DEVICE, (facility.slug,), calling, called=facility.ae_title, port=facility.port)


def _call(facility: Facility) -> Remedy:
    return Remedy(Kind.CALL, (facility.slug,), called=facility.ae_title, port=facility.port)


def _on_default_port(
    snapshot: Snapshot, server_title: str, called: str, calling: str, address: str
) -> Facility | Refusal:
    facility = snapshot.by_ae_title.get(called)
    if facility is not None:
        return facility if facility.enabled else _disabled(facility)
    if called != server_title:
        return Refusal(
            f"No facility found for AE title: the called {called!r} is neither {server_title!r} nor a facility's",
            f"set the called AE title to {server_title} or to the facility's own at the sender (noctis facility list)",
            Reject.CALLED_NOT_RECOGNISED,
            _call_on_default_port(snapshot, server_title, calling),
            RefusalKind.CALLED,
        )
    facility = snapshot.by_ae_title.get(calling)
    if facility is not None:
        return facility if facility.enabled else _disabled(facility)
    known = snapshot.by_device.get(calling, ())
    if not known:
        return Refusal(
            f"No facility found for AE title: the calling {calling!r} is no facility's and no device's",
            f"noctis device add FACILITY {_quoted(calling)}   (FACILITY: one of noctis facility list)",
            Reject.CALLING_NOT_RECOGNISED,
            Remedy(Kind.ADD_DEVICE, device=calling) if calling != server_title else Remedy(Kind.CALL),
            RefusalKind.CALLING,
        )
    admitted = {facility.slug: facility for facility, device in known if device.admits(address)}
    if not admitted:
        facility, device = known[0]
        return Refusal(
            f"{calling!r} is a device of '{facility.name}', but {address} is outside its network {device.network}",
            f"noctis device add {facility.slug} {_quoted(f'{calling}@{_host_network(address)}')}",
            Reject.CALLING_NOT_RECOGNISED,
            Remedy(Kind.ALLOW_NETWORK, _slugs(owner for owner, _ in known), calling, _host_network(address)),
            RefusalKind.NETWORK,
        )
    if len(admitted) > 1:
        owners = ", ".join(f"'{facility.name}'" for facility in admitted.values())
        return Refusal(
            f"{calling!r} at {address} is a device of several facilities: {owners}",
            "point the sender at its facility's own port, or give each device its network: "
            f"noctis device add FACILITY {_quoted(f'{calling}@{_host_network(address)}')}",
            Reject.CALLING_NOT_RECOGNISED,
            Remedy(Kind.CALL, tuple(admitted)),
            RefusalKind.AMBIGUOUS,
        )
    facility = next(iter(admitted.values()))
    return facility if facility.enabled else _disabled(facility)


def _of_certificate(snapshot: Snapshot, facility: Facility, calling: str, certificate: str) -> Refusal | None:
    """Why a caller that is `facility` by its titles is not by its client certificate; None: it may be.

    A bound certificate is its facility's, or its device's, and nobody else's. Where certificates are bound, a caller
    that shows one must show one of them; one that shows none (where it may) is let in unless it is meant by them.
    """
    owner, bound = snapshot.by_certificate.get(certificate, (None, None))
    remedy = Remedy(Kind.CERTIFICATE, (facility.slug,), calling)
    new = f"noctis tls issue {facility.slug}"
    if owner is not None and bound is not None:
        if owner.slug != facility.slug:
            reason = f"its client certificate is that of '{owner.name}', not of '{facility.name}'"
            fix = f"{new}   makes one for this sender"
        elif bound.device not in ("", calling):
            reason = f"its client certificate is for the calling AE title {bound.device!r} alone, not for {calling!r}"
            fix = (
                f"set that calling AE title at the sender, or give it one of its own: {new} --device {_quoted(calling)}"
            )
        else:
            return None
    elif certificate in snapshot.foreign_certificates:
        reason = "its client certificate is that of a facility which was removed, or which cannot be served"
        fix = f"{new}   makes one for this sender"
    elif certificate and facility.certificates:
        reason = f"its client certificate is not bound to '{facility.name}', which takes bound ones alone"
        fix = f"if it is this sender's: noctis tls bind {facility.slug} {certificate}"
        remedy = Remedy(Kind.BIND_CERTIFICATE, (facility.slug,), calling, certificate=certificate)
    elif not certificate and any(each.device in ("", calling) for each in facility.certificates):
        reason = f"it shows no client certificate, and certificates are bound to '{facility.name}' or to this device"
        fix = f"set the certificate at the sender; a new one: {new}"
    else:
        return None
    return Refusal(reason, fix, Reject.CALLING_NOT_RECOGNISED, remedy, RefusalKind.CERTIFICATE)


def _disabled(facility: Facility) -> Refusal:
    return Refusal(
        f"the facility '{facility.name}' is disabled",
        f"noctis facility enable {facility.slug}",
        Reject.CALLED_NOT_RECOGNISED,
        Remedy(Kind.ENABLE_FACILITY, (facility.slug,)),
        RefusalKind.DISABLED,
    )


def _call_on_default_port(snapshot: Snapshot, server_title: str, calling: str) -> Remedy:
    """Whoever is known by its calling title may call the server; a stranger has to know a facility's title."""
    facility = snapshot.by_ae_title.get(calling)
    owners = (facility.slug,) if facility else _slugs(owner for owner, _ in snapshot.by_device.get(calling, ()))
    return Remedy(Kind.CALL, owners, called=server_title)


def _slugs(facilities: Iterable[Facility]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(facility.slug for facility in facilities))


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def _host_network(address: str) -> str:
    return f"{address.partition('%')[0]}/{128 if ':' in address else 32}"
