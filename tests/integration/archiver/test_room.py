"""The archive on small disks: one that is full stops its own facilities, leaves nothing half-written, and goes on."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from noctis.archiver import service
from noctis.archiver.filing import Filer, Result
from noctis.cli import run
from noctis.config import Settings, load_settings
from noctis.db import models
from noctis.observability.scoreboard import Counter as Count
from noctis.repository.slots import everything_waiting
from tests.books import assert_true, rows
from tests.integration.archiver.test_service import RunningArchiver, start, wait_until_filed
from tests.spooling import Intake
from tests.support import wait_for

__all__ = ["start"]  # a fixture

Mount = Callable[[Path, int], None]
KIB, MIB = 1 << 10, 1 << 20
PIXELS = b"\1\2" * (100 * KIB)  # an instance of 200 KiB


def file_all(filer: Filer, settings: Settings) -> Counter[tuple[str, Result]]:
    """File the whole spool as one batch: what became of each facility's."""
    batch = filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))
    return Counter((entry.slug, result) for entry, result in batch.results.items())


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def fill(intake: Intake, count: int, *slugs: str) -> None:
    for slug in slugs:
        for number in range(count):
            intake.instance(slug=slug, sop_instance=f"1.2.3.{number}", pixels=PIXELS)


def with_reserve(settings: Settings, reserve: int) -> Settings:
    return load_settings(
        options={
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "storage": {"reserve_bytes": reserve},
            "archiver": {"scan_seconds": 0.05},
        }
    )


def test_a_facilitys_own_disk_that_is_full(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, mount: Mount
) -> None:
    """ENOSPC in the middle of a copy."""
    own = settings.paths.media / "central"
    mount(own, MIB // 2)
    fill(intake, 4, "central", "north")
    assert file_all(filer, settings) == {("central", Result.NO_ROOM): 4, ("north", Result.FILED): 4}
    assert files(own) == []
    assert files(settings.paths.media / ".incoming") == []
    assert_true(engine, settings)
    assert file_all(filer, settings) == {("central", Result.NO_ROOM): 4}
    mount(own, 8 * MIB)
    assert file_all(filer, settings) == {("central", Result.FILED): 4}
    assert len(files(own)) == 4
    assert_true(engine, settings)


def test_the_archives_own_disk_that_is_full_leaves_others_alone(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, mount: Mount
) -> None:
    mount(settings.paths.media, MIB // 2)
    mount(settings.paths.media / "north", 8 * MIB)
    fill(intake, 4, "central", "north")
    assert file_all(filer, settings) == {("central", Result.NO_ROOM): 4, ("north", Result.FILED): 4}
    assert len(files(settings.paths.media)) == 4
    assert_true(engine, settings)
    mount(settings.paths.media, 8 * MIB)
    assert file_all(filer, settings) == {("central", Result.FILED): 4}
    assert_true(engine, settings)


def test_below_half_of_the_reserve_nothing_begins(
    intake: Intake, engine: Engine, settings: Settings, mount: Mount
) -> None:
    own = settings.paths.media / "central"
    mount(own, 4 * MIB)
    fill(intake, 2, "central", "north")
    assert file_all(Filer(engine, with_reserve(settings, 9 * MIB)), settings) == {
        ("central", Result.NO_ROOM): 2,
        ("north", Result.FILED): 2,
    }
    assert files(own) == []
    assert file_all(Filer(engine, with_reserve(settings, 7 * MIB)), settings) == {("central", Result.FILED): 2}
    assert_true(engine, settings)


def test_an_archive_that_is_not_there_is_no_full_one(intake: Intake, engine: Engine, settings: Settings) -> None:
    fill(intake, 1, "central")
    filer = Filer(engine, with_reserve(settings, 2 * MIB))
    settings.paths.media.rmdir()
    assert file_all(filer, settings) == {("central", Result.HELD): 1}
    settings.paths.media.mkdir()
    assert file_all(filer, settings) == {("central", Result.FILED): 1}


def test_half_of_the_reserve_is_kept_while_copying(
    intake: Intake, engine: Engine, settings: Settings, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with room, and ends before the reserve is used up; what was copied of that batch goes again."""
    monkeypatch.setattr("noctis.repository.room.CHECK_BYTES", 300 * KIB)
    own = settings.paths.media / "central"
    mount(own, 4 * MIB)
    fill(intake, 12, "central")
    filer = Filer(engine, with_reserve(settings, 5 * MIB))
    assert file_all(filer, settings) == {("central", Result.NO_ROOM): 12}
    assert files(own) == []
    assert rows(engine, models.Instance) == []
    mount(own, 16 * MIB)
    assert file_all(filer, settings) == {("central", Result.FILED): 12}
    assert_true(engine, settings)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_archiver_says_so_and_goes_on_by_itself(
    intake: Intake,
    engine: Engine,
    settings: Settings,
    mount: Mount,
    start: Callable[[Settings], RunningArchiver],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(service, "HELD_SECONDS", 0.2)
    own = settings.paths.media / "central"
    mount(own, 8 * MIB)
    ballast = own / "central-ballast"
    ballast.write_bytes(b"\0" * 6 * MIB)
    fill(intake, 3, "central", "north")
    reserve = with_reserve(settings, 8 * MIB)
    archiver = start(reserve)
    wait_until_filed(archiver, 3)
    wait_for(lambda: "half of the reserve" in archiver.scoreboard.read().last_error, what="the full disk told")
    assert f"make room on the file system of {own}" in archiver.scoreboard.read().last_error
    wait_for(lambda: archiver.count(Count.PENDING) == 3, what="three that wait")
    for arguments in (["check"], ["status"]):
        monkeypatch.setenv("NOCTIS_STORAGE__RESERVE_BYTES", str(8 * MIB))
        service_home = ["--home", str(settings.home)]
        (settings.paths.snapshot).write_text(_snapshot())
        assert run([*service_home, *arguments]) == 1
        told = capsys.readouterr().out
        assert "archive of" in told
        assert "make room on the file system of" in told
    ballast.unlink()
    wait_until_filed(archiver, 6)
    assert archiver.end() == 0
    shutil.rmtree(settings.paths.media / ".incoming", ignore_errors=True)
    assert_true(engine, settings)


def _snapshot() -> str:
    from noctis.facilities.snapshot import Facility, Snapshot, dump

    return dump(Snapshot((Facility(1, "central", "Central", "CENTRAL", 11999),))).decode()
