"""The schema's versions, by Alembic. Takes an engine; promises to leave the schema at this release's version.

Refuses a database that a newer release has written: going back needs a restore, not a guess.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text

from noctis.db.engine import reachable
from noctis.errors import DatabaseError

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


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
        if engine.dialect.name == "sqlite" and engine.url.database:
            for suffix in ("", "-wal", "-shm"):
                path = Path(engine.url.database + suffix)
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


def backup_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database while it is in use; `target` appears only when it is whole."""
    partial = target.with_name(target.name + ".partial")
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as origin, sqlite3.connect(partial) as copy:
        origin.backup(copy)
    origin.close()
    copy.close()
    partial.chmod(0o600)
    partial.replace(target)
