"""What is made of the supervisor's counters, second by second."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from noctis.errors import DatabaseError, SupervisorError
from noctis.repository.counts import Received
from noctis.web import sampler, sparkline
from noctis.web.sampler import ARCHIVER, Meter, Sampler, spread

NOW = datetime(2026, 11, 25, 12, 0, 30, tzinfo=UTC)


class Supervisor:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.started_at = "one"
        self.instances = {11112: 0, 11113: 500}
        self.filed = 0
        self.is_away = False
        self.asked = 0

    def status(self) -> dict[str, Any]:
        self.asked += 1
        if self.is_away:
            raise SupervisorError("no supervisor runs", fix="start it")
        listeners = [{"port": port, "instances": count} for port, count in self.instances.items()]
        return {"pid": 1, "started_at": self.started_at, "listeners": listeners, "archiver": {"filed": self.filed}}


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time.time() says."""
    now = [NOW.timestamp()]
    monkeypatch.setattr(sampler.time, "time", lambda: now[0])
    return now


@pytest.fixture
def made(supervisor: Supervisor, clock: list[float]) -> Sampler:
    return Sampler(supervisor, lambda _: ())  # type: ignore[arg-type]


def later(clock: list[float], seconds: float = 1.0) -> None:
    clock[0] += seconds


def test_what_was_counted_before_anybody_looked_is_no_rate(made: Sampler) -> None:
    made.take()
    assert made.rate(11113) == 0
    assert sum(made.minutes(11113)) == 0


def test_the_rate_is_that_of_the_last_seconds(made: Sampler, supervisor: Supervisor, clock: list[float]) -> None:
    made.take()
    for _ in range(5):
        later(clock)
        supervisor.instances[11113] += 20
        supervisor.filed += 10
        made.take()
    assert made.rate(11113) == 20
    assert made.rate(ARCHIVER) == 10
    assert made.rate(11112) == 0
    assert made.minutes(11113)[-1] == 100
    later(clock, 60)
    made.take()
    assert made.rate(11113) == 0
    assert made.minutes(11113)[-2:] == [100, 0]


def test_a_restarted_supervisor_makes_nothing_fall(made: Sampler, supervisor: Supervisor, clock: list[float]) -> None:
    made.take()
    later(clock)
    supervisor.started_at, supervisor.instances = "two", {11112: 0, 11113: 700}  # more than before: all of them new
    made.take()
    assert sum(made.minutes(11113)) == 700


def test_a_new_port_counts_from_its_beginning(made: Sampler, supervisor: Supervisor, clock: list[float]) -> None:
    made.take()
    later(clock)
    supervisor.instances[11114] = 7
    made.take()
    assert sum(made.minutes(11114)) == 7


def test_only_an_hour_is_remembered(made: Sampler, supervisor: Supervisor, clock: list[float]) -> None:
    made.take()
    later(clock)
    supervisor.instances[11113] += 5
    made.take()
    later(clock, 59 * 60)
    made.take()
    assert made.minutes(11113)[0] == 5
    later(clock, 60)
    made.take()
    assert sum(made.minutes(11113)) == 0


def test_many_who_ask_are_one_question(made: Sampler, supervisor: Supervisor, clock: list[float]) -> None:
    for _ in range(100):
        assert made.now().status is not None
    assert supervisor.asked == 1
    later(clock, 3)
    made.now()
    assert supervisor.asked == 2


def test_a_supervisor_that_is_away_is_said_to_be(made: Sampler, supervisor: Supervisor, clock: list[float]) -> None:
    supervisor.is_away = True
    assert (made.now().error, made.now().fix, made.now().listeners) == ("no supervisor runs", "start it", [])


def test_the_hour_before_comes_from_the_ledger(supervisor: Supervisor, clock: list[float]) -> None:
    asked: list[datetime] = []

    def history(since: datetime) -> Iterable[Received]:
        asked.append(since)
        if len(asked) == 1:
            raise DatabaseError("away")
        return [Received(11113, NOW - timedelta(minutes=10), NOW - timedelta(minutes=8), 60)]

    made = Sampler(supervisor, history)  # type: ignore[arg-type]
    assert not made._fill(NOW)
    assert made._fill(NOW)
    assert asked == [NOW - timedelta(minutes=60)] * 2
    assert made.minutes(11113)[-11:] == [15, 30, 15, 0, 0, 0, 0, 0, 0, 0, 0]


def test_an_association_is_spread_over_its_time_as_far_as_it_is_the_last_hours() -> None:
    since = NOW - timedelta(minutes=60)
    row = Received(1, since - timedelta(minutes=60), since + timedelta(minutes=60), 120)
    found = dict(spread(row, since, NOW))
    assert len(found) == 61  # two of them in part
    assert sum(found.values()) == pytest.approx(60)
    at_once = Received(1, NOW - timedelta(minutes=5), NOW - timedelta(minutes=5), 3)
    assert sum(instances for _, instances in spread(at_once, since, NOW)) == pytest.approx(3)


def test_a_meter_without_a_second_point_has_no_rate() -> None:
    meter = Meter()
    assert meter.rate(1.0) == 0
    meter.count(5, 1.0, anew=True)
    assert meter.rate(1.0) == 0


def test_a_sparkline_stays_in_its_box() -> None:
    points = [tuple(map(int, each.split(","))) for each in sparkline.points([0] * 30 + [10] * 30).split()]
    assert len(points) == sparkline.POINTS
    assert points[0] == (0, sparkline.HEIGHT - 1)
    assert points[-1] == (sparkline.WIDTH, 1)
    assert "0,23" in sparkline.points([0] * 60)
    assert sparkline.sentence([0, 3, 2]) == "5 instances in the last hour, at most 3 a minute"
    assert sparkline.sentence([0]) == "none in the last hour"
