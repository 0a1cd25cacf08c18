"""The snapshot: what listeners and the parent know of the facilities, in `run/facilities.json`.

Written atomically by whoever saw the facilities table change; read by every listener at every association (one
`stat`, a parse only when the file is another one). Pure standard library: receiving needs no database.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Device:
    """One sender of a facility."""

    ae_title: str
    network: str = ""  # CIDR; "": from anywhere

    def admits(self, address: str) -> bool:
        """Whether a peer at `address` (IPv4 or IPv6 text) may be this device."""
        if not self.network:
            return True
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
            mapped = getattr(peer, "ipv4_mapped", None)
            return (mapped or peer) in ipaddress.ip_network(self.network, strict=False)
        except ValueError:
            return False


@dataclass(frozen=True)
class ClientCertificate:
    """A TLS client certificate that is bound to a facility."""

    fingerprint: str  # SHA-256 of the DER form, hex
    device: str = ""  # the calling AE title that it is for; "": any of the facility


@dataclass(frozen=True)
class Facility:
    """What a listener must know of a facility. `id` is the row's; files and messages use `slug`."""

    id: int
    slug: str
    name: str
    ae_title: str
    port: int
    enabled: bool = True
    workers: int = 1
    conflict: str | None = None  # keep | replace; None: the configured default
    quarantine_max_instances: int | None = None  # None: the configured default; so are these
    max_associations: int | None = None
    max_instance_bytes: int | None = None
    quota_bytes: int | None = None
    quota_instances: int | None = None
    tls: str | None = None  # on | off
    client_certificates: str | None = None  # required | optional | off
    devices: tuple[Device, ...] = ()
    certificates: tuple[ClientCertificate, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """All facilities at one moment, removed ones left out, sorted by slug."""

    facilities: tuple[Facility, ...] = ()
    refused_rows: tuple[str, ...] = ()  # rows of the table that cannot be used, each in plain words
    foreign_certificates: tuple[str, ...] = ()  # fingerprints bound to facilities that are not here, removed ones too
    format: int = field(default=FORMAT)

    @cached_property
    def by_ae_title(self) -> dict[str, Facility]:
        return {facility.ae_title: facility for facility in self.facilities}

    @cached_property
    def by_port(self) -> dict[int, Facility]:
        return {facility.port: facility for facility in self.facilities}

    @cached_property
    def by_slug(self) -> dict[str, Facility]:
        return {facility.slug: facility for facility in self.facilities}

    @cached_property
    def enabled_count(self) -> int:
        return sum(facility.enabled for facility in self.facilities)

    @cached_property
    def by_certificate(self) -> dict[str, tuple[Facility, ClientCertificate]]:
        """Fingerprint → whose client certificate it is."""
        return {each.fingerprint: (facility, each) for facility in self.facilities for each in facility.certificates}

    @cached_property
    def by_device(self) -> dict[str, tuple[tuple[Facility, Device], ...]]:
        """Calling AE title → every facility that has a device of that title."""
        found: dict[str, tuple[tuple[Facility, Device], ...]] = {}
        for facility in self.facilities:
            for device in facility.devices:
                found[device.ae_title] = (*found.get(device.ae_title, ()), (facility, device))
        return found


def dump(snapshot: Snapshot) -> bytes:
    return json.dumps(asdict(snapshot), ensure_ascii=True, separators=(",", ":")).encode()


def parse(text: bytes) -> Snapshot:
    """The snapshot in `text`.

    Raises
    ------
    ValueError
        It is not one, or of another format.
    """
    try:
        document: dict[str, Any] = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, expected {FORMAT}")
        facilities = tuple(
            Facility(
                **{
                    **row,
                    "devices": tuple(Device(**device) for device in row["devices"]),
                    "certificates": tuple(ClientCertificate(**each) for each in row.get("certificates", ())),
                }
            )
            for row in document["facilities"]
        )
        foreign = tuple(document.get("foreign_certificates", ()))
        return Snapshot(facilities, tuple(document["refused_rows"]), foreign)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a snapshot of facilities: {error!r}") from error


def write_if_changed(path: Path, make: Callable[[], Snapshot]) -> bool:
    """Write what `make` returns unless the file says so already; True if it was written.

    `make` reads the database while a lock is held, so of two writers the later one has seen at least as much.
    """
    with _locked(path.with_suffix(".lock")):
        text = dump(make())
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == text:
                return False
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class SnapshotReader:
    """The newest snapshot, re-read when the file is another one. A broken file leaves the last good one in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._snapshot = Snapshot()
        self.error: str | None = None

    def is_readable(self) -> bool:
        """Whether there is a snapshot now that can be used."""
        self.current()
        return self.error is None

    def current(self) -> Snapshot:
        """One `stat`; a parse only when something changed. Safe from several threads."""
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._snapshot = parse(self._path.read_bytes())
                self._stamp = stamp
                self.error = None
        except FileNotFoundError:
            self.error = f"{self._path} does not exist"
        except (OSError, ValueError) as error:
            self.error = f"{self._path}: {error}"
        return self._snapshot
