"""The onboarding card: what has to be typed into a facility's modality, and the commands that try it."""

import shlex
import socket
from typing import TYPE_CHECKING, Any

from noctis.config import Settings
from noctis.tls.policy import policy_of

if TYPE_CHECKING:
    from noctis.facilities.records import FacilityRecord


def onboarding(settings: Settings, record: "FacilityRecord") -> dict[str, Any]:
    """What to type into the modality. On the facility's own port any calling AE title will do.

    Parameters
    ----------
    settings
        As the running supervisor has them.
    """
    server, host, calling = settings.server, host_of(settings), calling_of(record)
    own, shared = tls_options(settings, record), tls_options(settings, None)
    here = (calling, record.ae_title, host, record.port)
    return {
        "host": host,
        "port": record.port,
        "tls": bool(own),
        "called_ae_title": record.ae_title,
        "calling_ae_title": calling,
        "calling_ae_titles": [record.ae_title, *(str(device) for device in record.devices)],
        "echoscu": line(["echoscu", "-v", *own], *here),
        "storescu": line(["storescu", "-v", "+sd", "+r", *own], *here, "FOLDER"),
        "default_port": {
            "port": server.port,
            "called_ae_title": server.ae_title,
            "calling_ae_title": calling,
            "echoscu": line(["echoscu", "-v", *shared], calling, server.ae_title, host, server.port),
        },
    }


def host_of(settings: Settings) -> str:
    """What senders call this machine."""
    return settings.server.advertised_host or socket.getfqdn()


def calling_of(record: "FacilityRecord") -> str:
    """An AE title that a sender of this facility may call itself."""
    return record.devices[0].ae_title if record.devices else record.ae_title


def line(tool: list[str], calling: str, called: str, host: str, port: int, *files: str) -> str:
    """dcmtk's command line for a sender: the tool with its options, titles, address, files."""
    return shlex.join([*tool, "-aet", calling, "-aec", called, host, str(port), *files])


def tls_options(settings: Settings, facility: "FacilityRecord | None") -> list[str]:
    """dcmtk's, for the port of `facility` or (None) the default one; none where it is plain."""
    policy = policy_of(settings, facility)
    if policy is None:
        return []
    own = ["+tls", "KEY.pem", "CERTIFICATE.pem"] if policy.asks else ["+tla"]
    return [*own, "+cf", str(policy.client_ca)]
