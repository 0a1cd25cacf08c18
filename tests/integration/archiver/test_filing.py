"""From the spool into archive and index: every outcome, on a real SQLite and a real PostgreSQL."""

import errno
import os
import secrets
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from sqlalchemy import Engine, select, text, update

from noctis.archiver.filing import Filer, Result, file_spool_once
from noctis.config import Settings, load_settings
from noctis.db import models
from noctis.facilities.registry import Registry
from noctis.repository import index as index_module
from noctis.repository.filemeta import read as read_meta
from noctis.repository.slots import everything_waiting
from noctis.repository.spool import Spool
from tests.books import assert_true, books, rows
from tests.samples import make_instance
from tests.spooling import ORIGIN, Intake, encode

STUDY, OTHER = "1.2.826.1", "1.2.826.2"


def file_all(filer: Filer, settings: Settings) -> Counter[Result]:
    """File the whole spool as one batch."""
    batch = filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))
    return Counter(batch.results.values())


def one(engine: Engine, model: type[models.Base]) -> dict[str, Any]:
    (row,) = rows(engine, model)
    return row


def set_policy(registry: Registry, policy: str) -> None:
    registry.edit("central", {"conflict": policy})


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


def test_other_bytes_are_kept_in_quarantine(intake: Intake, filer: Filer, engine: Engine, settings: Settings) -> None:
    first = intake.instance(sop_instance="1.2.3.1")
    file_all(filer, settings)
    second = intake.instance(sop_instance="1.2.3.1", name="Other")
    assert file_all(filer, settings) == {Result.CONFLICT: 1}
    row = one(engine, models.Instance)
    assert (settings.paths.media / row["path"]).read_bytes().endswith(first.data_set)
    kept = one(engine, models.Quarantined)
    assert (kept["reason"], kept["sop_instance_uid"], kept["calling_ae_title"]) == ("conflict", "1.2.3.1", "CT1")
    assert (settings.paths.quarantine / "central" / kept["name"]).read_bytes().endswith(second.data_set)
    intake.instance(sop_instance="1.2.3.1", name="Other")  # again: nothing piles up
    file_all(filer, settings)
    assert one(engine, models.Quarantined) == kept
    assert_true(engine, settings)


@pytest.mark.parametrize("study", [STUDY, OTHER])
def test_under_replace_the_newcomer_takes_the_place(
    study: str, registry: Registry, intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    set_policy(registry, "replace")
    older = intake.instance(sop_instance="1.2.3.1", study=STUDY)
    stays = intake.instance(sop_instance="1.2.3.2", study=STUDY, series=f"{STUDY}.9", modality="MR")
    file_all(filer, settings)
    newer = intake.instance(sop_instance="1.2.3.1", study=study, name="Other")
    assert file_all(filer, settings) == {Result.REPLACED: 1}
    by_uid = {row["sop_instance_uid"]: row for row in rows(engine, models.Instance)}
    assert (settings.paths.media / by_uid["1.2.3.1"]["path"]).read_bytes().endswith(newer.data_set)
    assert (settings.paths.media / by_uid["1.2.3.2"]["path"]).read_bytes().endswith(stays.data_set)
    kept = one(engine, models.Quarantined)
    assert (settings.paths.quarantine / "central" / kept["name"]).read_bytes().endswith(older.data_set)
    counts = {row["study_instance_uid"]: (row["instances"], row["modalities"]) for row in rows(engine, models.Study)}
    assert counts == ({STUDY: (2, "CT\\MR")} if study == STUDY else {STUDY: (1, "MR"), OTHER: (1, "CT")})
    assert_true(engine, settings)


def test_a_study_that_loses_its_last_instance_to_another_is_gone(
    registry: Registry, intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    set_policy(registry, "replace")
    intake.instance(sop_instance="1.2.3.1", study=STUDY)
    file_all(filer, settings)
    intake.instance(sop_instance="1.2.3.1", study=OTHER)
    file_all(filer, settings)
    assert one(engine, models.Study)["study_instance_uid"] == OTHER
    assert not (settings.paths.media / "central" / STUDY).exists()
    assert_true(engine, settings)


@pytest.mark.parametrize("policy", ["keep", "replace"])
def test_several_contents_of_one_instance_in_one_batch(
    policy: str, registry: Registry, intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    set_policy(registry, policy)
    sent = [intake.instance(sop_instance="1.2.3.1", name=name) for name in "ABACB"]
    found = file_all(filer, settings)
    assert sum(found.values()) == 5
    filed = settings.paths.media / one(engine, models.Instance)["path"]
    kept = {path.read_bytes() for path in settings.paths.quarantine.glob("central/*.dcm")}
    if policy == "keep":
        assert found == {Result.FILED: 1, Result.DUPLICATE: 1, Result.CONFLICT: 3}
        assert filed.read_bytes().endswith(sent[0].data_set)
    held = {filed.read_bytes(), *kept}
    for each in sent:  # whatever the order: no content is lost
        assert any(content.endswith(each.data_set) for content in held)
    assert one(engine, models.Study)["instances"] == 1
    assert intake.waiting() == []
    assert_true(engine, settings)


def test_other_transfer_syntax_is_a_conflict_though_the_bytes_are_the_same(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    spooled = intake.instance(sop_instance="1.2.3.1")
    intake.put(spooled.data_set, sop_instance="1.2.3.1", transfer_syntax="1.2.840.10008.1.2.4.50")
    assert file_all(filer, settings) == {Result.FILED: 1, Result.CONFLICT: 1}


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


def test_beyond_the_cap_a_conflict_is_kept_and_told_once(
    registry: Registry, intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    registry.edit("central", {"quarantine_max_instances": 1})
    intake.instance(sop_instance="1.2.3.1")
    for name in "ABC":
        intake.instance(sop_instance="1.2.3.1", name=name)
    assert file_all(filer, settings) == {Result.FILED: 1, Result.CONFLICT: 3}
    assert len(rows(engine, models.Quarantined)) == 3
    assert [row["action"] for row in rows(engine, models.Event)].count("quarantine.over_cap") == 1


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


def test_what_was_replaced_does_not_come_back_when_it_is_met_again(
    registry: Registry, intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    """After a power cut an entry that was filed may be there again: the older one does not push out the newer."""
    registry.edit("central", {"conflict": "replace"})
    older = intake.own_file(intake.instance(sop_instance="1.2.3.1").entry)
    again = older.path.with_name(older.name.replace("-", "-f", 1))
    aside = settings.paths.spool / "aside"
    os.link(older.path, aside)
    file_all(filer, settings)
    newer = intake.instance(sop_instance="1.2.3.1", name="Newer")
    assert file_all(filer, settings) == {Result.REPLACED: 1}
    os.rename(aside, again)
    assert file_all(filer, settings) == {Result.CONFLICT: 1}
    (instance,) = rows(engine, models.Instance)
    assert instance["sha256"] == newer.hint.sha256
    assert len(rows(engine, models.Quarantined)) == 1
    assert_true(engine, settings)
