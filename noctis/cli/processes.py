"""`noctis supervise` and what belongs to running processes: reload, listen, archiver, supervisorctl."""

import sys
from typing import Any

import click

from noctis.cli.common import App, emit_json, json_option
from noctis.cli.events import note
from noctis.errors import ExitCode, SupervisorError, UsageError

# supervisorctl's actions that change nothing
LOOKING = frozenset({"avail", "fg", "help", "maintail", "pid", "status", "tail", "version", "quit", "exit"})


@click.command()
@click.option("--port", type=int, help="The default listener's port.  [default: 11112]")
@click.option("--ae-title", metavar="AET", help="The server's AE title.  [default: NOCTIS_SERVER]")
@click.option("--bind", metavar="ADDRESS", help="The address to listen on.  [default: 0.0.0.0]")
@click.option("--config", type=click.Path(dir_okay=False), metavar="FILE", help="The configuration file.")
@click.option("--debug", is_flag=True, help="Log more.")
@click.pass_obj
def supervise(
    app: App, port: int | None, ae_title: str | None, bind: str | None, config: str | None, debug: bool
) -> int:
    """Run everything in the foreground: the parent, a listener for each facility, the archiver, the pages, the rest."""
    from noctis.observability.logging import configure
    from noctis.supervisor.parent import supervise as run

    app.config = config or app.config
    app.override({"server": {"port": port, "ae_title": ae_title, "bind": bind}})
    home = app.open_home(create=True)
    configure(app.settings.logging, debug=debug or app.debug, home=home)
    return run(app.settings, [sys.executable, "-m", "noctis", *sys.argv[1:]])


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
@click.pass_obj
def reload(app: App, dry_run: bool, as_json: bool) -> None:
    """Follow the facilities table at once. Says which ports start, stop, are re-bound or refreshed."""
    from noctis.facilities.snapshot import write_if_changed

    app.open_home()
    if not app.control.is_running():
        raise SupervisorError(f"no supervisor runs on {app.home.root}", fix="start it: noctis supervise")
    plan = app.control.plan(app.registry.snapshot())
    if not dry_run:
        write_if_changed(app.home.snapshot, app.registry.snapshot)
        done = app.control.reconcile()
        note(app, "supervisor.reloaded")
        # The parent may have followed by itself between the two calls: what it did is what was planned.
        plan = {name: changes or plan[name] for name, changes in done.items()}
    if as_json:
        emit_json(plan)
        return
    words = {
        "started": ("would start", "started"),
        "stopped": ("would stop", "stopped"),
        "rebound": ("would be re-bound", "re-bound"),
        "refreshed": ("would be refreshed", "refreshed"),
    }
    said = False
    for name, (future, past) in words.items():
        for change in plan[name]:
            said = True
            was = f" (from {change['was']})" if "was" in change else ""
            click.echo(f"port {change['port']}  {change['facility']}: {future if dry_run else past}{was}")
    if not said:
        click.echo("Nothing differs." if dry_run else "Nothing differed.")


@click.command()
@click.argument("facility", required=False)
@click.option("--default", "default", is_flag=True, help="The default listener.")
@click.pass_obj
def listen(app: App, facility: str | None, default: bool) -> int:
    """Run one listener in the foreground without a supervisor, for debugging. Ctrl-C stops it."""
    from noctis.facilities.snapshot import write_if_changed
    from noctis.listener import process
    from noctis.observability.logging import configure
    from noctis.observability.scoreboard import Scoreboard
    from noctis.supervisor.ports import who_listens
    from noctis.supervisor.sockets import listen as bind

    if (facility is None) == (not default):
        raise click.UsageError("name a facility, or say --default")
    registry = app.registry
    record = registry.get(facility) if facility else None
    if record is not None and not record.enabled:
        raise UsageError(f"'{record.name}' is disabled", fix=f"noctis facility enable {record.slug}")
    write_if_changed(app.home.snapshot, registry.snapshot)
    port = record.port if record else app.settings.server.port
    try:
        sock = bind(app.settings.server.bind, port, app.settings.listeners.backlog)
    except OSError as error:
        holders = ", ".join(map(str, who_listens(port)))
        raise SupervisorError(
            f"port {port} cannot be bound: {error.strerror}" + (f"; it is held by {holders}" if holders else ""),
            fix="stop the program that holds it, or the supervisor",
        ) from error
    configure(app.settings.logging, debug=app.debug, home=app.home)
    return process.run(sock, app.settings, record.slug if record else None, Scoreboard(), foreground=True)


@click.command()
@click.pass_obj
def archiver(app: App) -> int:
    """Run the archiver in the foreground without a supervisor, for debugging. Ctrl-C stops it."""
    from noctis.archiver import service
    from noctis.observability.logging import configure
    from noctis.observability.scoreboard import Scoreboard

    app.engine()
    configure(app.settings.logging, debug=app.debug, home=app.home)
    return service.run(app.settings, Scoreboard())


@click.group(invoke_without_command=True)
@click.pass_context
def web(ctx: click.Context) -> int | None:
    """Run the operator's pages in the foreground without a supervisor. Ctrl-C stops them."""
    from noctis.observability.logging import configure
    from noctis.observability.scoreboard import Scoreboard
    from noctis.web import service

    if ctx.invoked_subcommand is not None:
        return None
    app: App = ctx.obj
    app.prepare()
    app.engine()
    configure(app.settings.logging, debug=app.debug, home=app.home)
    return service.run(app.settings, Scoreboard())


@web.command()
@click.pass_obj
def link(app: App) -> int:
    """Print the one-time link with which the first admin is made."""
    from noctis.users.accounts import Accounts
    from noctis.web.service import setup_link

    if not Accounts(app.engine(), app.actor).is_empty():
        click.echo(f"There are users already; log in: {app.settings.web_url}/login   (noctis user list)")
        return ExitCode.FOUND_WRONG
    click.echo(setup_link(app.settings))
    return ExitCode.DONE


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": [], "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def supervisorctl(app: App, arguments: tuple[str, ...]) -> int:
    """supervisor's own control: status, restart GROUP:*, stop GROUP:*, reload … (noctis supervisorctl help)."""
    from supervisor.supervisorctl import main

    from noctis.supervisor.control import control_url

    app.open_home()
    if not app.control.is_running():
        raise SupervisorError(f"no supervisor runs on {app.home.root}", fix="start it: noctis supervise")
    if not arguments or arguments[0] not in LOOKING:
        note(app, "supervisorctl.called", " ".join(arguments) or "(interactive)")
    try:
        with control_url(app.home) as url:
            main(["-s", url, *arguments])
    except SystemExit as stop:
        code: Any = stop.code
        return code if isinstance(code, int) else ExitCode.DONE
    return ExitCode.DONE
