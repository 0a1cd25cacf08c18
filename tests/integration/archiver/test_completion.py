"""A study becomes complete when it was quiet, and never while what waits in the spool might be its own."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from noctis.archiver import completion
from noctis.archiver.completion import Ahead, complete_quiet_studies
from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.db import models
from noctis.repository.slots import everything_waiting
from tests.books import rows
from tests.spooling import Intake

QUIET = 60.0  # seconds


def file_all(filer: Filer, settings: Settings) -> None:
    filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))


def received(engine: Engine, study: str, seconds_ago: float) -> None:
    """Make it so that the study's last instance came so long ago."""
    with engine.begin() as connection:
        connection.execute(
            update(models.Study)
            .where(models.Study.study_instance_uid == study)
            .values(last_received=datetime.now(UTC) - timedelta(seconds=seconds_ago))
        )


def status(engine: Engine) -> dict[str, str]:
    return {row["study_instance_uid"]: row["status"] for row in rows(engine, models.Study)}


@pytest.fixture
def studies(intake: Intake, filer: Filer, engine: Engine, settings: Settings) -> None:
    for study in ("1.1", "1.2"):
        intake.instance(study=study)
    intake.instance(study="1.3", slug="north")
    file_all(filer, settings)
    received(engine, "1.1", 120)
    received(engine, "1.2", 30)
    received(engine, "1.3", 120)


@pytest.mark.usefixtures("studies")
def test_quiet_studies_become_complete(engine: Engine, settings: Settings) -> None:
    assert complete_quiet_studies(engine, QUIET, settings.paths.spool) == 2
    assert status(engine) == {"1.1": "complete", "1.2": "receiving", "1.3": "complete"}
    assert all((row["completed_at"] is not None) == (row["status"] == "complete") for row in rows(engine, models.Study))
    assert complete_quiet_studies(engine, QUIET, settings.paths.spool) == 0


@pytest.mark.usefixtures("studies")
@pytest.mark.parametrize(("waiting_since", "complete"), [(90.0, False), (50.0, True)])
def test_what_waits_in_the_spool_holds_up_its_facility_alone(
    waiting_since: float, complete: bool, intake: Intake, engine: Engine, settings: Settings
) -> None:
    """1.1 was quiet from 120 s to 60 s ago: an entry that came after that proves it was, one before does not."""
    came = int((datetime.now(UTC).timestamp() - waiting_since) * 1e9)
    entry = intake.own_file(intake.instance(study="1.1").entry)
    entry.path.rename(entry.path.with_name(f"{came:016x}-1-1.dcm"))
    complete_quiet_studies(engine, QUIET, settings.paths.spool)
    assert status(engine) == {"1.1": "complete" if complete else "receiving", "1.2": "receiving", "1.3": "complete"}


@pytest.mark.usefixtures("studies")
def test_what_comes_later_reopens_it(intake: Intake, filer: Filer, engine: Engine, settings: Settings) -> None:
    complete_quiet_studies(engine, QUIET, settings.paths.spool)
    intake.instance(study="1.1")
    file_all(filer, settings)
    assert status(engine)["1.1"] == "receiving"
    received(engine, "1.1", 61)
    complete_quiet_studies(engine, QUIET, settings.paths.spool)
    (study,) = [row for row in rows(engine, models.Study) if row["study_instance_uid"] == "1.1"]
    assert (study["status"], study["late_instances"], study["instances"]) == ("complete", 1, 2)


@pytest.mark.usefixtures("studies")
def test_a_study_from_a_clock_that_was_ahead_is_timed_by_the_monotonic_one(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    received(engine, "1.1", -3600)
    clock = [1000.0]
    ahead = Ahead(lambda: clock[0])

    def after(seconds: float) -> str:
        clock[0] += seconds
        ahead.complete(engine, QUIET, settings.paths.spool)
        complete_quiet_studies(engine, QUIET, settings.paths.spool)
        return status(engine)["1.1"]

    assert after(0) == "receiving"
    assert after(QUIET - 1) == "receiving"
    intake.instance(study="1.1")
    assert after(2) == "receiving"  # what waits may be its own
    file_all(filer, settings)
    assert after(2) == "receiving"  # and was: timed anew
    assert after(QUIET - 1) == "receiving"
    assert after(2) == "complete"
    assert status(engine)["1.2"] == "receiving"


@pytest.mark.usefixtures("studies")
def test_a_facilitys_spool_is_gone_through_once_and_only_for_studies_that_are_due(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for study in ("1.1", "1.2"):
        received(engine, study, -3600)
    looked: list[str] = []
    monkeypatch.setattr(completion, "oldest", lambda _spool, slug: looked.append(slug))
    clock = [1000.0]
    ahead = Ahead(lambda: clock[0])
    assert ahead.complete(engine, QUIET, settings.paths.spool) == 0
    assert looked == []
    clock[0] += QUIET
    assert ahead.complete(engine, QUIET, settings.paths.spool) == 2
    assert looked == ["central"]
