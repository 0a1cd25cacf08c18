"""`noctis refusal`, `association`, `event`: who was turned away, who came, what an operator did."""

import json
from itertools import islice

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_table
from noctis.cli.study import facility_option, limit_option
from noctis.text import moment, size


@click.group()
def refusal() -> None:
    """Callers that were turned away, and letting them in."""


@refusal.command("list")
@limit_option
@json_option
@click.pass_obj
def list_refusals(app: App, limit: int, as_json: bool) -> None:
    """List refusals, the latest first. Repeats are counted."""
    from noctis.repository.refusals import RefusalFilter, page

    rows = page(app.engine(), RefusalFilter(), limit).rows
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["id#", "last seen", "count#", "port#", "called", "calling", "from", "reason", "what would let it in"],
        [
            [
                row["id"],
                moment(row["last_seen"]),
                row["count"],
                row["port"],
                row["called"],
                row["calling"],
                row["address"],
                row["reason"],
                row["fix"],
            ]
            for row in rows
        ],
        empty="Nobody was turned away.",
    )


@refusal.command("fix")
@click.argument("number", metavar="ID", type=click.IntRange(1, (1 << 63) - 1))
@click.option("--facility", metavar="FACILITY", help="Which one, where the refusal leaves a choice.")
@click.option("--network", metavar="CIDR", help="Where the device may come from; '' for anywhere.")
@click.option("--only-device", is_flag=True, help="Bind a certificate to this calling AE title alone.")
@json_option
@click.pass_obj
def fix_refusal(
    app: App, number: int, facility: str | None, network: str | None, only_device: bool, as_json: bool
) -> None:
    """Let in who was turned away: add the device, allow its network, enable the facility, bind the certificate."""
    from noctis.facilities.certificates import CertificateRegistry
    from noctis.facilities.mending import mend

    registry = CertificateRegistry(app.engine(), app.running_settings, actor=app.actor)
    slug = registry.get(facility).slug if facility else None
    mended = mend(
        app.engine(),
        app.running_settings,
        registry,
        app.follow,
        number,
        app.actor,
        facility=slug,
        network=network,
        only_device=only_device,
    )
    if as_json:
        emit_json({"facility": mended.facility, "done": mended.words})
    else:
        click.echo(f"{plain(mended.words)}.")


@refusal.command("dismiss")
@click.argument("numbers", metavar="ID...", nargs=-1, required=True, type=click.IntRange(1, (1 << 63) - 1))
@json_option
@click.pass_obj
def dismiss_refusals(app: App, numbers: tuple[int, ...], as_json: bool) -> None:
    """Put refusals away. A caller that comes again has a line again."""
    from noctis.repository.refusals import dismiss

    dismissed = dismiss(app.engine(), numbers, app.actor)
    if as_json:
        emit_json({"dismissed": dismissed})
    else:
        click.echo(f"{dismissed} dismissed")


@click.group()
def association() -> None:
    """Associations that were served."""


@association.command("list")
@facility_option
@limit_option
@json_option
@click.pass_obj
def list_associations(app: App, facility: str | None, limit: int, as_json: bool) -> None:
    """List associations, the latest first."""
    from noctis.repository.queries import associations

    facility_id = app.registry.get(facility).id if facility else None
    rows = associations(app.engine(), limit, facility_id=facility_id)
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["ended", "facility", "called", "calling", "from", "instances#", "size#", "failures#", "echoes#", "outcome"],
        [
            [
                moment(row["ended_at"]),
                row["facility"],
                row["called"],
                row["calling"],
                row["address"],
                row["instances"],
                size(row["bytes"]),
                row["failures"],
                row["echoes"],
                row["outcome"],
            ]
            for row in rows
        ],
        empty="No association yet.",
    )


@click.group()
def event() -> None:
    """What operators did, and what the system did of its own that they must know."""


@event.command("list")
@facility_option
@click.option(
    "--action", metavar="TEXT", help="Actions that are this or begin with it, such as query or facility.added."
)
@limit_option
@json_option
@click.pass_obj
def list_events(app: App, facility: str | None, action: str | None, limit: int, as_json: bool) -> None:
    """List events, the latest first."""
    from noctis.repository.events import EventFilter, stream

    facility_id = app.registry.get(facility).id if facility else None
    rows = list(islice(stream(app.engine(), EventFilter(facility_id=facility_id, action=action)), limit))
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["at", "who", "what", "subject", "detail"],
        [
            [
                moment(row["at"]),
                row["actor"],
                row["action"],
                row["subject"],
                json.dumps(row["detail"], ensure_ascii=False),
            ]
            for row in rows
        ],
        empty="No event yet.",
    )
