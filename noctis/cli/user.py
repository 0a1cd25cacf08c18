"""`noctis user`: who may log in to the pages."""

import sys
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_table
from noctis.cli.token import token
from noctis.errors import UsageError
from noctis.text import ago, moment
from noctis.users.roles import Role

if TYPE_CHECKING:
    from noctis.users.accounts import AccountRecord, Accounts

PIPED_MAX = 5000  # characters of standard input

role_type = click.Choice([str(role) for role in Role])
password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input: its first line."
)


@click.group()
def user() -> None:
    """Add, change, list and remove users. Roles: admin, operator, viewer, and facility, which sees one facility."""


def _accounts(app: App) -> "Accounts":
    from noctis.users.accounts import Accounts

    return Accounts(app.engine(), app.actor)


def _password(piped: bool, name: str) -> str:
    """A password, typed twice without being shown, or the first line of standard input.

    Raises
    ------
    UsageError
        Nobody can type it here.
    """
    if piped:
        return sys.stdin.readline(PIPED_MAX).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to type a password on", fix=f"noctis {name} --password-stdin <FILE")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt="Password, again", err=True)
    return typed


def _slug(app: App, facility: str | None) -> str | None:
    return app.registry.get(facility).slug if facility else None


@user.command()
@click.argument("name")
@click.option("--role", type=role_type, help="What the user may do.  [default: viewer, or facility with --facility]")
@click.option("--facility", metavar="FACILITY", help="The only facility that a user of the role facility sees.")
@click.option("--email", metavar="ADDRESS", help="Where the user is written to.")
@password_stdin
@json_option
@click.pass_obj
def add(
    app: App,
    name: str,
    role: str | None,
    facility: str | None,
    email: str | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add a user. The password is asked for, twice."""
    from noctis.users import setup
    from noctis.users.accounts import check_email, check_name

    app.prepare()
    accounts = _accounts(app)
    check_name(name)  # before somebody types a password in vain
    check_email(email)
    chosen = Role(role) if role else Role.FACILITY if facility else Role.VIEWER
    if (chosen == Role.FACILITY) != (facility is not None):
        raise UsageError("the role 'facility', and no other, has a facility", fix="--role facility --facility NAME")
    slug = _slug(app, facility)
    password = _password(password_stdin, f"user add {name}")
    account = accounts.add(name, password, chosen, facility=slug, email=email)
    setup.forget(app.home)  # there is somebody now
    if as_json:
        emit_json(account.as_json())
    else:
        click.echo(f"The user {plain(account.name)} is added: {_role(account)}")


@user.command()
@click.argument("name")
@password_stdin
@click.pass_obj
def passwd(app: App, name: str, password_stdin: bool) -> None:
    """Set a user's password. It is asked for, twice; the user is logged out everywhere, and a lock ends.

    The user's API tokens end too: this is what one does when somebody else may have had the account. Who changes their
    own password, on the page Account, keeps them.
    """
    accounts = _accounts(app)
    found = accounts.get(name).name
    accounts.set_password(found, _password(password_stdin, f"user passwd {name}"))
    click.echo(f"The password of {plain(found)} is set; {plain(found)} is logged out everywhere, API tokens are ended")


@user.command()
@click.argument("name")
@click.option("--role", type=role_type, help="What the user may do.")
@click.option("--facility", metavar="FACILITY", help="The only facility that a user of the role facility sees.")
@click.option("--email", metavar="ADDRESS", help="Where the user is written to; '' for nowhere.")
@click.option("--unlock", is_flag=True, help="Forget the wrong passwords.")
@json_option
@click.pass_obj
def edit(
    app: App, name: str, role: str | None, facility: str | None, email: str | None, unlock: bool, as_json: bool
) -> None:
    """Change a user's role, facility or e-mail address. Another role or facility logs the user out."""
    from noctis.users.accounts import KEEP

    if role is None and facility is None and email is None and not unlock:
        raise click.UsageError("nothing to change; see: noctis user edit --help")
    accounts = _accounts(app)
    changes: dict[str, Any] = {"facility": _slug(app, facility) if facility else KEEP}
    changes["email"] = KEEP if email is None else email
    changes["role"] = Role(role) if role else Role.FACILITY if facility else None
    if unlock:
        accounts.unlock(name)
    account = accounts.get(name)
    if role is not None or facility is not None or email is not None:
        account = accounts.edit(name, **changes)
    if as_json:
        emit_json(account.as_json())
    else:
        click.echo(f"The user {plain(account.name)} is changed: {_role(account)}")


@user.command("list")
@json_option
@click.pass_obj
def list_(app: App, as_json: bool) -> None:
    """List the users."""
    records = _accounts(app).all()
    if as_json:
        emit_json([each.as_json() for each in records])
        return
    show_table(
        ["user", "role", "facility", "e-mail", "last login", "locked until"],
        [
            [each.name, each.role, each.facility or "", each.email or "", ago(each.last_login), _locked(each)]
            for each in records
        ],
        empty="No user yet. Add one: noctis user add NAME --role admin",
    )


@user.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(app: App, name: str, yes: bool) -> None:
    """Remove a user, with the user's API tokens. The last admin stays."""
    accounts = _accounts(app)
    found = accounts.get(name).name
    if not yes:
        click.confirm(f"Remove the user {plain(found)}?", abort=True, err=True)
    accounts.remove(found)
    click.echo(f"The user {plain(found)} is removed")


user.add_command(token)


def _role(account: "AccountRecord") -> str:
    return f"{account.role} of {plain(account.facility)}" if account.facility else str(account.role)


def _locked(account: "AccountRecord") -> str:
    from datetime import UTC, datetime

    locked = account.locked_until
    return moment(locked) if locked and locked > datetime.now(UTC) else ""
