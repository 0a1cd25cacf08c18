"""The onboarding card: what has to be typed into a facility's modality, and the commands that try it."""

import shlex
import socket
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, console, plain, safe
from noctis.tls.policy import policy_of

if TYPE_CHECKING:
    from noctis.facilities.records import FacilityRecord


def onboarding(app: App, record: "FacilityRecord") -> dict[str, Any]:
    """What to type into the modality. On the facility's own port any calling AE title will do."""
    server, host, calling = app.running_settings.server, host_of(app), calling_of(record)
    own, shared = tls_options(app, record), tls_options(app, None)
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


def host_of(app: App) -> str:
    """What senders call this machine."""
    return app.running_settings.server.advertised_host or socket.getfqdn()


def calling_of(record: "FacilityRecord") -> str:
    """An AE title that a sender of this facility may call itself."""
    return record.devices[0].ae_title if record.devices else record.ae_title


def line(tool: list[str], calling: str, called: str, host: str, port: int, *files: str) -> str:
    """dcmtk's command line for a sender: the tool with its options, titles, address, files."""
    return shlex.join([*tool, "-aet", calling, "-aec", called, host, str(port), *files])


def tls_options(app: App, facility: "FacilityRecord | None") -> list[str]:
    """dcmtk's, for the port of `facility` or (None) the default one; none where it is plain."""
    policy = policy_of(app.settings, facility)
    if policy is None:
        return []
    own = ["+tls", "KEY.pem", "CERTIFICATE.pem"] if policy.asks else ["+tla"]
    return [*own, "+cf", str(policy.client_ca)]


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
