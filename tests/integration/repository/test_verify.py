"""Verify finds each kind of damage, and nothing where there is none; reindex gives the index that filing gave."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update

from noctis.archiver.filing import file_spool_once
from noctis.config import Settings, load_settings
from noctis.db import models
from noctis.facilities.registry import Registry
from noctis.repository.verify import Kind, reindex, verify, wait_for_writers
from tests.books import assert_true, books, rows
from tests.samples import make_instance
from tests.spooling import Intake, encode

FIRST = "central/1.1/1.1.0/1.2.3.0.dcm"


def flip_last_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (last,) = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 0xFF]))


def overwrite_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x" * 200)


@pytest.mark.usefixtures("filed")
def test_nothing_is_found_where_all_is_well(engine: Engine, settings: Settings) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(settings, engine, lambda done, total: seen.append((done, total)))
    assert report.sound
    assert (report.files, report.rows) == (7, 7)
    assert report.bytes == sum(row["bytes"] for row in rows(engine, models.Instance))
    assert seen[-1][0] == seen[-1][1]
    assert all(done <= total for done, total in seen)


@pytest.mark.usefixtures("filed")
def test_what_every_ext4_file_system_has_in_its_root_is_no_facility(engine: Engine, settings: Settings) -> None:
    (settings.paths.media / "lost+found").mkdir()
    assert verify(settings, engine).sound
    assert reindex(settings, engine).sound


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (Path.unlink, Kind.NO_FILE),
        (lambda path: os.truncate(path, 900), Kind.SIZE),
        (flip_last_byte, Kind.DIGEST),
        (overwrite_head, Kind.UNREADABLE),
    ],
)
def test_a_damaged_file_is_found(harm: Callable[[Path], None], kind: Kind, engine: Engine, settings: Settings) -> None:
    harm(settings.paths.media / FIRST)
    (finding,) = verify(settings, engine).findings
    assert (finding.kind, finding.facility, finding.subject) == (kind, "central", FIRST)


@pytest.mark.usefixtures("filed")
def test_without_digests_only_presence_and_size_are_looked_at(engine: Engine, settings: Settings) -> None:
    flip_last_byte(settings.paths.media / FIRST)
    assert verify(settings, engine, digests=False).sound
    os.truncate(settings.paths.media / FIRST, 900)
    assert verify(settings, engine, digests=False).counts == {Kind.SIZE: 1}


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize(
    "stray", ["central/1.1/1.1.0/9.9.dcm", "central/copy.dcm", "central/1.1/.1.2.3.0.dcm.tmp", "north/README"]
)
def test_a_file_without_a_row_is_found(stray: str, engine: Engine, settings: Settings) -> None:
    path = settings.paths.media / stray
    shutil.copyfile(settings.paths.media / FIRST, path)
    (finding,) = verify(settings, engine).findings
    assert (finding.kind, finding.subject) == (Kind.NO_ROW, stray)


@pytest.mark.usefixtures("filed")
def test_a_folder_of_no_facility_is_found(engine: Engine, settings: Settings) -> None:
    (settings.paths.media / "nobody").mkdir()
    (finding,) = verify(settings, engine).findings
    assert (finding.kind, finding.subject) == (Kind.UNKNOWN_FACILITY, "nobody")


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize("table", [models.Study, models.Series])
@pytest.mark.parametrize("column", ["instances", "bytes"])
def test_untrue_counts_are_found(table: type[models.Base], column: str, engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(update(table).values({column: 4711}))
    assert set(verify(settings, engine).counts) == {Kind.COUNTS}


def test_what_is_being_filed_is_no_finding(filed: Intake, engine: Engine, settings: Settings) -> None:
    """Linked into the archive, not yet committed."""
    entry = filed.instance(study="1.1", series="1.1.0", sop_instance="1.2.9").entry
    os.link(entry.path, settings.paths.media / "central/1.1/1.1.0/1.2.9.dcm")
    assert verify(settings, engine).sound


def test_what_waits_for_its_commit_is_no_finding(
    filed: Intake, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied out of a slot into its place: no name in the spool, and its row comes a moment later."""
    from noctis.repository import verify as module

    copied, entry = (
        settings.paths.media / "central/1.1/1.1.0/1.2.9.dcm",
        filed.instance(study="1.1", series="1.1.0", sop_instance="1.2.9").entry,
    )
    shutil.copyfile(entry.path, copied)
    monkeypatch.setattr(module, "wait_for_writers", lambda _: file_spool_once(settings, engine=engine))
    assert verify(settings, engine).sound


def test_writers_are_waited_for(engine: Engine, settings: Settings) -> None:
    """Whoever has written, and not yet committed, when it is called."""
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE instance SET bytes = bytes"))
            begun.set()
            waiting.wait(20)
            ended.set()

    waiting = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(20)
    threading.Timer(0.2, waiting.set).start()
    wait_for_writers(engine)
    assert ended.is_set()
    writer.join()


@pytest.mark.usefixtures("filed")
def test_a_stray_with_a_second_name_elsewhere_is_found(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    """In a backup, for example."""
    stray = settings.paths.media / "central/1.1/1.1.0/9.9.dcm"
    shutil.copyfile(settings.paths.media / FIRST, stray)
    os.link(stray, tmp_path / "backup.dcm")
    (finding,) = verify(settings, engine).findings
    assert finding.kind == Kind.NO_ROW


def index_of(engine: Engine, settings: Settings) -> tuple[object, ...]:
    found = books(engine, settings)
    return found.studies, found.series, found.instances


def times_of(engine: Engine) -> list[tuple[object, ...]]:
    query = (
        "SELECT i.sop_instance_uid, f.slug, i.received_at, s.first_received, s.last_received FROM instance i "
        "JOIN series r ON r.id = i.series_id JOIN study s ON s.id = r.study_id JOIN facility f ON f.id = s.facility_id"
    )
    with engine.connect() as connection:
        return sorted(tuple(map(str, row)) for row in connection.execute(text(query)))


@pytest.mark.parametrize("layout", ["tree", "flat"])
def test_the_index_can_be_rebuilt_from_the_files_alone(
    layout: str, intake: Intake, engine: Engine, settings: Settings
) -> None:
    laid_out = load_settings(
        options={
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "storage": {"layout": layout, "reserve_bytes": 0},
        }
    )
    for number in range(6):
        intake.instance(study=f"1.{number % 2}", sop_instance=f"1.2.3.{number}", name=f"N{number}")
    intake.instance(study="1.1", sop_instance="1.2.3.0", slug="north")
    odd = make_instance(study="1.0", series="1.0.1", sop_instance="1.2.3")
    odd.remove_private_tags()
    intake.put(encode(odd).replace(b"1.0.1\0", b"1.0.x\0"), flags=("context",))
    file_spool_once(laid_out, engine=engine)
    before, times = index_of(engine, laid_out), times_of(engine)
    assert len(before[2]) == 8  # type: ignore[arg-type]
    with engine.begin() as connection:
        for table in ("instance", "series", "study"):
            connection.execute(text(f"DELETE FROM {table}"))
    seen: list[tuple[int, int]] = []
    report = reindex(laid_out, engine, lambda done, total: seen.append((done, total)))
    assert report.findings == []
    assert (report.files, report.rows) == (8, 8)
    assert seen[-1] == (8, 8)
    assert index_of(engine, laid_out) == before
    assert times_of(engine) == times
    reindex(laid_out, engine)  # over an index that is there
    assert index_of(engine, laid_out) == before
    assert_true(engine, laid_out)


@pytest.mark.usefixtures("filed")
def test_reindexing_leaves_out_what_it_cannot_take_and_says_so(engine: Engine, settings: Settings) -> None:
    media = settings.paths.media
    shutil.copyfile(media / FIRST, media / "central/copy.dcm")
    (media / "central/notes.txt").write_text("notes")
    overwrite_head(media / "central/1.2/1.2.1/1.2.4.0.dcm")
    (media / "nobody").mkdir()
    report = reindex(settings, engine)
    assert report.counts == {Kind.TWICE: 1, Kind.UNREADABLE: 2, Kind.UNKNOWN_FACILITY: 1}
    assert report.rows == 6
    assert len(rows(engine, models.Instance)) == 6
    assert (media / "central/copy.dcm").exists()


@pytest.mark.usefixtures("filed")
def test_an_interrupted_reindex_leaves_the_old_index(engine: Engine, settings: Settings, registry: Registry) -> None:
    before = index_of(engine, settings)

    def interrupt(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reindex(settings, engine, interrupt)
    assert index_of(engine, settings) == before
