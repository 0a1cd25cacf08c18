"""`noctis notification`: what somebody was told of, what could not be delivered, and a test."""

import click

from noctis.cli.common import App, emit_json, json_option, show_table
from noctis.cli.study import limit_option
from noctis.text import moment

STATES = ("pending", "sent", "dead", "discarded")


@click.group()
def notification() -> None:
    """Who is told of what, and what became of it."""


@notification.command("list")
@click.option("--state", type=click.Choice(STATES), multiple=True, help="dead: what was given up. Again for several.")
@limit_option
@json_option
@click.pass_obj
def list_notifications(app: App, state: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List deliveries, the latest first."""
    from noctis.notify.queries import deliveries
    from noctis.notify.rules import Rules

    engine = app.engine()
    rows = deliveries(engine, limit, states=state, rules=Rules(engine, app.settings, app.actor).all()).rows
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["id#", "at", "what", "to", "state", "attempts#", "again at", "last error"],
        [
            [
                row["id"],
                moment(row["at"]),
                row["sentence"],
                row["address"],
                row["state"],
                row["attempts"],
                moment(row["next_attempt_at"]) if row["state"] == "pending" else "",
                row["last_error"],
            ]
            for row in rows
        ],
        empty="No delivery.",
    )


@notification.command()
@json_option
@click.pass_obj
def rules(app: App, as_json: bool) -> None:
    """List the rules, those of the configuration first. Secrets are never shown."""
    from noctis.notify.rules import Rules, masked

    found = Rules(app.engine(), app.settings, app.actor).all()
    if as_json:
        emit_json([rule.as_json(whole=False) for rule in found])
        return
    show_table(
        ["rule", "from", "of what", "facility", "webhook", "e-mail", "state"],
        [
            [
                rule.name,
                rule.origin,
                " ".join(rule.kinds),
                rule.facility or "all",
                masked(rule.url),
                " ".join(rule.recipients),
                "on" if rule.enabled else "off",
            ]
            for rule in found
        ],
        empty="There is no rule: nobody is told of anything.",
    )


@notification.command()
@click.argument("rule")
@click.pass_obj
def test(app: App, rule: str) -> None:
    """Send a test to everybody whom RULE tells. The notifier sends it; `noctis notification list` shows the result."""
    from noctis.notify.rules import Rules
    from noctis.notify.testing import send_test

    engine = app.engine()
    found = Rules(engine, app.settings, app.actor).get(rule)
    click.echo(f"The test {send_test(engine, found, app.actor)} is on its way to {len(found.addresses)} receivers.")


@notification.command()
@click.argument("delivery", type=click.IntRange(1))
@click.pass_obj
def retry(app: App, delivery: int) -> None:
    """Try DELIVERY (an id of `noctis notification list`) again, now; one that was given up too."""
    from noctis.notify.outbox import retry

    retry(app.engine(), delivery, app.actor)
    click.echo("It is tried again now.")


@notification.command()
@click.argument("delivery", type=click.IntRange(1))
@click.pass_obj
def discard(app: App, delivery: int) -> None:
    """Give DELIVERY up for good."""
    from noctis.notify.outbox import discard

    discard(app.engine(), delivery, app.actor)
    click.echo("It is discarded.")
