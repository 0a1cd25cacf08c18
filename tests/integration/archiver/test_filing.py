"""From the spool into archive and index, on a real SQLite and a real PostgreSQL."""

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from sqlalchemy import Engine, select, update

from noctis.archiver.filing import Filer, Result, file_spool_once
from noctis.config import Settings, load_settings
from noctis.db import models
from noctis.facilities.registry import Registry
from noctis.repository.filemeta import read as read_meta
from noctis.repository.spool import Spool
from tests.books import assert_true, books, rows
from tests.integration.archiver.filing import STUDY, file_all, one
from tests.samples import make_instance
from tests.spooling import ORIGIN, Intake, encode


def test_a_study_is_filed_with_its_attributes_and_counts(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    first = intake.instance(study=STUDY, series=f"{STUDY}.1", sop_instance="1.2.3.1", name="Müller^Jörg")
    intake.instance(study=STUDY, series=f"{STUDY}.1", sop_instance="1.2.3.2")
    intake.instance(study=STUDY, series=f"{STUDY}.2", sop_instance="1.2.3.3", modality="SR")
    assert file_all(filer, settings) == {Result.FILED: 3}
    study = one(engine, models.Study)
    assert study["patient_name"] == "Müller^Jörg"
    assert (study["series"], study["instances"], study["modalities"]) == (2, 3, "CT\\SR")
    assert study["bytes"] == sum(row["bytes"] for row in rows(engine, models.Instance))
    row = next(row for row in rows(engine, models.Instance) if row["sop_instance_uid"] == "1.2.3.1")
    assert row["path"] == f"central/{STUDY}/{STUDY}.1/1.2.3.1.dcm"
    assert (row["calling_ae_title"], row["called_ae_title"]) == (ORIGIN.calling, ORIGIN.called)
    assert row["sha256"] == first.hint.sha256
    filed = settings.paths.media / row["path"]
    assert filed.read_bytes().endswith(first.data_set)
    assert filed.stat().st_mode & 0o777 == 0o600
    assert intake.waiting() == []
    assert_true(engine, settings)


def test_with_its_hint_an_instance_is_filed_the_same(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled = [intake.instance(sop_instance=f"1.2.3.{number}") for number in range(3)]
    monkeypatch.setattr("noctis.archiver.intake.read_header", None)  # not needed
    batch = filer.file((each.entry, each.hint) for each in spooled)
    assert set(batch.results.values()) == {Result.FILED}
    assert one(engine, models.Study)["instances"] == 3
    assert_true(engine, settings)


def test_a_hint_that_is_not_of_this_file_is_not_believed(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    spooled, other = intake.instance(sop_instance="1.2.3.1"), intake.instance(sop_instance="1.2.3.2")
    filer.file([(spooled.entry, other.hint)])
    assert one(engine, models.Instance)["sop_instance_uid"] == "1.2.3.1"


def test_the_same_bytes_again_are_a_duplicate(intake: Intake, filer: Filer, engine: Engine, settings: Settings) -> None:
    for _ in range(3):
        intake.instance(sop_instance="1.2.3.1")
    assert file_all(filer, settings) == {Result.FILED: 1, Result.DUPLICATE: 2}
    intake.instance(sop_instance="1.2.3.1")
    assert file_all(filer, settings) == {Result.DUPLICATE: 1}
    assert one(engine, models.Study)["instances"] == 1
    assert intake.waiting() == []
    assert_true(engine, settings)


def test_a_duplicate_restores_a_file_that_is_gone_or_damaged(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.instance(sop_instance="1.2.3.1")
    file_all(filer, settings)
    path = settings.paths.media / one(engine, models.Instance)["path"]
    with engine.begin() as connection:
        connection.execute(update(models.Study).values(status="complete", completed_at=models.func.current_timestamp()))
    for harm in (Path.unlink, lambda path: os.truncate(path, 200)):
        harm(path)
        intake.instance(sop_instance="1.2.3.1")
        assert file_all(filer, settings) == {Result.FILED: 1}
        assert_true(engine, settings)
    study = one(engine, models.Study)
    assert (study["instances"], study["status"], study["late_instances"]) == (1, "complete", 0)
    events = [row["action"] for row in rows(engine, models.Event)]
    assert events.count("instance.restored") == 2


def test_the_same_uids_in_two_facilities_are_two_things(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    for slug in ("central", "north"):
        intake.instance(slug=slug, sop_instance="1.2.3.1", name=slug)
    assert file_all(filer, settings) == {Result.FILED: 2}
    assert {row["patient_name"] for row in rows(engine, models.Study)} == {"central", "north"}
    assert {row["path"].split("/")[0] for row in rows(engine, models.Instance)} == {"central", "north"}
    assert_true(engine, settings)


def test_the_flat_layout_keeps_facilities_apart(
    intake: Intake, registry: Registry, engine: Engine, settings: Settings
) -> None:
    flat = load_settings(
        options={
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "storage": {"layout": "flat", "reserve_bytes": 0},
        }
    )
    for slug in ("central", "north"):
        intake.instance(slug=slug, sop_instance="1.2.3.1", name=slug)
    assert file_all(Filer(engine, flat), flat) == {Result.FILED: 2}
    assert sorted(books(engine, flat).archive) == ["central/1.2.3.1.dcm", "north/1.2.3.1.dcm"]
    assert_true(engine, flat)


def test_a_late_instance_reopens_its_study_and_a_duplicate_does_not(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.instance(study=STUDY, sop_instance="1.2.3.1")
    file_all(filer, settings)
    with engine.begin() as connection:
        connection.execute(update(models.Study).values(status="complete", completed_at=models.func.current_timestamp()))
    intake.instance(study=STUDY, sop_instance="1.2.3.1")
    file_all(filer, settings)
    assert one(engine, models.Study)["status"] == "complete"
    for number in (2, 3):
        intake.instance(study=STUDY, sop_instance=f"1.2.3.{number}")
    file_all(filer, settings)
    study = one(engine, models.Study)
    assert (study["status"], study["late_instances"], study["instances"]) == ("receiving", 2, 3)
    intake.instance(study=STUDY, sop_instance="1.2.3.4")
    file_all(filer, settings)
    assert one(engine, models.Study)["late_instances"] == 3
    (event,) = [row for row in rows(engine, models.Event) if row["action"] == "study.late"]
    assert (event["actor"], event["subject"], event["detail"]["instances"]) == ("archiver", STUDY, 2)


def test_sixteen_filers_at_once_make_one_study_with_true_counts(
    registry: Registry, engine: Engine, settings: Settings
) -> None:
    """Each thread has its own part of one new study, and some instances that the others have too."""
    filer = Filer(engine, settings)
    parts = []
    spools = []
    for thread in range(16):
        spool = Spool(settings.paths.spool, "central", strict=False)
        spools.append(spool)
        part = []
        for number in [*range(thread * 5, thread * 5 + 5), 1000, 1001]:
            uid = f"1.2.3.{number}"
            dataset = make_instance(study=STUDY, series=f"{STUDY}.{number % 3}", sop_instance=uid)
            file = spool.receive(b"1.2.840.10008.5.1.4.1.1.2", uid.encode(), "1.2.840.10008.1.2.1", ORIGIN)
            file.write(encode(dataset))
            part.append(file.commit())
        parts.append(part)
    start, failed, counted = threading.Barrier(16), [], Counter[Result]()

    def work(part: list[Any]) -> None:
        start.wait()
        try:
            counted.update(filer.file((entry, None) for entry in part).results.values())
        except Exception as error:  # noqa: BLE001 - told by the assertion
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for spool in spools:
        spool.close()
    assert failed == []
    assert counted == {Result.FILED: 82, Result.DUPLICATE: 30}
    study = one(engine, models.Study)
    assert (study["instances"], study["series"]) == (82, 3)
    assert_true(engine, settings)


def test_the_same_entries_by_several_filers_at_once(
    intake: Intake, registry: Registry, engine: Engine, settings: Settings
) -> None:
    for number in range(60):
        intake.instance(sop_instance=f"1.2.3.{number % 50}", name="x" * (number // 50))
    start, failed = threading.Barrier(4), []

    def work() -> None:
        start.wait()
        try:
            file_spool_once(settings)
        except Exception as error:  # noqa: BLE001 - told by the assertion
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert intake.waiting() == []
    assert one(engine, models.Study)["instances"] == 50
    assert_true(engine, settings)


def test_a_file_meta_tells_where_an_instance_came_from(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.put(encode(make_instance(study=STUDY, series=generate_uid(), sop_instance="1.2.3")), flags=("context",))
    file_all(filer, settings)
    row = one(engine, models.Instance)
    assert row["flags"] == "context"
    with (settings.paths.media / row["path"]).open("rb") as file:
        assert read_meta(file.fileno()).origin == ORIGIN
    with engine.connect() as connection:
        received = connection.scalar(select(models.Instance.received_at))
    assert received is not None
    assert received.timestamp() == pytest.approx((settings.paths.media / row["path"]).stat().st_mtime, abs=1e-5)
