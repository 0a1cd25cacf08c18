"""`noctis silence`: the list, its exit code, and what is said to an alarm."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from noctis.config import load_settings
from noctis.db.engine import make_engine
from noctis.silence.mutes import parse_until
from tests.habits import clinic_stopped, fill
from tests.integration.cli.conftest import Call

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    made = make_engine(load_settings())
    yield made
    made.dispose()


@pytest.fixture
def silent(noctis: Call, engine: Engine) -> None:
    facility = noctis("facility", "add", "Central", "--json").json
    noctis("device", "add", "central", "CT1")
    noctis("facility", "add", "North")
    fill(engine, facility["id"], "CT1", clinic_stopped(datetime.now(UTC), timedelta(days=9)))


def states(noctis: Call, *arguments: str, code: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = noctis("silence", "list", "--json", *arguments, code=code).json
    return found


@pytest.mark.usefixtures("silent")
def test_an_alarm_is_listed_first_and_is_the_exit_code(noctis: Call) -> None:
    answer = noctis("silence", code=1)
    assert answer.out.splitlines()[1].startswith("central")
    assert "silent for 9 days" in answer.out
    assert "never sent" in answer.out
    first, *_ = states(noctis, code=1)
    assert (first["facility"], first["device"], first["alarm"]) == ("central", "", True)
    assert [each["device"] for each in states(noctis, "--alarms", code=1)] == [""]
    assert {each["facility"] for each in states(noctis, "--facility", "North", code=0)} == {"north"}


@pytest.mark.usefixtures("silent")
def test_acknowledged_muted_and_alarming_again(noctis: Call) -> None:
    noctis("silence", "ack", "Central", "--reason", "on holiday")
    (state,) = states(noctis, "--alarms", code=0)
    assert (state["acknowledged"], state["mute"]["reason"], state["state"]) == (True, "on holiday", "acknowledged")
    noctis("silence", "mute", "central", "--until", "3d")
    assert states(noctis, "--alarms", code=0)[0]["muted"] is True
    noctis("silence", "unmute", "central")
    assert states(noctis, "--alarms", code=1)[0]["muted"] is False
    noctis("silence", "mute", "central", "--device", "CT1")
    assert states(noctis, code=1)[1]["muted"] is True
    actions = [each["action"] for each in noctis("event", "list", "--action", "silence", "--json").json]
    assert sorted(actions) == ["silence.acknowledged", "silence.muted", "silence.muted", "silence.unmuted"]


@pytest.mark.usefixtures("silent")
def test_check_names_who_is_silent(noctis: Call) -> None:
    findings = [each for each in noctis("check", "--json", code=1).json if each["check"] == "silence"]
    assert [each["well"] for each in findings] == [False]
    assert "'Central' is silent: usually sends" in findings[0]["text"]
    noctis("silence", "mute", "central")
    assert [each["well"] for each in noctis("check", "--json", code=1).json if each["check"] == "silence"] == [True]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ack", "nowhere"), "No facility found"),
        (("ack", "central", "--device", "CT9"), "has no device 'CT9'"),
        (("ack", "north"), "never sent"),
        (("unmute", "central"), "neither muted nor acknowledged"),
        (("mute", "central", "--until", "soon"), "no time until which to mute"),
        (("mute", "central", "--until", "2020-01-01"), "past"),
        (("mute", "central", "--until", "99999w"), "too far away"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], said: str, noctis: Call) -> None:
    assert said in noctis("silence", *arguments, code=2).err


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("", None),
        ("ever", None),
        ("12h", NOW + timedelta(hours=12)),
        ("2w", NOW + timedelta(days=14)),
        ("2026-12-24T08:00+00:00", datetime(2026, 12, 24, 8, tzinfo=UTC)),
        ("2026-12-24", datetime(2026, 12, 25).astimezone()),
    ],
)
def test_until_when(text: str, until: datetime | None) -> None:
    assert parse_until(text, NOW) == until
