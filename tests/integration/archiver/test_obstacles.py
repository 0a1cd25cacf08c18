"""What cannot be filed, now or ever: it waits or goes to quarantine, and the rest goes on."""

import errno
import os
import secrets
from typing import Any

import pytest
from sqlalchemy import Engine, text

from noctis.archiver.filing import Filer, Result
from noctis.config import Settings
from noctis.db import models
from noctis.repository import index as index_module
from tests.books import assert_true, rows
from tests.integration.archiver.filing import STUDY, file_all, one
from tests.samples import make_instance
from tests.spooling import Intake, encode


def test_what_cannot_be_filed_goes_to_quarantine_and_the_rest_goes_on(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.put(b"\xff" * 64)
    missing = make_instance(study=STUDY, series=f"{STUDY}.1")
    del missing.StudyInstanceUID
    intake.put(encode(missing))
    stranger = settings.paths.spool / "central" / "new" / "0000000000000001-1-1.dcm"
    stranger.write_bytes(b"no file of ours")
    good = intake.instance()
    torn = intake.instance()
    with torn.entry.path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    assert file_all(filer, settings) == {Result.FILED: 1, Result.QUARANTINED: 4}
    assert one(engine, models.Instance)["sha256"] == good.hint.sha256
    reasons = sorted(row["reason"] for row in rows(engine, models.Quarantined))
    assert reasons == ["missing-uid", "unparseable", "unparseable", "unparseable"]
    assert len(list(settings.paths.quarantine.glob("central/*.dcm"))) == 4
    assert intake.waiting() == []
    assert_true(engine, settings)


def test_one_instance_that_upsets_the_index_does_not_stop_the_others(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [intake.instance(sop_instance=f"1.2.3.{number}") for number in range(20)]
    real = index_module.instance_row

    def poisoned(facility_id: int, series_id: int, path: str, filing: Any) -> dict[str, Any]:
        if filing.instance_uid == "1.2.3.13":
            raise RuntimeError("Doe^Jane")
        return real(facility_id, series_id, path, filing)

    monkeypatch.setattr(index_module, "instance_row", poisoned)
    assert file_all(filer, settings) == {Result.FILED: 19, Result.QUARANTINED: 1}
    kept = one(engine, models.Quarantined)
    assert kept["detail"] == "cannot be filed: RuntimeError"
    assert (settings.paths.quarantine / "central" / kept["name"]).read_bytes().endswith(sent[13].data_set)
    assert_true(engine, settings)


def test_a_value_that_the_database_refuses_does_not_stop_the_others(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        intake.instance(sop_instance=f"1.2.3.{number}")
    real = index_module.instance_row

    def refused(facility_id: int, series_id: int, path: str, filing: Any) -> dict[str, Any]:
        row = real(facility_id, series_id, path, filing)
        return {**row, "sop_class_uid": None} if filing.instance_uid == "1.2.3.4" else row

    monkeypatch.setattr(index_module, "instance_row", refused)
    assert file_all(filer, settings) == {Result.FILED: 5, Result.QUARANTINED: 1}
    assert_true(engine, settings)  # and no file of it in the archive


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_an_absurd_header_is_filed_all_the_same(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    long = secrets.token_hex(3000)
    dataset = make_instance(study=STUDY, series=f"{STUDY}.1", sop_instance="1.2.3")
    dataset.PatientName = dataset.PatientID = dataset.AccessionNumber = long
    dataset.StudyInstanceUID = "../../etc/" + "9." * 1500 + "1"
    intake.put(encode(dataset))
    intake.instance(sop_instance="1.2.4")
    assert file_all(filer, settings) == {Result.FILED: 2}
    row = next(row for row in rows(engine, models.Instance) if row["sop_instance_uid"] == "1.2.3")
    assert "uid" in row["flags"].split()
    assert row["path"].startswith("central/uid-")
    assert_true(engine, settings)


def test_a_facility_without_a_row_waits_and_the_rest_goes_on(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.instance(slug="gone", sop_instance="1.2.3.1")
    intake.put(b"\xff" * 64, slug="gone")
    intake.instance(sop_instance="1.2.3.1")
    assert file_all(filer, settings) == {Result.FILED: 1, Result.UNKNOWN_FACILITY: 2}
    assert len(intake.waiting()) == 2
    with engine.begin() as connection:
        connection.execute(text("UPDATE facility SET slug = 'gone' WHERE slug = 'north'"))
    assert file_all(filer, settings) == {Result.FILED: 1, Result.QUARANTINED: 1}


def test_an_entry_that_cannot_be_read_is_held_and_the_rest_goes_on(
    intake: Intake, filer: Filer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = intake.instance(), intake.instance()
    real = os.open

    def broken(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path) == str(bad.entry.path):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", broken)
    batch = filer.file([(bad.entry, None), (good.entry, None)])
    assert batch.results == {bad.entry: Result.HELD, good.entry: Result.FILED}
    assert bad.entry.path.exists()
    assert "Input/output error" in batch.errors[0]


def test_an_archive_that_is_away_loses_nothing(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.instance(sop_instance="1.2.3.1")
    file_all(filer, settings)
    media, away = settings.paths.media, settings.paths.media.with_name("away")
    media.rename(away)
    media.mkdir()
    intake.instance(sop_instance="1.2.3.1")
    intake.instance(sop_instance="1.2.3.1", name="Other")
    assert file_all(filer, settings) == {Result.HELD: 2}
    media.rmdir()
    away.rename(media)
    assert file_all(filer, settings) == {Result.DUPLICATE: 1, Result.CONFLICT: 1}
    assert_true(engine, settings)


def test_on_a_full_disk_everything_waits_and_nothing_is_lost(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        intake.instance(sop_instance=f"1.2.3.{number}")
    with monkeypatch.context() as patch:
        for call in ("link", "pwrite"):
            patch.setattr(os, call, lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        assert file_all(filer, settings) == {Result.NO_ROOM: 3}
    assert rows(engine, models.Instance) == []
    assert len(intake.waiting()) == 3
    assert [path for path in settings.paths.media.rglob("*") if path.is_file()] == []
    assert file_all(filer, settings) == {Result.FILED: 3}
