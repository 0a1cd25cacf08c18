"""What of TLS holds at a port, and which files it takes. Settings and a facility in, paths and commands out."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from noctis.config import Settings
from noctis.facilities.snapshot import Facility

PEM_FOLDER = "facilities"  # below <home>/tls: server certificates of facilities' own ports


class HasTls(Protocol):
    """A facility, as listeners or the registry know it. None: the configured default."""

    @property
    def slug(self) -> str: ...
    @property
    def tls(self) -> str | None: ...
    @property
    def client_certificates(self) -> str | None: ...


@dataclass(frozen=True)
class Policy:
    """TLS at one port."""

    certificate: Path  # PEM, the chain behind it
    private_key: Path
    client_certificates: str  # required | optional | off
    client_ca: Path
    own_client: Path  # what `noctis check` shows (`self_file`)
    issue: str  # the command that makes the certificate where there is none

    @property
    def asks(self) -> bool:
        """Whether a client certificate is asked for."""
        return self.client_certificates != "off"

    def files(self) -> tuple[Path, ...]:
        """Everything that a context is made of."""
        asked = (self.client_ca, self.own_client) if self.asks else ()
        return (self.certificate, self.private_key, *asked)


def is_on(settings: Settings, facility: HasTls | None) -> bool:
    """Whether the port of `facility`, or (None) the default one, speaks TLS."""
    decided = facility.tls if facility is not None else None
    return settings.tls.enabled if decided is None else decided == "on"


def is_used(settings: Settings, facilities: Iterable[Facility]) -> bool:
    """Whether any port speaks TLS."""
    return is_on(settings, None) or any(is_on(settings, each) for each in facilities if each.enabled)


def server_files(settings: Settings) -> tuple[Path, Path]:
    """The server's certificate and key, of every port that has none of its own."""
    folder, tls = settings.paths.tls, settings.tls
    return (
        folder / "server.pem" if tls.certificate is None else tls.certificate.expanduser().absolute(),
        folder / "server.key" if tls.private_key is None else tls.private_key.expanduser().absolute(),
    )


def facility_files(settings: Settings, slug: str) -> tuple[Path, Path]:
    """A facility's own server certificate and key, whether they are there or not."""
    folder = settings.paths.tls / PEM_FOLDER
    return folder / f"{slug}.pem", folder / f"{slug}.key"


def ca_file(settings: Settings) -> Path:
    """The certificates of those who may sign client certificates."""
    given = settings.tls.client_ca
    return settings.paths.tls / "ca.pem" if given is None else given.expanduser().absolute()


def ca_key_file(settings: Settings) -> Path:
    """The key of the CA that `noctis tls make-ca` made."""
    return settings.paths.tls / "ca.key"


def self_file(settings: Settings) -> Path:
    """Certificate and key, in one file, by which this machine's own commands ask its listeners for an echo."""
    return settings.paths.tls / "self.pem"


def policy_of(settings: Settings, facility: HasTls | None) -> Policy | None:
    """TLS as it is at the port of `facility`, or (None) at the default one; None: it is plain."""
    if not is_on(settings, facility):
        return None
    certificate, key = server_files(settings)
    issue = "noctis tls issue --server"
    if facility is not None:
        own, own_key = facility_files(settings, facility.slug)
        if os.path.exists(own):
            certificate, key, issue = own, own_key, f"noctis tls issue --server {facility.slug}"
    decided = facility.client_certificates if facility is not None else None
    return Policy(
        certificate=certificate,
        private_key=key,
        client_certificates=decided or settings.tls.client_certificates,
        client_ca=ca_file(settings),
        own_client=self_file(settings),
        issue=issue,
    )
