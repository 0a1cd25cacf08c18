"""Receipts: digests that a sender can reckon himself, one a day and facility, corrected when something came late."""

import csv
import hashlib
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.db import models
from noctis.db.notifying import Delivery, Notification, NotifierState, Receipt
from noctis.errors import NotFoundError, StorageError, UsageError
from noctis.notify.rules import Draft, Rules
from noctis.receipts import keeper as keepers
from noctis.receipts.day import StudyLine, Summing, bounds, parse_day, study_lines
from noctis.receipts.document import Head, Stored, as_csv, as_json, as_text
from noctis.receipts.keeper import Keeper, find, path_of, send_again
from noctis.repository.slots import everything_waiting
from tests.integration.notify.conftest import facility_id, with_options
from tests.notifying import SECRET
from tests.spooling import Intake, Spooled

TODAY = datetime.now().astimezone().date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def filer(engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)


def file(filer: Filer, settings: Settings) -> None:
    filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))


def came_on(engine: Engine, day: date, *instances: str) -> None:
    """Make it so that these instances (all, if none is named) came at noon of a day, and their studies with them."""
    noon = bounds(day)[0] + timedelta(hours=12)
    with engine.begin() as connection:
        statement = update(models.Instance).values(received_at=noon)
        if instances:
            statement = statement.where(models.Instance.sop_instance_uid.in_(instances))
        connection.execute(statement)
        for study, first, last in connection.execute(
            select(
                models.Series.study_id,
                func.min(models.Instance.received_at),
                func.max(models.Instance.received_at),
            )
            .join(models.Series, models.Series.id == models.Instance.series_id)
            .group_by(models.Series.study_id)
        ).all():
            connection.execute(
                update(models.Study).where(models.Study.id == study).values(first_received=first, last_received=last)
            )


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def study_digest(*spooled: Spooled) -> str:
    """As docs/notifications.md has it, from the bytes that were sent."""
    return sha(
        "".join(f"{digest}\n" for digest in sorted(hashlib.sha256(each.data_set).hexdigest() for each in spooled))
    )


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """An hour after the last local midnight, whatever time it is."""
    made = Clock()
    made.now = bounds(TODAY)[0] + timedelta(hours=1)
    return made


@pytest.fixture
def keeper(engine: Engine, settings: Settings, clock: Clock) -> Keeper:
    """One that has looked before anything came."""
    made = Keeper(engine, settings, clock)
    clock.now -= timedelta(days=20)
    made.look()
    clock.now += timedelta(days=20)
    return made


def look(keeper: Keeper) -> int:
    """As an hour later: the instances are scanned again."""
    keeper._scanned_at = None
    return keeper.look()


def receipts(engine: Engine) -> list[dict[str, Any]]:
    query = select(Receipt.__table__).order_by(Receipt.facility_id, Receipt.day)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def document(settings: Settings, slug: str = "central", day: date = YESTERDAY) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path_of(settings, slug, day.isoformat()).read_text())
    return found


# -- what it says


def test_digests_are_what_a_sender_reckons(intake: Intake, filer: Filer, engine: Engine, settings: Settings) -> None:
    first = [intake.instance(study="1.10", series=f"1.10.{n % 2}", number=n) for n in range(5)]
    second = [intake.instance(study="1.9", number=n) for n in range(2)]
    intake.instance(study="1.11", slug="north")
    file(filer, settings)
    summing = Summing()
    lines = list(study_lines(engine, facility_id(engine, "central"), TODAY))
    for line in lines:
        summing.add(line)
    assert [(each.study_instance_uid, each.series, each.instances) for each in lines] == [("1.10", 2, 5), ("1.9", 1, 2)]
    assert [each.sha256 for each in lines] == [study_digest(*first), study_digest(*second)]
    assert summing.totals.instances == 7
    assert summing.totals.bytes == sum(each.bytes for each in lines)
    assert summing.totals.sha256 == sha(f"1.10 {study_digest(*first)}\n1.9 {study_digest(*second)}\n")


def test_only_what_came_on_that_day_counts(intake: Intake, filer: Filer, engine: Engine, settings: Settings) -> None:
    early = intake.instance(study="1.1", sop_instance="1.1.1.1")
    late = intake.instance(study="1.1", sop_instance="1.1.1.2")
    file(filer, settings)
    came_on(engine, YESTERDAY, "1.1.1.1")
    central = facility_id(engine, "central")
    (before,) = study_lines(engine, central, YESTERDAY)
    (today,) = study_lines(engine, central, TODAY)
    assert (before.instances, before.sha256) == (1, study_digest(early))
    assert (today.instances, today.sha256) == (1, study_digest(late))
    assert list(study_lines(engine, central, YESTERDAY - timedelta(days=1))) == []


def test_the_pieces_make_no_difference(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        intake.instance(study=f"1.{number}")
        intake.instance(study=f"1.{number}")
    file(filer, settings)
    central = facility_id(engine, "central")
    whole = list(study_lines(engine, central, TODAY))
    monkeypatch.setattr("noctis.receipts.day.PIECE", 2)
    monkeypatch.setattr("noctis.receipts.day.ROWS", 1)
    seen: list[tuple[int, int]] = []
    assert list(study_lines(engine, central, TODAY, lambda done, total: seen.append((done, total)))) == whole
    assert seen == [(2, 7), (4, 7), (6, 7), (7, 7)]


LINES = [
    StudyLine("1.1", "A1", "complete", 1, 2, 300, "ab" * 32),
    StudyLine("1.2", '=cmd|"x"\r\n', "receiving", 1, 1, 5, "cd" * 32),
]
HEAD = Head.of("central", "Central <b>", "CENTRAL", date(2026, 1, 31), 2)


def test_a_file_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    summing = Summing()
    path = tmp_path / "r.json"
    path.write_text("".join(as_json(HEAD, LINES, summing)))
    whole = json.loads(path.read_text())
    assert whole["totals"] == summing.totals.as_json()
    assert [each["study_instance_uid"] for each in whole["studies"]] == ["1.1", "1.2"]
    assert (whole["version"], whole["revision"], whole["day"]) == (1, 2, "2026-01-31")
    stored = Stored(path)
    assert stored.head == HEAD
    assert list(stored.lines()) == LINES
    path.write_text("".join(as_json(HEAD, [], Summing())))
    assert list(Stored(path).lines()) == []
    path.write_text("nonsense")
    with pytest.raises(StorageError):
        Stored(path)


def test_a_spreadsheet_finds_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(as_csv(LINES, Summing())), newline="")))
    assert rows[0]["accession_number"] == "A1"
    assert rows[1]["accession_number"] == '\'=cmd|"x"\r\n'
    assert rows[0]["sha256"] == "ab" * 32


def test_people_read_the_sums() -> None:
    text = "".join(as_text(HEAD, LINES, Summing()))
    assert "Receipt of 2026-01-31 for Central <b> (CENTRAL), revision 2" in text
    assert "2 studies, 2 series, 3 instances, 305 B" in text


@pytest.mark.parametrize("text", ["", "31.01.2026", "2026-13-01", "2026-1-1", "99999999", "1900-01-01", "²026-01-01"])
def test_what_is_no_day_is_said(text: str) -> None:
    with pytest.raises(UsageError):
        parse_day(text)


def test_days_as_they_are_typed() -> None:
    assert parse_day("2026-01-31") == parse_day("20260131") == date(2026, 1, 31)
    assert parse_day("yesterday") == YESTERDAY
    with pytest.raises(UsageError, match="still to come"):
        parse_day((TODAY + timedelta(days=1)).isoformat())


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
