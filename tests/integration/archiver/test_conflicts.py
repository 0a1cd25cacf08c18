"""Other bytes under the same UID: what is filed, and what is kept aside."""

import os

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer, Result
from noctis.config import Settings
from noctis.db import models
from noctis.facilities.registry import Registry
from tests.books import assert_true, rows
from tests.integration.archiver.filing import OTHER, STUDY, file_all, one, set_policy
from tests.spooling import Intake


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
