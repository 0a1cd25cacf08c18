"""`noctis refusal`, `association`, `event`: who was turned away, who came, what an operator did."""

import json

import click

from noctis.cli.common import App, emit_json, json_option, show_table
from noctis.cli.study import facility_option, limit_option
from noctis.text import moment, size


@click.group()
def refusal() -> None:
    """Callers that were turned away, and the command that would let each in."""


@refusal.command("list")
@limit_option
@json_option
@click.pass_obj
def list_refusals(app: App, limit: int, as_json: bool) -> None:
    """List refusals, the latest first. Repeats are counted."""
    from noctis.repository.queries import refusals

    rows = refusals(app.engine(), limit)
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["last seen", "count#", "port#", "called", "calling", "from", "reason", "what would let it in"],
        [
            [
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
    from noctis.repository.queries import events

    facility_id = app.registry.get(facility).id if facility else None
    rows = events(app.engine(), limit, facility_id=facility_id, action=action)
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
