"""Remedies: what would let a caller in that was turned away, as data, so that a button or a command can do it.

Pure standard library: listeners make them, the ledger keeps them as JSON, the pages and the command line read them.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What has to be done."""

    ADD_DEVICE = "add-device"  # the calling AE title becomes a device of a facility
    ALLOW_NETWORK = "allow-network"  # a device of a facility may come from the caller's address too
    ENABLE_FACILITY = "enable-facility"
    BIND_CERTIFICATE = "bind-certificate"  # the client certificate that was shown becomes the facility's
    CALL = "call"  # the sender has to call another AE title or port: nothing here can do that
    CERTIFICATE = "certificate"  # the sender needs a (or another) client certificate
    TLS = "tls"  # one speaks TLS and the other does not, or they do not agree
    LIMIT = "limit"  # there are too many associations or connections
    PROTOCOL = "protocol"  # what came is not what was expected


BUTTONS = frozenset({Kind.ADD_DEVICE, Kind.ALLOW_NETWORK, Kind.ENABLE_FACILITY, Kind.BIND_CERTIFICATE})
_TEXTS = ("device", "network", "certificate", "called")


@dataclass(frozen=True)
class Remedy:
    """What would let a caller in. Beside what a button does stands what the sender could change instead."""

    kind: Kind
    facilities: tuple[str, ...] = ()  # slugs: one is meant, several may be, none: any may be
    device: str = ""  # calling AE title
    network: str = ""  # CIDR
    certificate: str = ""  # SHA-256 of the DER form, hex
    called: str = ""  # the AE title that the sender should call
    port: int = 0  # where; 0: where it does

    @property
    def is_button(self) -> bool:
        """Whether it can be done here."""
        return self.kind in BUTTONS

    @property
    def facility(self) -> str | None:
        """The facility that is meant, where there is no choice."""
        return self.facilities[0] if len(self.facilities) == 1 else None

    def as_json(self) -> dict[str, Any]:
        """What is set."""
        return {name: value for name, value in asdict(self).items() if value}


def from_json(document: object) -> Remedy | None:
    """What `as_json` gave; None for anything else, as rows of earlier releases have it."""
    if not isinstance(document, dict):
        return None
    facilities, port = document.get("facilities", ()), document.get("port", 0)
    texts = {name: document.get(name, "") for name in _TEXTS}
    if not isinstance(facilities, list | tuple) or not isinstance(port, int) or not 0 <= port < 1 << 16:
        return None
    if not all(isinstance(each, str) for each in (*facilities, *texts.values())):
        return None
    try:
        return Remedy(Kind(str(document.get("kind"))), tuple(facilities), port=port, **texts)
    except ValueError:
        return None
