"""Start, stop and what comes of an end without one."""

import os
from pathlib import Path
from typing import Any

import pytest

from noctis.config import load_settings
from noctis.home import Home
from noctis.repository.journal import take
from noctis.supervisor.activity import MARK, Activity


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = load_settings(options={"home": str(tmp_path / "home")}).paths
    made.create()
    return made


def events(home: Home) -> list[dict[str, Any]]:
    return [line for _, lines in take(home.journal) for line in lines]


def test_a_start_and_a_stop(home: Home) -> None:
    made = Activity(home)
    made.started()
    made.stopped()
    Activity(home).started()
    found = events(home)
    assert [line["action"] for line in found] == ["application.started", "application.stopped", "application.started"]
    assert {line["kind"] for line in found} == {"event"}
    assert found[0]["detail"]["pid"] == os.getpid()
    assert found[1]["detail"]["reload"] is False


def test_an_end_without_a_stop(home: Home) -> None:
    Activity(home).started()
    Activity(home).started()
    first, lost, again = events(home)
    assert [each["action"] for each in (first, lost, again)] == [
        "application.started",
        "application.lost",
        "application.started",
    ]
    assert lost["detail"]["pid"] == os.getpid()
    assert lost["detail"]["started_at"] < again["at"]


@pytest.mark.parametrize("left", ["", "[]", "{", '{"pid": 1}'])
def test_a_mark_that_was_torn(home: Home, left: str) -> None:
    (home.run / MARK).write_text(left)
    Activity(home).started()
    assert [line["action"] for line in events(home)] == ["application.lost", "application.started"]


def test_a_disk_that_is_full_keeps_nobody_from_starting(home: Home) -> None:
    (home.run / MARK).mkdir()
    home.journal.rmdir()
    Activity(home).started()
