"""The onboarding card: what has to be typed into a facility's modality, and the commands that try it."""

import shlex
import socket
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, console, plain, safe
from noctis.tls.policy import ca_file, policy_of

if TYPE_CHECKING:
    from noctis.facilities.records import FacilityRecord
    from noctis.facilities.snapshot import Facility


def onboarding(app: App, record: "FacilityRecord") -> dict[str, Any]:
    """What to type into the modality. On the facility's own port any calling AE title will do."""
    server = app.running_settings.server
    host = server.advertised_host or socket.getfqdn()
    calling = record.devices[0].ae_title if record.devices else record.ae_title
    facility = app.registry.snapshot().by_slug.get(record.slug)

    def line(tool: str, called: str, port: int, of: "Facility | None", *rest: str) -> str:
        titles = ["-aet", calling, "-aec", called]
        return shlex.join([*tool.split(), *tls_options(app, of), *titles, host, str(port), *rest])

    return {
        "host": host,
        "port": record.port,
        "tls": bool(tls_options(app, facility)),
        "called_ae_title": record.ae_title,
        "calling_ae_title": calling,
        "calling_ae_titles": [record.ae_title, *(str(device) for device in record.devices)],
        "echoscu": line("echoscu -v", record.ae_title, record.port, facility),
        "storescu": line("storescu -v +sd +r", record.ae_title, record.port, facility, "FOLDER"),
        "default_port": {
            "port": server.port,
            "called_ae_title": server.ae_title,
            "calling_ae_title": calling,
            "echoscu": line("echoscu -v", server.ae_title, server.port, None),
        },
    }


def tls_options(app: App, facility: "Facility | None") -> list[str]:
    """dcmtk's, for the port of `facility` or (None) the default one; none where it is plain."""
    policy = policy_of(app.settings, facility)
    if policy is None:
        return []
    own = ["+tls", "KEY.pem", "CERTIFICATE.pem"] if policy.asks else ["+tla"]
    return [*own, "+cf", str(ca_file(app.settings))]


def show_card(
    record: "FacilityRecord", card: dict[str, Any], listener: dict[str, Any] | None, milliseconds: int | None
) -> None:
    from rich.panel import Panel

    default = card["default_port"]
    lines = [
        f"[bold]host[/bold]              {safe(card['host'])}",
        f"[bold]port[/bold]              {card['port']}" + ("   (with TLS)" if card["tls"] else ""),
        f"[bold]called AE title[/bold]   {safe(card['called_ae_title'])}",
        f"[bold]calling AE title[/bold]  {safe(card['calling_ae_title'])}   (any will do when the called one is right)",
        "",
        "try it:",
        f"  {safe(card['echoscu'])}",
        f"  {safe(card['storescu'])}",
        "",
        f"or by the shared port {default['port']}, called {safe(default['called_ae_title'])}, calling one of: "
        + safe(", ".join(card["calling_ae_titles"])),
        f"  {safe(default['echoscu'])}",
    ]
    console().print(Panel("\n".join(lines), title=f"{safe(record.name)}: what to type into the modality", expand=False))
    if listener is None:
        click.echo("No supervisor runs yet; the port opens with: noctis supervise")
    elif listener["state"] in ("running", "idle"):
        click.echo(f"The listener is {listener['state']} after {milliseconds} ms.")
    else:
        click.secho(f"The listener is {listener['state']}: {plain(listener['last_error'])}", fg="yellow")
