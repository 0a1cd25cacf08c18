"""`noctis db`: the schema's version, backup and restore of the index."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from noctis.cli.archive import answer, counts, progress_bar
from noctis.cli.common import App, emit_json, json_option
from noctis.cli.events import note
from noctis.config import home_is_explicit
from noctis.errors import DatabaseError, ExitCode, NoctisError, UpgradingError, UsageError
from noctis.home import whoami

if TYPE_CHECKING:
    from sqlalchemy import Engine


@click.group("db")
def database() -> None:
    """Upgrade, back up and restore the database."""


def connect(app: App, *, create: bool = False) -> "Engine":
    from noctis.db.engine import make_engine

    app.open_home(create=create)
    engine = make_engine(app.settings, pooled=False)
    click.get_current_context().call_on_close(engine.dispose)
    return engine


@database.command()
@click.pass_obj
def upgrade(app: App) -> None:
    """Bring the schema to this release's version; makes home and database when they are missing."""
    from noctis.db import migrate, upgrading
    from noctis.db.upgrading import Progress
    from noctis.facilities import recover

    engine = connect(app, create=True)
    state = migrate.schema_state(engine)
    if state.up_to_date:
        click.echo(f"The database has this release's schema already ({state.head}).")
        return
    if (found := upgrading.under_way(app.home)) is not None:
        raise UpgradingError(found.sentence, fix=found.fix)
    progress = Progress(app.home, state.current, state.head, os.getpid())
    try:
        done = recover.upgrade(engine, app.settings, app.actor, tell=progress.tell)
    finally:
        upgrading.forget(app.home)
    if done.copy is not None:
        click.echo(f"Backed up to {done.copy}")
    click.echo(f"Upgraded from {done.before.current or 'nothing'} to {done.before.head}.")
    app.tell_recovered(done.recovered)


@database.command()
@json_option
@click.pass_obj
def current(app: App, as_json: bool) -> int:
    """Show the schema's version."""
    from noctis.db import migrate

    engine = connect(app)
    state = migrate.schema_state(engine)
    if as_json:
        emit_json({"current": state.current, "head": state.head, "up_to_date": state.up_to_date})
    else:
        click.echo(f"{state.current or 'no tables yet'} (this release: {state.head})")
    return ExitCode.DONE if state.up_to_date else ExitCode.FOUND_WRONG


@database.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(app: App, file: Path) -> None:
    """Copy the database to FILE while it is in use."""
    from noctis.db import migrate

    engine = connect(app)
    migrate.require_current(engine, app.home)
    file = file.absolute()
    if not file.parent.is_dir():
        raise UsageError(f"the folder {file.parent} does not exist")
    if engine.dialect.name == "sqlite":
        migrate.backup_sqlite(sqlite_path(engine), file)
    else:
        run_tool("pg_dump", engine, "--format=custom", f"--file={file}")
    note(app, "database.backed_up", str(file))
    click.echo(f"Backed up to {file} ({file.stat().st_size} bytes).")


@database.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def restore(app: App, file: Path) -> None:
    """Put the database of FILE in place of the present one, which is kept beside it. Stop Noctis first."""
    from noctis.db import migrate

    engine = connect(app, create=home_is_explicit(app.settings))
    file = file.absolute()
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    refuse_while_running(app)
    if engine.dialect.name == "sqlite":
        restore_sqlite(sqlite_path(engine), file)
    else:
        run_tool(
            "pg_restore",
            engine,
            "--clean",
            "--if-exists",
            "--no-owner",
            "--single-transaction",
            "--dbname",
            postgres_url(engine),
            str(file),
        )
    state = migrate.schema_state(engine)
    note(app, "database.restored", str(file), schema=state.current)
    click.echo(f"Restored from {file}." + ("" if state.up_to_date else " Its schema is older: noctis db upgrade"))
    click.echo(
        "What was filed since is in the archive, not in this index: noctis archive verify, noctis archive reindex"
    )


@database.command()
@click.pass_obj
def rebuild(app: App) -> int:
    """Make a new database from the archive's files and the last snapshot of the facilities. Stop Noctis first.

    For a database that is damaged and has no backup. A SQLite file is kept beside the new one. Not in the files, and
    so lost: the facilities' contact data, removed facilities, the ledgers of associations and refusals, events.
    """
    from noctis.db import migrate
    from noctis.facilities import recover
    from noctis.repository.verify import reindex

    engine = connect(app, create=home_is_explicit(app.settings))
    refuse_while_running(app)
    if engine.dialect.name == "sqlite":
        for kept in set_sqlite_aside(sqlite_path(engine), "before-rebuild"):
            click.echo(f"Kept as {kept}")
    elif migrate.schema_state(engine).current is not None:
        raise DatabaseError(
            "the database has tables; only an empty one is filled",
            fix="make an empty database and name it in database.url; or: noctis archive reindex",
        )
    app.tell_recovered(recover.upgrade(engine, app.settings, app.actor, event=False).recovered)
    with progress_bar("indexing") as update:
        report = reindex(app.settings, engine, update)
    note(app, "database.rebuilt", **counts(report))
    return answer(report, False, f"{report.rows} instances are indexed anew from {report.files} files.")


def refuse_while_running(app: App) -> None:
    if app.control.is_running():
        raise DatabaseError(f"a supervisor runs on {app.home.root}", fix="stop it first: systemctl stop noctis")


def set_sqlite_aside(target: Path, word: str) -> list[Path]:
    """Give a SQLite database and what belongs to it another name, which is kept; the new names."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    kept = []
    for suffix in ("", "-wal", "-shm"):
        old = target.with_name(target.name + suffix)
        if old.exists():
            kept.append(old.rename(old.with_name(f"{target.name}.{word}-{stamp}{suffix}")))
    return kept


def sqlite_path(engine: "Engine") -> Path:
    return Path(str(engine.url.database))


def restore_sqlite(target: Path, file: Path) -> None:
    """Look at a copy of `file` first: only one that this release can use takes the place of the present database."""
    partial = target.with_name(target.name + ".restoring")
    try:
        with file.open("rb") as opened:
            if opened.read(16) != b"SQLite format 3\0":
                raise UsageError(f"{file} is no SQLite database")
        shutil.copyfile(file, partial)
        partial.chmod(0o600)
    except OSError as error:
        raise DatabaseError(
            f"{file} cannot be copied: {error.strerror}", fix=f"make it readable for {whoami()}"
        ) from error
    try:
        require_sound(partial, file)
        set_sqlite_aside(target, "before-restore")
        os.replace(partial, target)
    finally:
        for suffix in ("", "-wal", "-shm"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def require_sound(copy: Path, file: Path) -> None:
    """Refuse a damaged file, one that is not Noctis's, and one of a newer release."""
    from sqlalchemy import NullPool, create_engine

    from noctis.db import migrate
    from noctis.db.engine import reachable

    engine = create_engine(f"sqlite:///{copy}", poolclass=NullPool)
    try:
        with reachable(engine), engine.connect() as connection:
            said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        state = migrate.schema_state(engine) if said == "ok" else None
    except NoctisError as error:
        raise DatabaseError(f"{file} cannot be used: {error.message}", fix=error.fix) from error
    if state is None:
        raise DatabaseError(f"{file} is damaged: {said}", fix="restore another backup")
    if state.current is None:
        raise UsageError(f"{file} is no database of Noctis")


def postgres_url(engine: "Engine") -> str:
    return engine.url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)


def run_tool(name: str, engine: "Engine", *arguments: str) -> None:
    """PostgreSQL's own tool; the password goes through the environment, not the command line."""
    program = shutil.which(name)
    if program is None:
        raise DatabaseError(f"{name} is not installed", fix="apt-get install postgresql-client")
    environment = dict(os.environ)
    if engine.url.password:
        environment["PGPASSWORD"] = str(engine.url.password)
    target = [] if name == "pg_restore" else ["--dbname", postgres_url(engine)]
    done = subprocess.run([program, *target, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DatabaseError(f"{name} failed: {' '.join(done.stderr.split())[:500]}")
