"""The database is killed, locked, or damaged; receiving goes on, and the operator is told what to do."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.faults.ground import Ground, row
from tests.postgres import PostgresServer
from tests.support import wait_for

PAGE = 4096  # bytes, SQLite's


def _on_postgres(ground: Ground, query: str = "") -> tuple[PostgresServer, str]:
    server = ground.postgres()
    name = server.create()
    ground.make(database={"url": server.url(name) + query, "connect_seconds": 2})
    ground.start("Central")
    return server, name


@row("postgresql-killed", "PostgreSQL is killed (SIGKILL), and started again")
def postgresql_killed(ground: Ground) -> None:
    server, _ = _on_postgres(ground)
    senders = ground.send("central", 2)
    for _ in range(3 if ground.long else 1):
        ground.more(senders)
        server.kill()
        wait_for(lambda: ground.noctis.control_status()["archiver"]["last_error"], seconds=60, what="it to be noticed")
        ground.more(senders, 500 if ground.long else 50)
        server.start()
        ground.heal()
    ground.logged("archiver.waiting", "cannot be used")
    assert not any(sender.statuses or sender.broken for sender in senders)


@row("postgresql-locked", "another program holds PostgreSQL's tables locked (LOCK TABLE)")
def postgresql_locked(ground: Ground) -> None:
    # As long as Noctis waits by default (30 s) in the long form alone.
    server, name = _on_postgres(ground, "" if ground.long else "&options=-clock_timeout%3D1s")
    senders = ground.send("central", 2)
    ground.more(senders)
    with psycopg.connect(host=str(server.folder), user="noctis", dbname=name) as connection:
        connection.execute("LOCK TABLE facility, study, series, instance IN ACCESS EXCLUSIVE MODE")
        ground.logged("archiver.waiting", "held locked by another program")
        ground.more(senders)
    ground.heal()
    assert not any(sender.statuses or sender.broken for sender in senders)


@row("sqlite-locked", "another program holds SQLite's database locked (an exclusive transaction)")
def sqlite_locked(ground: Ground) -> None:
    noctis = ground.make()
    ground.start("Central")
    senders = ground.send("central", 2)
    ground.more(senders)
    database = sqlite3.connect(noctis.settings.paths.sqlite, timeout=30, isolation_level=None)
    try:
        database.execute("BEGIN EXCLUSIVE")
        ground.more(senders, 100)
        if ground.long:  # SQLite gives up after 30 s
            ground.logged("archiver.waiting", "held locked by another program")
        database.execute("ROLLBACK")
    finally:
        database.close()
    ground.heal()
    assert not any(sender.statuses or sender.broken for sender in senders)


def _overwrite(database: Path) -> None:
    """Rubbish over every page but the first and the facilities': what a failing disk or a stray program leaves."""
    with database.open("r+b") as file:
        size = file.seek(0, 2)
        spared = _pages_of(database, "facility", "alembic_version", "device", "client_certificate")
        for page in range(2, size // PAGE + 1):
            if page not in spared:
                file.seek((page - 1) * PAGE)
                file.write(b"\xa5" * PAGE)


def _pages_of(database: Path, *tables: str) -> set[int]:
    """The root pages of these tables, which are small, and of their indexes."""
    connection = sqlite3.connect(database)
    try:
        listed = ",".join("?" * len(tables))
        return {
            page
            for (page,) in connection.execute(
                f"SELECT rootpage FROM sqlite_master WHERE tbl_name IN ({listed})", tables
            )
        }
    finally:
        connection.close()


def _cut_off(database: Path) -> None:
    """Half of the file, and no write-ahead log."""
    with database.open("r+b") as file:
        file.truncate(file.seek(0, 2) // 2 // PAGE * PAGE)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _scribble(database: Path) -> None:
    """The head of the file is rubbish: it is no database at all."""
    with database.open("r+b") as file:
        file.write(b"\xa5" * 2 * PAGE)


def _damaged(ground: Ground, damage: Callable[[Path], None], said: str = "is damaged") -> None:
    noctis = ground.make()
    ground.start("Central", "North")
    senders = [*ground.send("central", 2), *ground.send("north")]
    ground.more(senders, 300 if ground.long else 60)
    database = noctis.settings.paths.sqlite
    sqlite3.connect(database).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(database)
    ground.logged("archiver.waiting database.down", said)
    ground.more(senders, 100 if ground.long else 20)
    assert not any(sender.statuses or sender.broken for sender in senders), "receiving goes on"
    assert said in noctis.run("check").stdout
    assert said in noctis.control_status()["archiver"]["last_error"]
    assert "noctis db rebuild" in noctis.run("study", "list").stderr
    noctis.stop()
    ground.notes.append(" ".join(noctis.cli("db", "rebuild").split()).replace(str(noctis.home), "HOME"))
    ground.heal()
    noctis.start()


@row("sqlite-overwritten", "the SQLite file is overwritten in the middle; noctis db rebuild")
def sqlite_overwritten(ground: Ground) -> None:
    _damaged(ground, _overwrite)


@row("sqlite-cut-off", "the SQLite file loses its second half and its WAL; noctis db rebuild")
def sqlite_cut_off(ground: Ground) -> None:
    _damaged(ground, _cut_off)


@row("sqlite-scribbled", "the head of the SQLite file is overwritten; noctis db rebuild")
def sqlite_scribbled(ground: Ground) -> None:
    _damaged(ground, _scribble)


@row("sqlite-removed", "the SQLite file is gone when Noctis starts; noctis archive reindex")
def sqlite_removed(ground: Ground) -> None:
    noctis = ground.make()
    ground.start("Central", "North")
    senders = [*ground.send("central", 2), *ground.send("north")]
    ground.more(senders)
    noctis.stop()
    for suffix in ("", "-wal", "-shm"):
        noctis.home.joinpath(f"noctis.db{suffix}").unlink(missing_ok=True)
    noctis.start()
    ground.heal()
    ground.more(senders)
    noctis.cli("archive", "reindex")
