"""`noctis user token`: what programs show to the API in place of a password."""

from typing import TYPE_CHECKING

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_table
from noctis.text import ago, moment

if TYPE_CHECKING:
    from noctis.users.tokens import TokenRecord, Tokens


@click.group()
def token() -> None:
    """Make, list and remove API tokens. Programs send them: Authorization: Bearer noctis_..."""


def _tokens(app: App) -> "Tokens":
    from noctis.users.tokens import Tokens

    return Tokens(app.engine(), app.actor)


@token.command()
@click.argument("account")
@click.option("--name", required=True, metavar="TEXT", help="What the token is for.")
@click.option("--expires", type=int, metavar="DAYS", help="For how many days it is good.  [default: until removed]")
@click.option("--read-only", is_flag=True, help="It changes nothing; else it may what its user may.")
@json_option
@click.pass_obj
def add(app: App, account: str, name: str, expires: int | None, read_only: bool, as_json: bool) -> None:
    """Make a token of the user ACCOUNT. It is shown this once, alone on standard output."""
    made = _tokens(app).add(account, name, days=expires, read_only=read_only)
    if as_json:
        emit_json(made.record.as_json() | {"token": made.secret})
        return
    record = made.record
    ends = f"until {moment(record.expires_at)}" if record.expires_at else "until it is removed"
    click.echo(
        f"Token {record.id} of {plain(record.account)}, {_may(record)}, {ends}. It is not shown again:", err=True
    )
    click.echo(made.secret)


@token.command("list")
@click.argument("account", required=False)
@json_option
@click.pass_obj
def list_(app: App, account: str | None, as_json: bool) -> None:
    """List the tokens of the user ACCOUNT, or of all users. The tokens themselves are kept nowhere."""
    records = _tokens(app).all(account)
    if as_json:
        emit_json([each.as_json() for each in records])
        return
    show_table(
        ["id#", "user", "name", "may", "made", "ends", "last used", "from"],
        [
            [
                each.id,
                each.account,
                each.name,
                _may(each),
                moment(each.created_at),
                ("ended " if each.is_expired else "") + (moment(each.expires_at) if each.expires_at else "never"),
                ago(each.last_used),
                each.address,
            ]
            for each in records
        ],
        empty="No token. Make one: noctis user token add ACCOUNT --name TEXT",
    )


@token.command()
@click.argument("token_id", metavar="ID", type=int)
@click.pass_obj
def remove(app: App, token_id: int) -> None:
    """End a token, at once: whatever uses it is refused from then on."""
    record = _tokens(app).remove(token_id)
    click.echo(f"Token {record.id} of {plain(record.account)}, {plain(record.name)}, is removed")


def _may(record: "TokenRecord") -> str:
    return "read" if record.read_only else "what the user may"
