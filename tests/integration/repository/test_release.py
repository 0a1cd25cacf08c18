"""Out of quarantine: what can be filed is, by the UIDs of its data set; what cannot is refused with the fix."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from noctis.archiver.filing import file_spool_once
from noctis.config import Settings
from noctis.db import models
from noctis.errors import ConflictError, DatabaseError, NotFoundError, StorageError
from noctis.facilities.registry import Registry
from noctis.repository import quarantine_rows
from noctis.repository.index import Outcome
from noctis.repository.quarantine import Note, Quarantine, Reason, read_note, write_note
from noctis.repository.release import discard, release
from tests.books import assert_true, rows
from tests.samples import make_instance
from tests.spooling import Intake, encode


@pytest.fixture
def quarantine(settings: Settings) -> Quarantine:
    return Quarantine(settings.paths.quarantine)


def keep(quarantine: Quarantine, engine: Engine, path: Path, reason: Reason) -> str:
    name = quarantine.keep(path, "central", Note(reason, sop_instance_uid="1.2.3"), cap=10).name
    quarantine_rows.sync(engine, quarantine)
    return name


def actions(engine: Engine) -> list[tuple[str, str]]:
    return [(row["action"], row["actor"]) for row in rows(engine, models.Event) if "quarantine" in row["action"]]


def test_an_instance_whose_uids_differed_is_filed_by_its_data_sets(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    data_set = encode(make_instance(study="1.1", series="1.1.1", sop_instance="1.2.3.4"))
    name = keep(quarantine, engine, intake.put(data_set, sop_instance="9.9.9").path, Reason.UID_MISMATCH)
    released = release(settings, engine, "central", name, actor="anna")
    assert released.outcome is Outcome.FILED
    path = settings.paths.media / released.path
    assert released.path == "central/1.1/1.1.1/1.2.3.4.dcm"
    assert path.read_bytes().endswith(data_set)
    assert dcmread(path).file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    (row,) = rows(engine, models.Instance)
    assert (row["calling_ae_title"], row["sop_instance_uid"]) == ("CT1", "1.2.3.4")
    assert actions(engine) == [("quarantine.released", "anna")]
    assert list(settings.paths.quarantine.glob("central/*")) == []
    assert rows(engine, models.Quarantined) == []
    assert_true(engine, settings)


def test_a_conflict_is_released_only_to_replace(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    first = intake.instance(sop_instance="1.2.3.4")
    second = intake.instance(sop_instance="1.2.3.4", name="Other")
    file_spool_once(settings, engine=engine)
    (name,) = quarantine.names("central")
    with pytest.raises(ConflictError, match="is filed in central") as error:
        release(settings, engine, "central", name)
    assert f"noctis quarantine release central {name} --replace" in str(error.value)
    assert quarantine.names("central") == [name]
    released = release(settings, engine, "central", name, replace=True, actor="anna")
    assert released.outcome is Outcome.REPLACED
    assert (settings.paths.media / released.path).read_bytes().endswith(second.data_set)
    (other,) = quarantine.names("central")
    assert (quarantine.folder("central") / other).read_bytes().endswith(first.data_set)
    assert [row["name"] for row in rows(engine, models.Quarantined)] == [other]
    assert actions(engine) == [("quarantine.released", "anna")]
    assert_true(engine, settings)


def test_into_another_facility(intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings) -> None:
    data_set = encode(make_instance(study="1.1", series="1.1.1", sop_instance="1.2.3.4"))
    name = keep(quarantine, engine, intake.put(data_set, sop_instance="9.9.9").path, Reason.UID_MISMATCH)
    released = release(settings, engine, "central", name, into="north", actor="anna")
    assert (released.outcome, released.path) == (Outcome.FILED, "north/1.1/1.1.1/1.2.3.4.dcm")
    assert (settings.paths.media / released.path).read_bytes().endswith(data_set)
    assert list(settings.paths.quarantine.glob("*/*")) == list(settings.paths.spool.glob("*/new/*")) == []
    assert rows(engine, models.Quarantined) == []
    told = {row["action"]: row["detail"] for row in rows(engine, models.Event) if row["actor"] == "anna"}
    assert told["quarantine.released"]["into"] == "north"
    assert told["quarantine.taken_over"]["from"] == "central"
    assert_true(engine, settings)


def test_a_conflict_in_the_other_facility_changes_nothing(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    intake.instance(slug="north", sop_instance="1.2.3.4")
    file_spool_once(settings, engine=engine)
    name = keep(quarantine, engine, intake.instance(sop_instance="1.2.3.4", name="Other").entry.path, Reason.CONFLICT)
    with pytest.raises(ConflictError, match="is filed in north") as error:
        release(settings, engine, "central", name, into="north")
    assert "--into north --replace" in str(error.value)
    assert read_note(quarantine.folder("central") / name).into == ""
    assert release(settings, engine, "central", name).outcome is Outcome.FILED  # its own facility has none
    assert [row["path"].split("/")[0] for row in rows(engine, models.Instance)] == ["central", "north"]
    assert_true(engine, settings)


def test_what_was_begun_into_one_facility_is_not_begun_into_another(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    name = keep(quarantine, engine, intake.instance(sop_instance="1.2.3.4").entry.path, Reason.CONFLICT)
    path = quarantine.folder("central") / name
    write_note(path, replace(read_note(path), into="north"))
    with pytest.raises(ConflictError, match="into north has been begun") as error:
        release(settings, engine, "central", name)
    assert f"noctis quarantine release central {name} --into north" in str(error.value)
    assert release(settings, engine, "central", name, into="north").outcome is Outcome.FILED


@pytest.mark.parametrize("into", ["nobody", "../north", "North", "gone"])
def test_there_is_no_such_other_facility(
    into: str, intake: Intake, quarantine: Quarantine, registry: Registry, engine: Engine, settings: Settings
) -> None:
    registry.add("Gone")
    registry.remove("gone")
    name = keep(quarantine, engine, intake.instance(sop_instance="1.2.3.4").entry.path, Reason.CONFLICT)
    with pytest.raises(NotFoundError):
        release(settings, engine, "central", name, into=into)
    assert quarantine.names("central") == [name]
    assert read_note(quarantine.folder("central") / name).into == ""


def test_two_who_release_one_instance_into_two_facilities(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    name = keep(quarantine, engine, intake.instance(sop_instance="1.2.3.4").entry.path, Reason.CONFLICT)
    barrier = threading.Barrier(2)
    ends: list[object] = []

    def work(into: str | None) -> None:
        barrier.wait(10)
        try:
            ends.append(release(settings, engine, "central", name, into=into).outcome)
        except (ConflictError, NotFoundError) as error:
            ends.append(type(error))

    threads = [threading.Thread(target=work, args=(into,)) for into in (None, "north")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ends.count(Outcome.FILED) == 1
    assert len(rows(engine, models.Instance)) == 1
    assert_true(engine, settings)


def test_what_is_filed_already_just_leaves(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    intake.instance(sop_instance="1.2.3.4")
    file_spool_once(settings, engine=engine)
    name = keep(quarantine, engine, intake.instance(sop_instance="1.2.3.4").entry.path, Reason.CONFLICT)
    assert release(settings, engine, "central", name).outcome is Outcome.DUPLICATE
    assert quarantine.names("central") == []
    assert_true(engine, settings)


@pytest.mark.parametrize(
    ("data_set", "reason", "message"),
    [
        (b"\xff" * 64, Reason.UNPARSEABLE, "cannot be filed"),
        (encode(make_instance(study="", series="1.1", sop_instance="1.2.3")), Reason.MISSING_UID, "no Study Instance"),
    ],
)
def test_what_cannot_be_filed_stays_and_says_what_to_do(
    data_set: bytes,
    reason: Reason,
    message: str,
    intake: Intake,
    quarantine: Quarantine,
    engine: Engine,
    settings: Settings,
) -> None:
    name = keep(quarantine, engine, intake.put(data_set).path, reason)
    with pytest.raises(StorageError, match=message) as error:
        release(settings, engine, "central", name)
    assert "noctis import central" in str(error.value)
    assert quarantine.names("central") == [name]
    assert len(rows(engine, models.Quarantined)) == 1


def test_a_file_of_another_kind_stays(
    quarantine: Quarantine, registry: Registry, engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no file of ours")
    name = keep(quarantine, engine, path, Reason.UNPARSEABLE)
    with pytest.raises(StorageError):
        release(settings, engine, "central", name)
    assert quarantine.names("central") == [name]


def test_discarding(intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings) -> None:
    name = keep(quarantine, engine, intake.put(b"\xff" * 64).path, Reason.UNPARSEABLE)
    discard(settings, engine, "central", name, actor="anna")
    assert list(settings.paths.quarantine.glob("central/*")) == []
    assert rows(engine, models.Quarantined) == []
    (event,) = [row for row in rows(engine, models.Event) if row["action"] == "quarantine.discarded"]
    assert (event["actor"], event["subject"], event["detail"]["reason"]) == ("anna", name, "unparseable")


@pytest.mark.parametrize(("facility", "name"), [("nobody", "x.dcm"), ("central", "x.dcm"), ("central", "../x.dcm")])
@pytest.mark.usefixtures("registry")
def test_what_is_not_there(facility: str, name: str, engine: Engine, settings: Settings) -> None:
    for action in (release, discard):
        with pytest.raises(NotFoundError):
            action(settings, engine, facility, name)


def test_the_table_follows_the_folder(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    names = [keep(quarantine, engine, intake.put(bytes([n]) * 64).path, Reason.UNPARSEABLE) for n in range(3)]
    stray = quarantine.folder("nobody")
    stray.mkdir()
    (stray / "x.dcm").write_bytes(b"x")
    (quarantine.folder("central") / names[0]).unlink()
    (quarantine.folder("central") / "hand.dcm").write_bytes(b"by hand")
    assert quarantine_rows.sync(engine, quarantine) == 2
    found = {row["name"]: row for row in rows(engine, models.Quarantined)}
    assert set(found) == {names[1], names[2], "hand.dcm"}
    assert found["hand.dcm"]["detail"] == "the note beside the file is missing"
    assert quarantine_rows.sync(engine, quarantine) == 0


def test_a_database_that_goes_away_while_the_table_is_made_true(
    intake: Intake, quarantine: Quarantine, engine: Engine, settings: Settings
) -> None:
    """The archiver waits for what says so; anything else would end it."""

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO quarantined"):
            raise OperationalError(statement, None, Exception("disk I/O error"))

    entry = intake.own_file(intake.instance(sop_instance="1.2.3").entry)
    quarantine.keep(entry.path, "central", Note(Reason.UID_MISMATCH), cap=10)
    event.listen(engine, "before_cursor_execute", refuse)
    with pytest.raises(DatabaseError, match="disk I/O error"):
        quarantine_rows.sync(engine, quarantine)
    event.remove(engine, "before_cursor_execute", refuse)
    assert quarantine_rows.sync(engine, quarantine) == 1
