"""`noctis backup` and `noctis restore`: the whole home, while images flow, and back into an empty one."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from noctis.cli.archive import progress_bar
from noctis.cli.common import App, emit_json, json_option, plain
from noctis.config import find_config, load_settings
from noctis.errors import ConfigError, ExitCode
from noctis.text import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noctis.backup.make import Problem

PROBLEMS_SHOWN = 50


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Remove all but the latest N backups in DIR.")
@click.option(
    "--link",
    is_flag=True,
    help="Hard links to the archive's files instead of copies: no protection against a failing disk.",
)
@json_option
@click.pass_obj
def backup(app: App, folder: Path, keep: int | None, link: bool, as_json: bool) -> int:
    """Save everything into DIR, while images arrive: index, archive, quarantine, spool, receipts, configuration,
    certificates.

    Each backup is a folder of its own in DIR, named by its time (UTC); files that did not change are shared with the
    backup before. Exit code 1 when a file is missing or damaged; the rest is saved all the same.
    """
    from noctis import priority
    from noctis.backup.make import backup as make

    engine = app.engine()
    config = find_config(app.config, app.home_option)
    priority.lower()
    with progress_bar("saving") as update:
        result = make(
            app.settings,
            engine,
            folder.absolute(),
            config=config,
            link=link,
            keep=keep,
            actor=app.actor,
            progress=update,
        )
    if as_json:
        emit_json(result.as_json())
    else:
        shared = f"{result.unchanged} unchanged" + (f", {result.linked} linked" if link else "")
        click.echo(
            f"{folder.absolute() / result.generation}: {result.instances} instances ({result.copied} copied, "
            f"{size(result.bytes)}; {shared}), {result.spool} from the spool, {result.quarantine} in quarantine, "
            f"{result.receipts} receipts."
        )
        if result.pruned:
            click.echo(f"Removed: {', '.join(result.pruned)}")
        tell(result.problems, result.problem_count)
    return ExitCode.FOUND_WRONG if result.problem_count else ExitCode.DONE


def tell(problems: "Sequence[Problem]", count: int) -> None:
    for each in problems[:PROBLEMS_SHOWN]:
        click.secho(f"  {each.kind} {plain(each.path)}: {plain(each.detail)}", fg="red", err=True)
    if count > PROBLEMS_SHOWN:
        click.secho(f"  … and {count - PROBLEMS_SHOWN} more (--json lists them)", fg="red", err=True)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--generation", metavar="NAME", help="Which backup in DIR.  [default: the latest]")
@click.option("--database-url", metavar="URL", help="An empty PostgreSQL database.  [default: SQLite in the home]")
@json_option
@click.pass_obj
def restore(app: App, folder: Path, generation: str | None, database_url: str | None, as_json: bool) -> int:
    """Restore a backup of DIR into an empty home: noctis --home NEW restore DIR. Then the archive is verified.

    Exit code 1 when something in the backup is missing or damaged; the rest is restored all the same.
    """
    from dataclasses import asdict

    from noctis.backup.generations import find
    from noctis.backup.restore import differences
    from noctis.backup.restore import restore as bring_back
    from noctis.cli.common import become
    from noctis.db.engine import make_engine
    from noctis.repository.verify import verify

    told: dict[tuple[str, ...], str] = {}
    if database_url:
        app.override({"database": {"url": database_url}})
        told["database", "url"] = database_url
    settings = app.settings
    if settings.storage.media is not None:
        told["storage", "media"] = str(settings.paths.media)
    if settings.receipts.folder is not None:
        told["receipts", "folder"] = str(settings.receipts.folder)
    source = find(folder.absolute(), generation)
    if app.home.root.is_dir():
        become(app.home.root.stat())
    engine = make_engine(settings, pooled=False)
    click.get_current_context().call_on_close(engine.dispose)
    with progress_bar("restoring") as update:
        result = bring_back(settings, engine, source, told=told, actor=app.actor, progress=update)
    with progress_bar("verifying") as update:
        report = verify(settings, engine, update)
    missing = {each.path.partition("/")[2] for each in result.problems}
    others = [each for each in report.findings if each.subject not in missing]
    try:
        now = load_settings(app.config, {"home": str(app.home.root)})
        result.differences = differences(source, now)
        in_force = find_config(app.config, app.home.root)
        if result.config and in_force is not None and str(in_force) != result.config:
            result.differences.insert(0, f"{in_force} is in force, not {result.config}: compare the two")
    except ConfigError as error:
        result.differences = [error.message]
    if as_json:
        emit_json(result.as_json() | {"verify": asdict(report) | {"sound": report.sound}})
    else:
        click.echo(
            f"{source} of {result.made} is restored into {app.home.root}: {result.instances} instances, "
            f"{result.spool} in the spool, {result.quarantine} in quarantine, {result.receipts} receipts."
        )
        if result.config:
            click.echo(f"The configuration: {result.config}")
        for line in result.differences:
            click.echo(f"  check: {plain(line)}")
        tell(result.problems, result.problem_count)
        for each in others[:PROBLEMS_SHOWN]:
            click.secho(f"  {each.kind} {plain(each.subject)}: {plain(each.detail)}", fg="red", err=True)
        if not others:
            click.echo("archive verify finds nothing else." if missing else "archive verify finds nothing wrong.")
        click.echo(f"Start it: noctis --home {app.home.root} supervise")
    return ExitCode.FOUND_WRONG if result.problem_count or not report.sound else ExitCode.DONE
