"""What every command shares: the settings, the database, the supervisor; how answers and errors are shown."""

import json
import os
import pwd
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

import noctis
from noctis.config import Settings, home_is_explicit, load_settings
from noctis.errors import ExitCode, HomeError, NoctisError, SupervisorError
from noctis.home import Home, actor, user_name

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Engine

    from noctis.facilities.registry import Registry
    from noctis.facilities.snapshot import SnapshotReader
    from noctis.supervisor.control import Control

MAKE_A_HOME = "name the right one with --home DIR or NOCTIS_HOME=DIR; make one with ./scripts/run or noctis db upgrade"
PIPE_WIDTH = 10_000  # columns
CAUSE_MAX = 300  # characters
_UNUSUAL = re.compile(r"[^\n -~]")


class App:
    """One call of the command: everything is made when it is first needed."""

    def __init__(self, config: str | None, home: str | None, debug: bool) -> None:
        self.config = config
        self.home_option = home
        self.debug = debug
        self.actor = actor()
        self._options: dict[str, Any] = {}
        self._engine: Engine | None = None

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
        """The home, as the user whom it belongs to, its folders complete.

        Parameters
        ----------
        create
            Make it when there is none yet.

        Raises
        ------
        HomeError
            There is none here, or it is somebody else's.
        """
        home = self.home
        if home.root.is_dir():
            become(home.root.stat())
        if not create and not _is_home(home):
            raise HomeError(f"there is no Noctis home at {home.root}", fix=MAKE_A_HOME)
        home.create()
        return home

    def engine(self) -> "Engine":
        """The database, with this release's schema; anything else is refused with the command that mends it."""
        if self._engine is None:
            from noctis.db import migrate
            from noctis.db.engine import make_engine

            self.open_home()
            engine = make_engine(self.settings)
            click.get_current_context().call_on_close(engine.dispose)
            migrate.require_current(engine, self.home)
            self._engine = engine
        return self._engine

    def prepare(self) -> None:
        """Make what is missing of a home that somebody named, and of its database: for the first commands of all."""
        from noctis.db import migrate
        from noctis.db.engine import make_engine
        from noctis.facilities.recover import upgrade

        self.open_home(create=home_is_explicit(self.settings))
        engine = make_engine(self.settings, pooled=False)
        try:
            if migrate.schema_state(engine).current is None:
                self.tell_recovered(upgrade(engine, self.settings, self.actor, event=False).recovered, err=True)
        finally:
            engine.dispose()

    def tell_recovered(self, count: int, *, err: bool = False) -> None:
        """Tell that facilities were taken from the last snapshot (`facilities.recover`), where any were."""
        if count:
            click.echo(
                f"{count} facilities are taken from {self.home.snapshot}; their contact data is not in it.", err=err
            )

    @cached_property
    def registry(self) -> "Registry":
        from noctis.facilities.registry import Registry

        return Registry(self.engine(), self.running_settings, actor=self.actor)

    @cached_property
    def snapshots(self) -> "SnapshotReader":
        """The facilities as listeners know them: no database is asked."""
        from noctis.facilities.snapshot import SnapshotReader

        return SnapshotReader(self.home.snapshot)

    @cached_property
    def running_settings(self) -> Settings:
        """The settings as a running supervisor has them: its port and AE title may be from its own command line."""
        try:
            default = self.control.listener(None)
        except NoctisError:
            default = None
        if default is None:
            return self.settings
        server = self.settings.server.model_copy(update={"port": default["port"], "ae_title": default["ae_title"]})
        return self.settings.model_copy(update={"server": server})

    @cached_property
    def control(self) -> "Control":
        from noctis.supervisor.control import Control

        return Control(self.home)

    def follow(self) -> bool:
        """`Control.follow`; a supervisor that does not answer is told of, and is no failure."""
        try:
            return self.control.follow(self.registry.snapshot)
        except SupervisorError as error:
            click.echo(f"noctis: {plain(error.message)}; it will follow by itself", err=True)
            return False


def _is_home(home: Home) -> bool:
    """Whether the folder was made by Noctis; one that we may not look into is told about when it is opened."""
    if home.root.is_dir() and not os.access(home.root, os.W_OK | os.X_OK):
        return True
    return any(path.exists() for path in (home.run, home.spool, home.sqlite))


def become(owner: os.stat_result) -> None:
    """Root becomes the home's owner, so that no file of root's ever lies in it.

    Raises
    ------
    HomeError
        This root may not (a container without the capability), or the owner may not read this installation.
    """
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    name = user_name(owner.st_uid)
    try:
        try:
            user = pwd.getpwuid(owner.st_uid)
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
        except KeyError:  # a user of another machine, known by number alone
            os.setgroups([])
            os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    except OSError as error:
        raise HomeError(
            f"the home belongs to {name}, and root cannot become {name} here", fix=f"run as {name}"
        ) from error
    for module in (os, click, noctis):  # Python's own folder, the packages', ours: more is imported from them later
        if not os.access(str(module.__file__), os.R_OK):
            raise HomeError(
                f"the home belongs to {name}, who may not read {module.__file__}",
                fix=f"install Noctis where {name} can read it, for example with ./scripts/install-systemd",
            )


def log_to_stderr(*, debug: bool) -> None:
    """What a command logs is not its answer. The processes, `supervise` and its like, set up their own logs."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.ERROR),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


# -- answers


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(function)


def emit_json(document: Any, *, indent: int | None = 2) -> None:
    """Text as it is, so that it can be read; what a terminal would obey is escaped as JSON has it."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, default=str)
    click.echo(_UNUSUAL.sub(lambda hit: hit[0] if _harmless(hit[0]) else json.dumps(hit[0])[1:-1], text))


def console() -> "Console":
    """Where tables go. On no terminal lines are as long as they are: nothing is folded for whoever reads a pipe."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else PIPE_WIDTH, soft_wrap=not terminal, highlight=False)


def _harmless(character: str) -> bool:
    """Neither a control character nor one that turns the direction of what follows; every space is harmless."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def plain(value: object) -> str:
    """Text for a terminal: what came over the wire, or from a file system, may hold control characters."""
    text = "" if value is None else str(value)
    return "".join(each if _harmless(each) else each.encode("unicode_escape").decode() for each in text)


def safe(value: object) -> str:
    """`plain`, for where rich would take markup."""
    from rich.markup import escape

    return escape(plain(value))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or a sentence where there is nothing to list. A column that ends in # has numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rstrip("#"), justify="right" if column.endswith("#") else "left", overflow="fold")
    listed = 0
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
        listed += 1
    if listed:
        console().print(table)
    else:
        click.echo(empty)


def show_fields(fields: dict[str, object]) -> None:
    """One thing: a line for each of its fields that has a value."""
    from rich.text import Text

    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value not in (None, "", [], ()):
            console().print(Text.assemble((name.ljust(width), "bold"), "  ", plain(value)))


# -- errors


def report(error: Exception, *, debug: bool) -> int:
    """Tell an error and what caused it; the exit code."""
    if debug:
        traceback.print_exception(error)
    if not isinstance(error, NoctisError):
        what = " ".join(f"{type(error).__name__}: {error}".split())
        click.secho(f"noctis: this is a fault in Noctis: {plain(what)}", fg="red", err=True)
        click.echo("  fix: run it again as: noctis --debug …; report what it prints", err=True)
        return ExitCode.SOFTWARE
    first, *rest = error.message.splitlines() or [""]
    click.secho(f"noctis: {plain(first)}", fg="red", err=True)
    for line in rest:
        click.secho(plain(line), fg="red", err=True)
    for text in causes(error):
        click.echo(f"  caused by: {plain(text)}", err=True)
    if error.fix:
        click.echo(f"  fix: {plain(error.fix)}", err=True)
    return error.exit_code


# What SQLAlchemy puts around a driver's message: its class, and the address of a page.
WRAPPED = re.compile(r"^\([\w.]+\) | \(Background on this error at: \S+\)$")


def causes(error: BaseException) -> Iterator[str]:
    """What led to an error, as far as its message does not say it already."""
    cause = error.__cause__
    while cause is not None:
        text = WRAPPED.sub("", " ".join(str(cause).split()))
        if text and text not in str(error):
            yield text if len(text) <= CAUSE_MAX else f"{text[:CAUSE_MAX]} …"
        cause = cause.__cause__
