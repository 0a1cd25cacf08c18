"""`noctis silence`: who has gone silent, by the habit of each facility and device."""

from typing import TYPE_CHECKING

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_table
from noctis.errors import ExitCode
from noctis.text import duration, moment

if TYPE_CHECKING:
    from noctis.silence import State
    from noctis.silence.mutes import Mutes

device_option = click.option(
    "--device", metavar="AET", default="", help="A device of it; left out: the whole facility."
)
reason_option = click.option("--reason", metavar="TEXT", default="", help="Why, for those who come after.")


@click.group(invoke_without_command=True)
@click.pass_context
def silence(ctx: click.Context) -> int | None:
    """Which facility or device has gone silent, by its habit; acknowledge and mute alarms. Alone: list."""
    if ctx.invoked_subcommand is None:
        found: int = ctx.invoke(list_)
        return found
    return None


@silence.command("list")
@click.option("--facility", metavar="NAME", help="One facility and its devices.")
@click.option("--alarms", is_flag=True, help="Only what is too silent.")
@json_option
@click.pass_obj
def list_(app: App, facility: str | None, alarms: bool, as_json: bool) -> int:
    """List facilities and devices, alarms first. Exit code 1 when one is neither acknowledged nor muted."""
    from noctis.silence import evaluate
    from noctis.silence.state import alarms_first

    states = alarms_first(evaluate(app.engine(), app.settings))
    if facility is not None:
        slug = app.registry.get(facility).slug
        states = [state for state in states if state.facility == slug]
    raised = any(state.raised for state in states)
    if alarms:
        states = [state for state in states if state.alarm]
    if as_json:
        emit_json([state.as_json() for state in states])
    else:
        show_table(
            ["facility", "device", "state", "last sent", "silent for", "alarms at", "habit"],
            [_row(state) for state in states],
            empty="No alarm." if alarms else "No facility yet. Add one: noctis facility add NAME",
        )
    return ExitCode.FOUND_WRONG if raised else ExitCode.DONE


def _row(state: "State") -> list[object]:
    return [
        state.facility,
        state.device or "(all)",
        state.word,
        moment(state.last_at) or "never",
        "" if state.silent_seconds is None else duration(state.silent_seconds),
        moment(state.alarm_at),
        state.sentence,
    ]


@silence.command()
@click.argument("facility")
@device_option
@reason_option
@click.pass_obj
def ack(app: App, facility: str, device: str, reason: str) -> None:
    """Acknowledge the silence of FACILITY, until it sends again."""
    record = app.registry.get(facility)
    _mutes(app).acknowledge(record.slug, device, reason)
    click.echo(f"{plain(device or record.name)}: acknowledged until it sends again")


@silence.command()
@click.argument("facility")
@device_option
@click.option(
    "--until", metavar="WHEN", default="", help="A date, a time, or a length: 12h, 3d, 2w. Left out: for ever."
)
@reason_option
@click.pass_obj
def mute(app: App, facility: str, device: str, until: str, reason: str) -> None:
    """Let FACILITY, with its devices, or one device of it raise no alarm."""
    from noctis.silence.mutes import parse_until

    record = app.registry.get(facility)
    end = parse_until(until)
    _mutes(app).mute(record.slug, device, end, reason)
    click.echo(f"{plain(device or record.name)}: muted {f'until {moment(end)}' if end else 'for ever'}")


@silence.command()
@click.argument("facility")
@device_option
@click.pass_obj
def unmute(app: App, facility: str, device: str) -> None:
    """Take back what was said to the silence of FACILITY: neither acknowledged nor muted any more."""
    record = app.registry.get(facility)
    _mutes(app).unmute(record.slug, device)
    click.echo(f"{plain(device or record.name)}: alarms again")


def _mutes(app: App) -> "Mutes":
    from noctis.silence.mutes import Mutes

    return Mutes(app.engine(), app.actor)
