"""Engines and transactions. Takes `Settings`; promises that a connection is set up the way the index needs it.

SQLite runs in WAL with synchronous=FULL and takes its write lock when a transaction begins (BEGIN IMMEDIATE), so that
a read followed by a write never meets SQLITE_BUSY in the middle. PostgreSQL goes through psycopg 3. A lock that
somebody else holds is waited for as long with both; then it is an outage like any other, and said so.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from noctis.config import Settings
from noctis.errors import ConfigError, DatabaseError

LOCK_SECONDS = 30
SQLITE_CACHE_KIB = 2000
REGISTRY_LOCK = 0x6E6F_6374  # pg_advisory_xact_lock key: "noct"


def make_engine(
    settings: Settings,
    *,
    pooled: bool = True,
    cache_kib: int = SQLITE_CACHE_KIB,
    lock_seconds: int | None = None,
) -> Engine:
    """An engine for `settings.database_url`. Opens no connection yet.

    Parameters
    ----------
    cache_kib
        SQLite's page cache, of each connection.
    lock_seconds
        For which a lock of somebody else's is waited for; None: `LOCK_SECONDS`.

    Raises
    ------
    ConfigError
        The URL cannot be read, or its driver is not installed.
    """
    patience = LOCK_SECONDS if lock_seconds is None else lock_seconds
    try:
        url = make_url(settings.database_url)
        if url.get_backend_name() == "postgresql" and url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        connect: dict[str, Any] = {}
        if url.get_backend_name() == "sqlite":
            connect = {"timeout": patience, "check_same_thread": False}
        elif url.get_backend_name() == "postgresql":
            # A plan that is kept was made when the tables were small, and stays so until they are analysed: keep none.
            connect = {
                "connect_timeout": max(1, round(settings.database.connect_seconds)),
                "prepare_threshold": None,
            }
        pinged = url.get_backend_name() != "sqlite"  # a file does not hang up
        options: dict[str, Any] = {"pool_pre_ping": pinged} if pooled else {"poolclass": NullPool}
        engine = create_engine(url, connect_args=connect, hide_parameters=True, **options)  # errors go into logs
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError(
            f"database.url cannot be used: {error}",
            fix="postgresql://user:password@host/name (with the extra 'postgres'), or leave it out for SQLite",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", partial(_set_up_sqlite, cache_kib))
        event.listen(engine, "begin", _begin_immediate)
    elif engine.dialect.name == "postgresql" and "lock_timeout" not in str(url.query.get("options", "")):
        event.listen(engine, "connect", partial(_limit_locks, patience))
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """The file of a SQLite database; None for any other database."""
    name = engine.url.database
    return Path(name) if engine.dialect.name == "sqlite" and name and name != ":memory:" else None


def _set_up_sqlite(cache_kib: int, connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "wal_autocheckpoint=2000",
        f"cache_size=-{cache_kib}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own knows ASCII alone


def _lower(value: str | bytes | float | None) -> str | bytes | float | None:
    return value.lower() if isinstance(value, str) else value


def _limit_locks(seconds: int, connection: Any, _record: object) -> None:
    connection.autocommit = True  # what is set in a transaction ends with its rollback
    connection.execute(f"SET lock_timeout = '{seconds}s'")
    connection.autocommit = False


def _begin_immediate(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: it never waits for a writer (SQLite's WAL)."""
    with reachable(engine), engine.connect().execution_options(read_only=True) as connection, connection.begin():
        yield connection


@contextmanager
def reachable(engine: Engine) -> Iterator[None]:
    """Turn a driver's "cannot connect" into what an operator reads.

    Raises
    ------
    DatabaseError
        In place of `OperationalError` and its like, and where all connections of the pool stay busy.
    """
    try:
        yield
    except DBAPIError as error:
        raise as_database_error(engine, error) from error
    except PoolTimeoutError as error:
        raise DatabaseError("all our connections to the database are busy", fix="try again in a moment") from error


def as_database_error(engine: Engine, error: DBAPIError) -> DatabaseError:
    where = engine.url.render_as_string(hide_password=True)
    reason = " ".join(str(error.orig).split())
    if "no such table" in reason or "UndefinedTable" in type(error.orig).__name__:
        return DatabaseError(f"the database {where} has no tables yet", fix="noctis db upgrade")
    if is_damaged(error):
        return damaged(engine, reason)
    if _is_locked(error):
        fix = "end that program; SELECT * FROM pg_stat_activity WHERE state <> 'idle' names it"
        if (file := sqlite_file(engine)) is not None:
            fix = f"end that program; fuser -v {file} names it"
        return DatabaseError(f"the database {where} is held locked by another program: {reason}", fix=fix)
    if isinstance(error, OperationalError):
        fix = "start the database server, or set database.url right; then: noctis check"
        if (file := sqlite_file(engine)) is not None:
            fix = f"look whether {file} is there and who may write it: ls -l {file}; then: noctis check"
        return DatabaseError(f"the database {where} cannot be used: {reason}", fix=fix)
    return DatabaseError(f"the database {where} refused: {reason}")


def damaged(engine: Engine, reason: str) -> DatabaseError:
    """What an operator reads whose database is not whole."""
    return DatabaseError(
        f"the database {engine.url.render_as_string(hide_password=True)} is damaged: {reason}",
        fix="stop Noctis, then: noctis db restore BACKUP; without a backup: noctis db rebuild",
    )


def is_damaged(error: DBAPIError) -> bool:
    """Whether the file of a SQLite database is not what SQLite wrote: nothing in it can be relied on."""
    return _sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_locked(error: DBAPIError) -> bool:
    busy = _sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return busy or getattr(error.orig, "sqlstate", None) == "55P03"


def _sqlite_code(error: DBAPIError) -> int:
    """SQLite's primary result code; 0: not of SQLite."""
    return int(getattr(error.orig, "sqlite_errorcode", 0)) & 0xFF


def lock_registry(connection: Connection) -> None:
    """Serialise changes to facilities and devices until this transaction ends (SQLite has done so at BEGIN)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": REGISTRY_LOCK})
