"""A database that is damaged or held locked is an outage, and the message says what to do."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from noctis.config import Settings, load_settings
from noctis.db import engine as engine_module
from noctis.db.engine import make_engine, reachable, reading
from noctis.errors import DatabaseError
from noctis.repository.index import is_outage


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    return load_settings(options={"home": str(tmp_path)})


def overwrite(path: Path, start: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize(("start", "size"), [(0, 8192), (8192, 4096 * 20)], ids=["head", "middle"])
def test_a_damaged_database_is_an_outage(start: int, size: int, sqlite_settings: Settings) -> None:
    path = sqlite_settings.paths.sqlite
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [("y" * 500,)] * 1000)
    overwrite(path, start, size)
    engine = make_engine(sqlite_settings, pooled=False)
    query = text("SELECT x FROM t")
    with pytest.raises(DBAPIError) as raised, engine.connect() as connection:
        connection.execute(query).all()
    assert is_outage(raised.value), "nothing may go to quarantine for it"
    with (
        pytest.raises(DatabaseError, match=r"is damaged: .*\n.*noctis db restore .*noctis db rebuild"),
        reachable(engine),
        engine.connect() as connection,
    ):
        connection.execute(query).all()


def test_a_lock_that_is_held_for_long_is_an_outage(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LOCK_SECONDS", 1)
    other = make_engine(settings, pooled=False)
    with engine.begin() as holder:
        if engine.dialect.name == "postgresql":
            holder.execute(text("LOCK TABLE facility IN ACCESS EXCLUSIVE MODE"))
        with (
            pytest.raises(DatabaseError, match=r"is held locked by another program: .*\n.*names it") as raised,
            reachable(other),
            other.begin() as connection,
        ):
            connection.execute(text("UPDATE facility SET enabled = enabled"))
    assert is_outage(raised.value)
    with other.begin() as connection:
        connection.execute(text("UPDATE facility SET enabled = enabled"))


def test_connections_that_are_all_busy_are_an_outage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(settings)
    monkeypatch.setattr(engine.pool, "_timeout", 0.05)
    with ExitStack() as held:
        for _ in range(engine.pool.size() + engine.pool._max_overflow):
            held.enter_context(reading(engine))
        with pytest.raises(DatabaseError, match="all our connections to the database are busy"):
            held.enter_context(reading(engine))
        held.pop_all().close()
        with reading(engine) as connection:
            assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
