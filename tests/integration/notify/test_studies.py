"""From a study that becomes complete to the receiver of a webhook: none is lost, none is told twice."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from noctis.archiver.completion import complete_quiet_studies
from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.db.notifying import Notice
from noctis.notify.rules import Rules
from tests.books import rows
from tests.integration.archiver.test_completion import QUIET, file_all, received
from tests.integration.notify.conftest import Turned, deliveries, notifications, rule, with_options
from tests.notifying import SECRET, Receiver, is_signed
from tests.spooling import Intake
from tests.support import wait_for

Turn = Callable[..., Turned]


def complete(engine: Engine, settings: Settings, *studies: str) -> None:
    for study in studies:
        received(engine, study, 120)
    assert complete_quiet_studies(engine, QUIET, settings.paths.spool) == len(studies)


def test_a_complete_study_is_told_of_with_its_counts_and_no_patient(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "study-complete")
    intake.instance(study="1.1")
    intake.instance(study="1.1")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    turn().until(lambda: hook.posted)
    posted = hook.posted[0]
    assert is_signed(posted)
    assert not is_signed(posted, SECRET[:-4] + "AAA=")
    document = posted.document
    assert (document["version"], document["type"], document["phase"]) == (1, "study-complete", "happened")
    assert document["facility"] == {"slug": "central", "name": "Central"}
    assert posted.data["study_instance_uid"] == "1.1"
    assert (posted.data["instances"], posted.data["series"], posted.data["late_instances"]) == (2, 1, 0)
    assert posted.data["bytes"] > 0
    assert document["id"] == posted.id
    assert not {"patient", "accession_number"} & posted.data.keys()
    assert posted.headers["content-type"] == "application/json"
    assert rows(engine, Notice) == []


def test_patients_are_told_of_where_that_was_asked_for(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "study-complete")
    intake.instance(study="1.1", patient_id="PAT-4711")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    turn(with_options(settings, notifications={"patients": True, "disk_percent": 0.0})).until(lambda: hook.posted)
    assert hook.posted[0].data["patient"]["id"] == "PAT-4711"
    assert hook.posted[0].data["accession_number"] == "A1"


def test_a_late_instance_is_told_of_and_then_the_study_again(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "study-complete", "late-arrival")
    intake.instance(study="1.1")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    intake.instance(study="1.1")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    turn().until(lambda: len(hook.posted) == 3)
    assert [each.document["type"] for each in hook.posted] == ["study-complete", "late-arrival", "study-complete"]
    assert hook.posted[1].data["instances"] == hook.posted[1].data["late_instances"] == 1
    assert hook.posted[2].data["late_instances"] == 1


def test_a_rule_of_one_facility_hears_of_it_alone(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "study-complete", facility="north")
    intake.instance(study="1.1")
    intake.instance(study="1.2", slug="north")
    file_all(filer, settings)
    complete(engine, settings, "1.1", "1.2")
    turned = turn()
    turned.until(lambda: hook.posted)
    turned.settle()
    assert [each.data["study_instance_uid"] for each in hook.posted] == ["1.2"]


def test_two_rules_with_one_address_tell_it_once(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "study-complete")
    rule(rules, hook, "study-complete", name="again")
    intake.instance(study="1.1")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    turned = turn()
    turned.until(lambda: hook.posted)
    turned.settle()
    assert len(hook.posted) == len(deliveries(engine)) == 1


def test_without_a_rule_notices_go_and_nothing_piles_up(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, turn: Turn
) -> None:
    intake.instance(study="1.1")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    assert len(rows(engine, Notice)) == 1
    turn().turn()
    assert rows(engine, Notice) == []
    assert notifications(engine) == []


def test_where_there_is_no_notifier_no_notice_is_written(intake: Intake, engine: Engine, settings: Settings) -> None:
    quiet = with_options(settings, notifications={"enabled": False})
    filer = Filer(engine, quiet)
    intake.instance(study="1.1")
    file_all(filer, settings)
    received(engine, "1.1", 120)
    assert complete_quiet_studies(engine, QUIET, settings.paths.spool, tell=False) == 1
    intake.instance(study="1.1")
    file_all(filer, settings)
    assert rows(engine, Notice) == []


@pytest.mark.parametrize("at", ["before anything", "after the take"])
def test_a_kill_at_any_moment_loses_none(
    at: str,
    intake: Intake,
    filer: Filer,
    engine: Engine,
    settings: Settings,
    rules: Rules,
    hook: Receiver,
    turn: Turn,
) -> None:
    rule(rules, hook, "study-complete")
    names = [f"1.{number}" for number in range(30)]
    for name in names:
        intake.instance(study=name)
    file_all(filer, settings)
    complete(engine, settings, *names)
    turned = turn()
    if at == "after the take":
        turned.notifier._intake.take()
    turned.again()
    turned.until(lambda: len(hook.posted) >= len(names))
    turned.settle()
    assert sorted(each.data["study_instance_uid"] for each in hook.posted) == sorted(names)


def test_what_was_sent_and_not_written_down_is_sent_again_with_the_same_id(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "study-complete")
    intake.instance(study="1.1")
    file_all(filer, settings)
    complete(engine, settings, "1.1")
    turned = turn()
    turned.turn(1)
    wait_for(lambda: hook.posted)
    turned.again()  # before the result was taken and written
    turned.until(lambda: len(hook.posted) == 2)
    turned.settle()
    assert hook.posted[0].id == hook.posted[1].id
    assert hook.posted[0].body == hook.posted[1].body
    assert [each["state"] for each in deliveries(engine)] == ["sent"]
