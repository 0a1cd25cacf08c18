"""`noctis facility`: the hospitals and clinics that send to us."""

import time
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, console, emit_json, json_option, plain, safe, show_fields, show_table
from noctis.errors import ExitCode, SupervisorError, UsageError
from noctis.facilities.records import CHOICES, parse_device
from noctis.text import moment, size

if TYPE_CHECKING:
    from noctis.facilities.records import FacilityRecord

WAIT_SECONDS = 10.0  # how long `add` waits for the listener


@click.group()
def facility() -> None:
    """Add, show and change facilities. NAME is a facility's name, slug, AE title or port."""


def contact_options(function: Any) -> Any:
    for option in ("--licence-number", "--email", "--phone", "--address"):
        function = click.option(option, metavar="TEXT")(function)
    return function


DEFAULT = "default"  # what an option is given to go back to the configured value


class NumberOrDefault(click.ParamType):  # type: ignore[type-arg]
    """A whole number from 0 on, or the word `default`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == DEFAULT or isinstance(value, int):
            return value
        if not value.isascii() or not value.isdigit():
            self.fail(f"{value!r} is neither a number nor {DEFAULT!r}", param, ctx)
        return int(value)


def policy_options(function: Any) -> Any:
    """Options of what a facility may have otherwise than the configuration says, each with `default` to go back."""
    limits = (
        ("--quarantine-max", "quarantine_max_instances", "Instances that its quarantine holds at the most."),
        ("--max-associations", "max_associations", "Associations at once, on all its ports."),
        ("--max-instance-bytes", "max_instance_bytes", "The largest data set that is taken."),
        ("--quota-bytes", "quota_bytes", "What its archived files may have; beyond it C-STORE answers A700."),
        ("--quota-instances", "quota_instances", "How many instances it may have; beyond it C-STORE answers A700."),
    )
    choices = (
        ("--conflict", "conflict", "The same SOP Instance UID with other bytes: keep the first, or replace it."),
        ("--tls", "tls", "Whether its own port speaks TLS."),
        ("--client-certificates", "client_certificates", "Whether TLS callers must show a certificate."),
    )
    for option, field, text in reversed(limits):
        function = click.option(option, field, type=NumberOrDefault(), metavar="N|default", help=text)(function)
    for option, field, text in reversed(choices):
        function = click.option(option, field, type=click.Choice([*CHOICES[field], DEFAULT]), help=text)(function)
    return function


@facility.command()
@click.argument("name")
@click.option("--ae-title", metavar="AET", help="At most 16 characters; generated from the name if left out.")
@click.option("--port", type=int, help="The lowest port never used if left out.")
@click.option("--device", "devices", multiple=True, metavar="AET[@CIDR]", help="A sender of it; may be repeated.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that share its port.")
@contact_options
@json_option
@click.pass_obj
def add(
    app: App,
    /,
    name: str,
    ae_title: str | None,
    port: int | None,
    devices: tuple[str, ...],
    workers: int,
    as_json: bool,
    **contact: str | None,
) -> None:
    """Add a facility: it gets an AE title, a port and, when a supervisor runs, a listener at once."""
    from noctis.facilities.onboarding import onboarding

    parsed = [parse_device(device) for device in devices]
    app.prepare()
    record = app.registry.add(name, ae_title=ae_title, port=port, workers=workers, devices=parsed, contact=contact)
    begun = time.monotonic()
    listener: dict[str, Any] | None = None
    if app.follow():
        with console().status(f"waiting for the listener on port {record.port}"):
            listener = wait(app, record.slug)
    milliseconds = round((time.monotonic() - begun) * 1000) if listener else None
    card = onboarding(app.running_settings, record)
    if as_json:
        emit_json(
            record.as_json()
            | {
                "listener": listener["state"] if listener else None,
                "listener_ms": milliseconds,
                "onboarding": card,
            }
        )
        return
    show_card(record, card, listener, milliseconds)


def wait(app: App, slug: str) -> dict[str, Any] | None:
    """The listener when it is up; the facility is there by now, so a supervisor that ends meanwhile is no failure."""
    try:
        return app.control.wait_listener(slug, WAIT_SECONDS)
    except SupervisorError as error:
        click.echo(f"noctis: {plain(error.message)}", err=True)
        return None


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


@facility.command("list")
@click.option("--removed", is_flag=True, help="Removed ones too.")
@json_option
@click.pass_obj
def list_(app: App, removed: bool, as_json: bool) -> None:
    """List all facilities."""
    records = app.registry.all(removed=removed)
    states = listener_states(app)
    if as_json:
        from noctis.repository.queries import archived_usage
        from noctis.repository.usage import NONE, limits_of, report

        used, storage = archived_usage(app.engine()), app.settings.storage
        emit_json(
            [
                record.as_json()
                | {
                    "listener": states.get(record.slug),
                    "usage": report(used.get(record.slug, NONE), limits_of(record, storage)),
                }
                for record in records
            ]
        )
        return
    show_table(
        ["slug", "name", "AE title", "port#", "listener", "workers#", "devices"],
        [
            [
                record.slug,
                record.name,
                record.ae_title,
                record.port,
                state_of(record, states),
                record.workers,
                ", ".join(map(str, record.devices)),
            ]
            for record in records
        ],
        empty='No facility yet. Add one: noctis facility add "Central Hospital"',
    )


def listener_states(app: App) -> dict[str, str]:
    """Slug → state, of what runs; empty without a supervisor."""
    if not app.control.is_running():
        return {}
    return {each["facility"]: each["state"] for each in app.control.status()["listeners"] if each["facility"]}


def state_of(record: "FacilityRecord", states: dict[str, str]) -> str:
    if record.removed_at:
        return "removed"
    return states.get(record.slug, "-") if record.enabled else "disabled"


@facility.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(app: App, name: str, as_json: bool) -> None:
    """Show one facility and what to type into its modalities."""
    from noctis.facilities.onboarding import onboarding
    from noctis.repository.queries import archived_usage
    from noctis.repository.usage import NONE, limits_of, report

    record = app.registry.get(name)
    listener = app.control.listener(record.slug) if app.control.is_running() else None
    limits = limits_of(record, app.settings.storage)
    usage = report(archived_usage(app.engine(), record.id).get(record.slug, NONE), limits)
    if as_json:
        more = {"usage": usage, "limits": limits._asdict(), "onboarding": onboarding(app.running_settings, record)}
        emit_json(record.as_json() | {"listener": listener} | more)
        return
    fields: dict[str, object] = dict(record.as_json())
    fields["devices"] = ", ".join(map(str, record.devices))
    fields["created_at"] = moment(record.created_at)
    fields["listener"] = listener["state"] if listener else "no supervisor runs"
    if listener:
        fields["last instance"] = moment(listener["last_instance"]) or "none since the start"
        fields["last error"] = listener["last_error"]
    largest = limits.max_instance_bytes
    fields["largest data set"] = "any" if largest is None else size(largest)
    fields["archived"] = against_quota(usage)
    show_fields(fields)
    card = onboarding(app.running_settings, record)
    show_fields({"echoscu": card["echoscu"], "storescu": card["storescu"]})


def against_quota(usage: dict[str, Any]) -> str:
    """`3 of 1000 instances (0.3 %), 1.6 kB, no quota`."""
    parts = [f"{usage['instances']} instances", size(usage["bytes"])]
    if usage["quota_instances"] is not None:
        parts[0] = f"{usage['instances']} of {usage['quota_instances']} instances ({usage['instances_percent']} %)"
    if usage["quota_bytes"] is not None:
        parts[1] = f"{parts[1]} of {size(usage['quota_bytes'])} ({usage['bytes_percent']} %)"
    if usage["quota_instances"] is None and usage["quota_bytes"] is None:
        parts.append("no quota")
    return ", ".join(parts)


@facility.command()
@click.argument("name")
@click.option("--name", "new_name", metavar="TEXT", help="Its name; the slug, which is its folder, stays.")
@click.option("--ae-title", metavar="AET")
@click.option("--port", type=int)
@click.option("--workers", type=int, help="Processes that share its port.")
@policy_options
@click.option("--enabled/--disabled", default=None, help="Whether its port is open.")
@contact_options
@json_option
@click.pass_obj
def edit(
    app: App,
    /,
    name: str,
    new_name: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Change a facility. Live associations go on; only a new port needs a new socket."""
    changes = {field: value for field, value in given.items() if value is not None}
    changes |= {field: None for field, value in changes.items() if value == DEFAULT}
    if new_name is not None:
        changes["name"] = new_name
    if not changes:
        raise click.UsageError("nothing to change was given; see: noctis facility edit --help")
    answer(app, app.registry.edit(name, changes), "changed", as_json)


def answer(app: App, record: "FacilityRecord", what: str, as_json: bool) -> None:
    """After a change: tell the listeners, then the caller."""
    followed = app.follow()
    if as_json:
        emit_json(record.as_json())
        return
    now = "" if followed else "; no supervisor runs"
    click.echo(f"{plain(record.name)}: {what} (AE title {record.ae_title}, port {record.port}){now}")


@facility.command()
@click.argument("name")
@json_option
@click.pass_obj
def enable(app: App, name: str, as_json: bool) -> None:
    """Open a facility's port again."""
    answer(app, app.registry.edit(name, {"enabled": True}), "enabled", as_json)


@facility.command()
@click.argument("name")
@json_option
@click.pass_obj
def disable(app: App, name: str, as_json: bool) -> None:
    """Close a facility's port; instances in flight finish."""
    answer(app, app.registry.edit(name, {"enabled": False}), "disabled", as_json)


@facility.command()
@click.argument("name")
@click.option("--keep-studies", is_flag=True, help="Although it has studies: they stay in archive and index.")
@json_option
@click.pass_obj
def remove(app: App, name: str, keep_studies: bool, as_json: bool) -> None:
    """Take a facility out of service. Its port, AE title and folder are never given to another."""
    answer(app, app.registry.remove(name, keep_studies=keep_studies), "removed", as_json)


@facility.command()
@click.argument("name")
@json_option
@click.pass_obj
def restore(app: App, name: str, as_json: bool) -> None:
    """Bring a removed facility back as it was."""
    answer(app, app.registry.restore(name), "restored", as_json)


@facility.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Every enabled facility.")
@json_option
@click.pass_obj
def test(app: App, name: str | None, every: bool, as_json: bool) -> int:
    """A C-ECHO to a facility's own listener, as a modality would send it."""
    from noctis.checks.echo import echo

    if (name is None) == (not every):
        raise click.UsageError("name a facility, or say --all")
    records = [each for each in app.registry.all() if each.enabled] if every else [app.registry.get(str(name))]
    for record in records:
        if not record.enabled:
            raise UsageError(f"'{record.name}' is disabled", fix=f"noctis facility enable {record.slug}")
    results = [echo(app.settings, record.slug, record.port, record.ae_title) for record in records]
    if as_json:
        emit_json([result.as_json() for result in results])
    else:
        for result in results:
            if result.succeeded:
                click.secho(f"{result.facility}: port {result.port} answered in {result.milliseconds} ms", fg="green")
            else:
                click.secho(f"{result.facility}: port {result.port}: {result.error}", fg="red")
    return ExitCode.DONE if all(result.succeeded for result in results) else ExitCode.FOUND_WRONG
