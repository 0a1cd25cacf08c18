"""What a receipt says: digests that a sender can reckon himself."""

import csv
import io
import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.errors import StorageError, UsageError
from noctis.receipts.day import StudyLine, Summing, parse_day, study_lines
from noctis.receipts.document import Head, Stored, as_csv, as_json, as_text
from tests.integration.notify.conftest import facility_id
from tests.integration.receipts.days import (
    TODAY,
    YESTERDAY,
    came_on,
    file,
    sha,
    study_digest,
)
from tests.spooling import Intake


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
