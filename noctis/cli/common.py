"""What every command shares: the settings, the database, the supervisor; how answers and errors are shown."""

import json
import os
import pwd
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from noctis.config import Settings, home_is_explicit, load_settings
from noctis.errors import ExitCode, HomeError, NoctisError
from noctis.home import Home

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Engine

    from noctis.facilities.registry import Registry
    from noctis.supervisor.control import Control


class App:
    """One call of the command: everything is made when it is first needed."""

    def __init__(self, config: str | None, home: str | None, debug: bool) -> None:
        self.config = config
        self.home_option = home
        self.debug = debug
        self._options: dict[str, Any] = {}

    def override(self, options: dict[str, Any]) -> None:
        """Command-line options over file and environment; before `settings` is first read."""
        self._options = options

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.config, {"home": self.home_option, **self._options})

    @property
    def home(self) -> Home:
        return self.settings.paths

    def open_home(self, *, create: bool = False) -> Home:
        """The home, as the user whom it belongs to; made when it was named or is to be created.

        Raises
        ------
        HomeError
            There is none here, and nobody named one.
        """
        home = self.home
        if home.root.is_dir():
            become(home.root.stat().st_uid)
        elif not create and not home_is_explicit(self.settings):
            raise HomeError(
                f"there is no Noctis home at {home.root}",
                fix="name it: --home DIR or NOCTIS_HOME=DIR; or make one: ./scripts/run, or noctis db upgrade",
            )
        home.create()
        return home

    def engine(self) -> "Engine":
        """The database, migrated; one without tables gets them, an older one is refused with the command."""
        from noctis.db import migrate
        from noctis.db.engine import make_engine

        self.open_home()
        engine = make_engine(self.settings)
        if migrate.schema_state(engine).current is None:
            migrate.upgrade(engine)
        migrate.require_current(engine)
        click.get_current_context().call_on_close(engine.dispose)
        return engine

    @cached_property
    def registry(self) -> "Registry":
        from noctis.facilities.registry import Registry

        return Registry(self.engine(), self.settings, actor=actor())

    @cached_property
    def control(self) -> "Control":
        from noctis.supervisor.control import Control

        return Control(self.home)

    def follow(self) -> bool:
        """After a change of the facilities: tell the listeners, and the supervisor if one runs; whether one does."""
        from noctis.facilities.snapshot import write_if_changed

        write_if_changed(self.home.snapshot, self.registry.snapshot)
        if not self.control.is_running():
            return False
        self.control.reconcile()
        return True


def actor() -> str:
    """Who gives the command, for the events: the login behind sudo, else the user."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def become(uid: int) -> None:
    """Root becomes the home's owner, so that no file of root's ever lies in it."""
    if os.geteuid() == 0 and uid != 0:
        try:
            user = pwd.getpwuid(uid)
        except KeyError:
            return
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(uid)


# -- answers


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(function)


def emit_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200, soft_wrap=not sys.stdout.isatty(), highlight=False)


def safe(value: object) -> str:
    """Text for a terminal: what came over the wire may hold control characters, and rich's markup."""
    from rich.markup import escape

    text = "" if value is None else str(value)
    return escape("".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or a sentence where there is nothing to list. A column that ends in # has numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rstrip("#"), justify="right" if column.endswith("#") else "left", overflow="fold")
    listed = 0
    for row in rows:
        table.add_row(*(safe(cell) for cell in row))
        listed += 1
    if listed:
        console().print(table)
    else:
        click.echo(empty)


def show_fields(fields: dict[str, object]) -> None:
    """One thing: a line for each of its fields that has a value."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value not in (None, "", [], ()):
            console().print(f"[bold]{name.ljust(width)}[/bold]  {safe(value)}")


def size(count: int | float | None) -> str:
    """Bytes as people read them."""
    amount = float(count or 0)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def moment(text: object) -> str:
    """A time as people read it: local, to the second."""
    from datetime import datetime

    if not text:
        return ""
    when = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


# -- errors


def report(error: Exception, *, debug: bool) -> int:
    """Tell an error and what caused it; the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, NoctisError):
        click.secho(f"noctis: {error.message}", fg="red", err=True)
        cause = error.__cause__
        while cause is not None and not debug:
            text = " ".join(str(cause).split())
            if text and text not in error.message and len(text) < 300:
                click.echo(f"  caused by: {text}", err=True)
            cause = cause.__cause__
        if error.fix:
            click.echo(f"  fix: {error.fix}", err=True)
        return error.exit_code
    click.secho(f"noctis: this is a fault in Noctis: {type(error).__name__}: {error}", fg="red", err=True)
    click.echo("  fix: run it again with --debug and report what it prints", err=True)
    return ExitCode.SOFTWARE
