"""The schema's versions, by Alembic. Takes an engine; promises to leave the schema at this release's version.

Refuses a database that a newer release has written: going back needs a restore, not a guess. An upgrade is one
transaction: it is made whole or, whatever ends it, not at all. Of several machines that share a PostgreSQL database one
makes it.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from noctis.db.engine import LOCK_SECONDS, damaged, reachable, reading, sqlite_file
from noctis.db.upgrading import WAIT_FOR_IT, under_way
from noctis.errors import DatabaseError, UpgradingError
from noctis.home import Home, whoami

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent
QUICK_CHECK_BYTES = 1 << 30
UPGRADE_LOCK = 0x6E6F_6375  # pg_try_advisory_xact_lock key
POLL_SECONDS = 0.2

Tell = Callable[[str, int, int], None]  # what is done, how much of it is, of how much (0: not known)


@dataclass(frozen=True)
class SchemaState:
    current: str | None  # None: no tables yet
    head: str

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def revisions() -> list[str]:
    """Every version that this release knows, oldest first: the first word of each migration's file name."""
    return sorted(path.name.partition("_")[0] for path in (HERE / "migrations" / "versions").glob("[0-9]*.py"))


def alembic_config() -> "Config":
    """Alembic's configuration; it is imported only when there is something to migrate, as it costs 9 MB."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def schema_state(engine: Engine) -> SchemaState:
    """Which version the database has, and which this release wants.

    Raises
    ------
    DatabaseError
        It cannot be reached, or is of a newer release.
    """
    if (file := sqlite_file(engine)) is not None and not os.path.exists(file):
        return SchemaState(None, revisions()[-1])  # to look would make it
    with reachable(engine), engine.connect().execution_options(read_only=True) as connection:
        return _state(connection)


def _state(connection: Connection) -> SchemaState:
    known = revisions()
    head = known[-1]
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current is not None and current not in known:
        raise DatabaseError(
            f"the database is of a newer Noctis (schema {current}; this release knows up to {head})",
            fix="install that release again, or restore a backup made before the upgrade: noctis db restore FILE",
        )
    return SchemaState(current, head)


def upgrade(
    engine: Engine,
    *,
    tell: Tell | None = None,
    first: Callable[[SchemaState], None] | None = None,
    then: Callable[[Connection, SchemaState], None] | None = None,
) -> SchemaState:
    """Bring the schema to this release's version; returns the state it was in before.

    Parameters
    ----------
    tell
        Called as it goes on.
    first, then
        Called before and after, where there is something to do, with the state before. Nobody else can write meanwhile:
        `first` sees the database as it was, and what `then` writes is written together with the schema or not at all.

    Raises
    ------
    UpgradingError
        Another machine is at it.
    DatabaseError
        The database cannot be written, is held locked, or is of a newer release. It is as it was.
    """
    before = schema_state(engine)
    if before.up_to_date:
        return before
    with reachable(engine), engine.begin() as connection:
        _only_one(connection, tell)
        before = _state(connection)  # another one may have been faster
        if not before.up_to_date:
            if first is not None:
                first(before)
            _migrate(connection, tell)
            if then is not None:
                then(connection, before)
    if (file := sqlite_file(engine)) is not None:
        for suffix in ("", "-wal", "-shm"):
            path = file.with_name(file.name + suffix)
            if path.exists():
                path.chmod(0o600)
    return before


def _migrate(connection: Connection, tell: Tell | None) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    config.attributes["tell"] = tell
    command.upgrade(config, "head")


def _only_one(connection: Connection, tell: Tell | None) -> None:
    """One upgrade at a time, until this transaction ends (SQLite has seen to it at BEGIN)."""
    if connection.dialect.name != "postgresql":
        return
    deadline = time.monotonic() + LOCK_SECONDS
    while not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK}):
        if time.monotonic() > deadline:
            raise UpgradingError("another program upgrades this database at the moment", fix=WAIT_FOR_IT)
        if tell is not None:
            tell("another program is at it, and waited for", 0, 0)
        time.sleep(POLL_SECONDS)


def require_current(engine: Engine, home: Home | None = None) -> None:
    """Refuse to work on a schema of another version.

    Parameters
    ----------
    home
        Where an upgrade that is under way would be noted.

    Raises
    ------
    UpgradingError
        It is older, and being upgraded at the moment.
    DatabaseError
        It is older (with the command that upgrades it) or newer.
    """
    state = schema_state(engine)
    if state.up_to_date:
        return
    if home is not None and (found := under_way(home)) is not None:
        raise UpgradingError(found.sentence, fix=found.fix)
    raise older(state)


def older(state: SchemaState) -> DatabaseError:
    """What an operator reads whose schema nobody upgrades."""
    what = f"has schema {state.current}, this release wants {state.head}" if state.current else "has no tables yet"
    return DatabaseError(f"the database {what}", fix="noctis db upgrade")


def require_sound(engine: Engine) -> None:
    """Look whether a SQLite file is whole; one of more than `QUICK_CHECK_BYTES` would take too long and is believed.

    Raises
    ------
    DatabaseError
        It is damaged; the message has what to do.
    """
    file = sqlite_file(engine)
    if file is None or file.stat().st_size > QUICK_CHECK_BYTES:
        return
    with reading(engine) as connection:
        said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if said != "ok":
        raise damaged(engine, " ".join(str(said).split()))


def backup_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database while it is in use; `target` appears only when it is whole.

    Raises
    ------
    DatabaseError
        `source` cannot be read, or `target` not be written.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as origin,
            closing(sqlite3.connect(partial)) as copy,
        ):
            origin.backup(copy)
        partial.replace(target)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)  # half a copy takes the room that is missing
        reason = getattr(error, "strerror", None) or error
        raise DatabaseError(
            f"{source} cannot be copied to {target}: {reason}", fix=f"name a file that {whoami()} can write"
        ) from error
