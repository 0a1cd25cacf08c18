"""`noctis device`: the senders of a facility."""

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_table


@click.group()
def device() -> None:
    """Add, list and remove devices. A device is a calling AE title, optionally with its network: CT1@10.2.3.0/24."""


@device.command()
@click.argument("facility")
@click.argument("device", metavar="AET[@CIDR]")
@json_option
@click.pass_obj
def add(app: App, facility: str, device: str, as_json: bool) -> None:
    """Let a device of FACILITY in."""
    from noctis.facilities.records import parse_device

    parsed = parse_device(device)
    record = app.registry.add_device(facility, parsed)
    app.follow()
    if as_json:
        emit_json(record.as_json())
    else:
        click.echo(f"{plain(record.name)}: the device {parsed} is let in")


@device.command("list")
@click.argument("facility", required=False)
@json_option
@click.pass_obj
def list_(app: App, facility: str | None, as_json: bool) -> None:
    """List the devices of FACILITY, or of all."""
    records = [app.registry.get(facility)] if facility else app.registry.all()
    rows = [
        {"facility": record.slug, "ae_title": each.ae_title, "network": each.network}
        for record in records
        for each in record.devices
    ]
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["facility", "AE title", "network"],
        [[row["facility"], row["ae_title"], row["network"] or "any"] for row in rows],
        empty="No device yet. Add one: noctis device add FACILITY CT1@10.2.3.0/24",
    )


@device.command()
@click.argument("facility")
@click.argument("device", metavar="AET[@CIDR]")
@json_option
@click.pass_obj
def remove(app: App, facility: str, device: str, as_json: bool) -> None:
    """Let a device of FACILITY in no more."""
    from noctis.facilities.records import parse_device

    parsed = parse_device(device)
    record = app.registry.remove_device(facility, parsed)
    app.follow()
    if as_json:
        emit_json(record.as_json())
    else:
        click.echo(f"{plain(record.name)}: the device {parsed} is removed")
