"""When receipts are made, one a day and facility, corrected when something came late; and who gets them."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.db.notifying import Delivery, Notification, NotifierState
from noctis.errors import NotFoundError, StorageError
from noctis.notify.rules import Draft, Rules
from noctis.receipts import keeper as keepers
from noctis.receipts.day import bounds
from noctis.receipts.keeper import Keeper, find, path_of, send_again
from tests.integration.notify.conftest import with_options
from tests.integration.receipts.days import (
    TODAY,
    YESTERDAY,
    Clock,
    came_on,
    document,
    file,
    look,
    receipts,
    study_digest,
)
from tests.notifying import SECRET
from tests.spooling import Intake

# -- when it is made


def test_each_facility_gets_one_soon_after_midnight(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, keeper: Keeper, clock: Clock
) -> None:
    sent = intake.instance(study="1.1")
    intake.instance(study="1.2", slug="north")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    clock.now = bounds(TODAY)[0] + timedelta(minutes=5)
    assert look(keeper) == 0  # the grace is not over
    clock.now = bounds(TODAY)[0] + timedelta(minutes=16)
    assert look(keeper) == 2
    found = document(settings)
    assert (found["facility"], found["revision"], found["totals"]["instances"]) == ("central", 1, 1)
    assert found["studies"][0]["sha256"] == study_digest(sent)
    assert document(settings, "north")["totals"]["studies"] == 1
    path = path_of(settings, "central", YESTERDAY.isoformat())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    before = path.stat().st_mtime_ns
    assert look(keeper) == 0
    assert Keeper(engine, settings, clock).look() == 0  # nor does another process make it again
    assert path.stat().st_mtime_ns == before
    assert find(engine, settings, "central", YESTERDAY) == path


def test_a_day_on_which_nothing_came_makes_none(engine: Engine, settings: Settings, keeper: Keeper) -> None:
    assert look(keeper) == 0
    assert receipts(engine) == []
    with pytest.raises(NotFoundError):
        find(engine, settings, "central", YESTERDAY)


def test_days_that_passed_while_nothing_ran_are_made_up_for(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, keeper: Keeper
) -> None:
    for back in (1, 3, 4):
        uid = f"1.1.1.{back}"
        intake.instance(study=f"1.{back}", sop_instance=uid)
        file(filer, settings)
        came_on(engine, TODAY - timedelta(days=back), uid)
    assert look(keeper) == 3
    assert [row["day"] for row in receipts(engine)] == [
        (TODAY - timedelta(days=back)).isoformat() for back in (4, 3, 1)
    ]


def test_what_was_filed_late_makes_a_second_revision(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, keeper: Keeper
) -> None:
    first = intake.instance(study="1.1", sop_instance="1.1.1.1")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    assert look(keeper) == 1
    second = intake.instance(study="1.1", sop_instance="1.1.1.2")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    assert look(keeper) == 1
    found = document(settings)
    assert (found["revision"], found["totals"]["instances"]) == (2, 2)
    assert found["studies"][0]["sha256"] == study_digest(first, second)
    assert look(keeper) == 0


def test_it_waits_for_what_is_not_filed_yet_and_not_all_day(
    intake: Intake,
    filer: Filer,
    engine: Engine,
    settings: Settings,
    keeper: Keeper,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake.instance(study="1.1")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    begin = bounds(TODAY)[0]
    before_midnight = int((begin - timedelta(minutes=1)).timestamp() * 1e9)
    monkeypatch.setattr(keepers.slots, "oldest_ns", lambda _root, slug: before_midnight if slug == "central" else None)
    assert look(keeper) == 0
    clock.now = begin + timedelta(hours=7)
    assert look(keeper) == 1


def test_a_kill_between_file_and_row_makes_the_same_receipt(
    intake: Intake,
    filer: Filer,
    engine: Engine,
    settings: Settings,
    keeper: Keeper,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake.instance(study="1.1")
    file(filer, settings)
    came_on(engine, YESTERDAY)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "_conclude", die)
        with pytest.raises(Killed):
            look(keeper)
    before = document(settings)
    assert Keeper(engine, settings, clock).look() == 1
    after = document(settings)
    assert before | {"made_at": ""} == after | {"made_at": ""}
    assert receipts(engine)[0]["revision"] == 1
    folder = path_of(settings, "central", "x").parent
    assert [each.name for each in folder.iterdir()] == [f"{YESTERDAY}.json"]


def test_a_restored_database_is_scanned_from_its_beginning(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, keeper: Keeper
) -> None:
    intake.instance(study="1.1")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    with engine.begin() as connection:
        connection.execute(update(NotifierState).values(value={"scanned": 1_000_000, "from": "2026-01-01"}))
    assert look(keeper) == 1


def test_the_first_start_makes_no_receipts_of_the_past(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, clock: Clock
) -> None:
    intake.instance(study="1.1", sop_instance="1.1.1.1")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    intake.instance(study="1.2")
    file(filer, settings)
    keeper = Keeper(engine, settings, clock)
    assert keeper.look() == 0
    assert [row["day"] for row in receipts(engine)] == [TODAY.isoformat()]
    clock.now += timedelta(days=1)
    assert look(keeper) == 1


# -- who gets it


@pytest.fixture
def mailing(settings: Settings) -> Settings:
    return with_options(
        settings,
        smtp={"host": "127.0.0.1"},
        receipts={"recipients": ["archive@x.example"], "to_facility": True},
    )


def sent_to(engine: Engine) -> list[tuple[str, str]]:
    query = select(Delivery.channel, Delivery.address).order_by(Delivery.channel, Delivery.address)
    with engine.connect() as connection:
        return [(row.channel, row.address) for row in connection.execute(query)]


def test_it_goes_to_the_facility_the_recipients_and_the_rules(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, mailing: Settings, clock: Clock, registry: Any
) -> None:
    registry.edit("central", {"email": "it@central.example"})
    Rules(engine, settings, "ada").add(
        Draft("r", ("receipt",), url="https://x.example/h", secret=SECRET, recipients=("archive@x.example",))
    )
    keeper = Keeper(engine, mailing, clock)
    clock.now -= timedelta(days=2)
    keeper.look()
    clock.now += timedelta(days=2)
    intake.instance(study="1.1")
    file(filer, settings)
    came_on(engine, YESTERDAY)
    assert look(keeper) == 1
    assert sent_to(engine) == [
        ("email", "archive@x.example"),
        ("email", "it@central.example"),
        ("webhook", "https://x.example/h"),
    ]
    with engine.connect() as connection:
        data = connection.scalars(select(Notification.data)).one()
    assert (data["day"], data["revision"], data["instances"]) == (YESTERDAY.isoformat(), 1, 1)
    assert data["sha256"] == document(settings)["totals"]["sha256"]
    with engine.begin() as connection:
        connection.execute(delete(Delivery))
    assert send_again(engine, mailing, "central", YESTERDAY, ["b@y.example"]) == 1
    assert sent_to(engine) == [("email", "b@y.example")]
    with pytest.raises(StorageError):
        send_again(engine, settings, "central", YESTERDAY, [])
