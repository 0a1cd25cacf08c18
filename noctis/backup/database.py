"""The index at one moment as a SQLite file, whatever the database is, and back into either.

SQLite is copied by its own online backup, which blocks nobody. PostgreSQL's tables are read in one REPEATABLE READ
transaction and written, a page at a time, into a SQLite file of the same schema, made by the same migrations: the copy
needs no program of PostgreSQL's, is looked at by the same code as the other, and can be restored into either database.
Holds a bounded number of rows in memory.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, text

from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import make_engine, reachable, sqlite_file
from noctis.db.models import Base
from noctis.errors import DatabaseError

_PAGE = 1000  # rows


def snapshot(engine: Engine, settings: Settings, target: Path) -> None:
    """Write the index, as it is at one moment during the call, to `target`.

    Raises
    ------
    DatabaseError
        It cannot be read, or has another schema than this release's.
    """
    migrate.require_current(engine, settings.paths)
    file = sqlite_file(engine)
    if file is not None:
        migrate.backup_sqlite(file, target)
    else:
        copy = sqlite_engine(settings, target)
        try:
            migrate.upgrade(copy)
            with reachable(engine), engine.connect().execution_options(isolation_level="REPEATABLE READ") as source:
                source.execute(text("SET TRANSACTION READ ONLY"))
                with copy.begin() as connection:
                    copy_tables(source, connection)
        finally:
            copy.dispose()
    as_one_file(target)


def as_one_file(path: Path) -> None:
    """No WAL beside it: it can be read where nothing can be written, and copied by itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    os.chmod(path, 0o600)


def sqlite_engine(settings: Settings, path: Path) -> Engine:
    database = settings.database.model_copy(update={"url": f"sqlite:///{path}"})
    return make_engine(settings.model_copy(update={"database": database}), pooled=False)


def copy_tables(source: Connection, target: Connection) -> None:
    """Every row of every table, parents first."""
    for table in Base.metadata.sorted_tables:
        found = source.execute(select(table), execution_options={"yield_per": _PAGE})
        for part in found.partitions():
            target.execute(insert(table), [dict(row._mapping) for row in part])


def open_snapshot(path: Path, *, previous: Path | None = None) -> sqlite3.Connection:
    """Open a snapshot for reading alone; a second one, where there is one, as the schema `previous`."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    if previous is not None:
        database.execute("ATTACH ? AS previous", (f"{previous.absolute().as_uri()}?mode=ro&immutable=1",))
    return database


def require_restorable(path: Path) -> str:
    """The schema version of a snapshot that this release can use.

    Raises
    ------
    DatabaseError
        It is damaged, of a newer release, or none of Noctis's.
    """
    try:
        with closing(open_snapshot(path)) as database:
            said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise DatabaseError(f"{path} is damaged: {said}", fix="restore another one with --generation")
            (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise DatabaseError(f"{path} is damaged: {error}", fix="restore another one with --generation") from error
    known = migrate.revisions()
    if version not in known:
        raise DatabaseError(
            f"the backup is of a newer Noctis (schema {version}; this release knows up to {known[-1]})",
            fix="install that release, then restore",
        )
    return str(version)


def fill(target: Engine, source: Engine) -> None:
    """Copy everything into a database that has no tables yet, in one transaction."""
    migrate.upgrade(target)
    with source.connect().execution_options(read_only=True) as rows, reachable(target), target.begin() as connection:
        copy_tables(rows, connection)
        for table in Base.metadata.sorted_tables:
            if target.dialect.name == "postgresql" and table.autoincrement_column is not None:
                _set_sequence(connection, table.autoincrement_column)


def _set_sequence(connection: Connection, column: Any) -> None:
    """The next key follows the highest that was copied."""
    highest = connection.scalar(select(func.max(column)))
    if highest is not None:
        name = connection.scalar(select(func.pg_get_serial_sequence(column.table.name, column.name)))
        if name is not None:
            connection.execute(select(func.setval(name, highest)))
