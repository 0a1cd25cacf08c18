"""The schema's versions, by Alembic. Takes an engine; promises to leave the schema at this release's version.

Refuses a database that a newer release has written: going back needs a restore, not a guess.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text

from noctis.db.engine import damaged, reachable, reading, sqlite_file
from noctis.errors import DatabaseError
from noctis.home import whoami

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent
QUICK_CHECK_BYTES = 1 << 30


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
    known = revisions()
    head = known[-1]
    if (file := sqlite_file(engine)) is not None and not os.path.exists(file):
        return SchemaState(None, head)  # to look would make it
    with reachable(engine), engine.connect().execution_options(read_only=True) as connection:
        current = None
        if inspect(connection).has_table("alembic_version"):
            current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current is not None and current not in known:
        raise DatabaseError(
            f"the database is of a newer Noctis (schema {current}; this release knows up to {head})",
            fix="install that release again, or restore a backup made before the upgrade: noctis db restore FILE",
        )
    return SchemaState(current, head)


def upgrade(engine: Engine) -> SchemaState:
    """Bring the schema to this release's version; returns the state it was in before."""
    before = schema_state(engine)
    if not before.up_to_date:
        from alembic import command

        config = alembic_config()
        with reachable(engine), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if (file := sqlite_file(engine)) is not None:
            for suffix in ("", "-wal", "-shm"):
                path = file.with_name(file.name + suffix)
                if path.exists():
                    path.chmod(0o600)
    return before


def require_current(engine: Engine) -> None:
    """Refuse to work on a schema of another version.

    Raises
    ------
    DatabaseError
        It is older (with the command that upgrades it) or newer.
    """
    state = schema_state(engine)
    if not state.up_to_date:
        found = (
            "has no tables yet"
            if state.current is None
            else f"has schema {state.current}, this release wants {state.head}"
        )
        raise DatabaseError(f"the database {found}", fix="noctis db upgrade")


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
        reason = getattr(error, "strerror", None) or error
        raise DatabaseError(
            f"{source} cannot be copied to {target}: {reason}", fix=f"name a file that {whoami()} can write"
        ) from error
