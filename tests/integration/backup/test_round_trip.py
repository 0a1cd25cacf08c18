"""What is backed up is what is restored, on SQLite and PostgreSQL and from one to the other."""

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from noctis.archiver.filing import file_spool_once
from noctis.archiver.ledger import write_ledgers
from noctis.backup import generations
from noctis.backup.make import backup
from noctis.backup.restore import differences
from noctis.config import Settings
from noctis.db import models
from noctis.db.engine import make_engine
from noctis.facilities.registry import Registry
from tests.books import assert_true, books, rows
from tests.integration.backup.conftest import Bring, SaveInto
from tests.spooling import Intake


def every_table(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """All rows as they are, ids and times too."""
    with engine.connect() as connection:
        return {
            table.name: sorted(tuple(map(repr, row)) for row in connection.execute(select(table)))
            for table in models.Base.metadata.sorted_tables
        }


def inodes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_ino for path in root.rglob("*.dcm")}


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_everything_is_there_again(
    target: str, filed: Intake, engine: Engine, settings: Settings, save: SaveInto, bring_back: Bring
) -> None:
    waiting = filed.instance(study="1.9", sop_instance="1.9.9")
    made = save()
    assert (made.instances, made.copied, made.spool, made.quarantine, made.problem_count) == (5, 5, 1, 1, 0)
    before, tables = books(engine, settings), every_table(engine)
    home = bring_back(target)
    assert (home.result.instances, home.result.spool, home.result.quarantine, home.result.problems) == (5, 1, 1, [])
    assert every_table(home.engine) == tables
    assert books(home.engine, home.settings) == before
    assert_true(home.engine, home.settings)
    (entry,) = home.settings.paths.spool.glob("*/new/*.dcm")
    assert entry.name == waiting.entry.path.name
    assert entry.stat().st_mtime_ns == waiting.entry.path.stat().st_mtime_ns  # the time of arrival
    file_spool_once(home.settings, engine=home.engine)
    assert len(rows(home.engine, models.Instance)) == 6
    assert_true(home.engine, home.settings)
    Registry(home.engine, home.settings, actor="tester").add("Later")  # keys go on where they ended


@pytest.mark.usefixtures("filed")
def test_nobody_else_can_read_it(save: SaveInto, folder: Path, settings: Settings) -> None:
    tls = settings.paths.root / "tls"
    (tls / "facilities").mkdir(parents=True)
    (tls / "server.key").write_text("key")
    (tls / "server.key").chmod(0o644)
    (tls / "facilities" / "central.pem").write_text("certificate")
    config = settings.paths.root / "noctis.yaml"
    config.write_text("server:\n  port: 11112\n")
    umask = os.umask(0o077)
    try:
        generation = folder / save(config=config).generation
    finally:
        os.umask(umask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in generation.rglob("*") if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in generation.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(generation.stat().st_mode) == 0o700
    assert (generation / "tls" / "facilities" / "central.pem").read_text() == "certificate"
    assert (generation / "noctis.yaml").read_text() == "server:\n  port: 11112\n"


def test_the_second_backup_copies_only_what_is_new(
    filed: Intake, save: SaveInto, folder: Path, settings: Settings, engine: Engine, bring_back: Bring
) -> None:
    first = save()
    filed.instance(study="1.7", sop_instance="1.7.1")
    file_spool_once(settings, engine=engine)
    second = save()
    assert (second.copied, second.unchanged) == (1, 5)
    assert second.bytes < first.bytes
    one, two = (inodes(folder / made.generation) for made in (first, second))
    assert {path: two[path] for path in one} == one  # quarantine too
    assert [path.name for path in generations.generations(folder)] == [first.generation, second.generation]
    assert bring_back(generation=first.generation).result.instances == 5
    third = save(keep=1)
    assert (third.copied, third.pruned) == (0, [first.generation, second.generation])
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == [third.generation]
    home = bring_back()
    assert (home.result.instances, home.result.problems) == (6, [])
    assert_true(home.engine, home.settings)


@pytest.mark.usefixtures("filed")
def test_linked_to_the_archive_itself(
    save: SaveInto, folder: Path, settings: Settings, engine: Engine, bring_back: Bring
) -> None:
    made = save(link=True)
    assert (made.linked, made.copied, made.bytes) == (5, 0, 0)
    assert inodes(folder / made.generation / "archive") == inodes(settings.paths.media)
    assert_true(engine, settings)
    assert bring_back().result.problems == []


@pytest.mark.usefixtures("filed")
def test_it_leaves_an_event(save: SaveInto, settings: Settings, engine: Engine) -> None:
    made = save(actor="somebody")
    write_ledgers(engine, settings.paths.journal)
    (event,) = [row for row in rows(engine, models.Event) if row["action"] == "backup.made"]
    assert event["actor"] == "somebody"
    assert event["detail"]["copied"] == made.copied == 5


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_same_database_is_no_difference(folder: Path, settings: Settings) -> None:
    """As an operator writes its URL: the driver is ours to choose."""
    url = settings.database_url.replace("+psycopg", "").replace("noctis@", "noctis:secret@")
    now = settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})
    engine = make_engine(now, pooled=False)
    made = backup(now, engine, folder)
    engine.dispose()
    assert differences(folder / made.generation, now) == []
    assert "secret" not in (folder / made.generation / "settings.json").read_text()
