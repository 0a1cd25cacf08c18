"""Restarts: at once after one crash, later and later when it keeps crashing, never faster because a clock moved."""

import signal
import time
from collections.abc import Iterator

import pytest
from supervisor.states import ProcessStates

from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.supervisor import process
from noctis.supervisor.options import Options
from noctis.supervisor.process import ForkedConfig, ForkedProcess, Restart

KILLED = signal.SIGKILL  # a wait status
FINE = 0


class Clock:
    """Both clocks of the module under test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(process, "time", made)
    return made


def make(options: Options, restart: Restart | None = None) -> ForkedProcess:
    config = ForkedConfig(
        options,
        "central-1",
        lambda _board: 0,
        scoreboard=Scoreboard(),
        stop_seconds=35.0,
        restart=restart or Restart(crash_limit=3),
    )
    return config.make_process()


def end(tried: ForkedProcess, status: int = KILLED) -> None:
    """As if it had run and ended."""
    tried.pid, tried.state, tried.laststart = 4711, ProcessStates.RUNNING, time.time() - 5
    tried.finish(4711, status)


def test_one_crash_is_brought_back_at_once(options: Options, clock: Clock) -> None:
    tried = make(options)
    end(tried)
    assert tried.state == ProcessStates.EXITED
    assert not tried.held
    assert options.poller._now  # the next pass does not wait
    assert "SIGKILL" in tried.scoreboard.read().last_error


def test_crashes_hold_it_back_for_longer_and_longer(options: Options, clock: Clock) -> None:
    tried = make(options, Restart(crash_limit=3, backoff_max_seconds=5.0))
    waits = []
    for _ in range(8):
        end(tried)
        waits.append(max(0.0, tried.held_until - clock.now))
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert tried.held
    clock.now += 5.0
    assert not tried.held


def test_crashes_of_long_ago_are_forgotten(options: Options, clock: Clock) -> None:
    tried = make(options)
    for _ in range(10):
        end(tried)
        assert not tried.held
        clock.now += process.CRASH_WINDOW_SECONDS * 0.6


def test_an_end_that_was_asked_for_is_no_crash(options: Options, clock: Clock) -> None:
    tried = make(options, Restart(crash_limit=1))
    tried.pid, tried.state, tried.killing, tried.laststart = 4711, ProcessStates.STOPPING, True, time.time() - 5
    tried.finish(4711, KILLED)
    assert tried.state == ProcessStates.STOPPED
    assert not tried.held_until
    assert tried.scoreboard.read().last_error == ""


def test_a_retirement_on_demand_is_no_crash(options: Options, clock: Clock) -> None:
    tried = make(options, Restart(on_success=False, crash_limit=1))
    end(tried, FINE)
    assert not tried.held
    tried.transition()
    assert tried.state == ProcessStates.EXITED  # nobody forks it before somebody calls


def test_a_service_that_ends_again_and_again_is_held_back_too(options: Options, clock: Clock) -> None:
    tried = make(options, Restart(on_success=True, crash_limit=2))
    end(tried, FINE)
    end(tried, FINE)
    assert tried.held


def test_a_retiring_process_is_not_brought_back(options: Options, clock: Clock) -> None:
    tried = make(options)
    end(tried)
    tried.retiring = True
    tried.transition()
    assert tried.state == ProcessStates.EXITED
    assert not tried.pid


def test_a_clock_set_back_does_not_stop_a_retry(options: Options) -> None:
    tried = make(options, Restart(backoff_max_seconds=10.0))
    tried.put_off("because", 1.0)
    assert tried.state == ProcessStates.BACKOFF
    tried.delay = time.time() + 3600
    tried._check_and_adjust_for_system_clock_rollback(time.time())
    assert tried.delay <= time.time() + 10.0


def test_beside_another_thread_nothing_is_forked(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "fork", lambda: pytest.fail("forked"))
    monkeypatch.setattr(process.os, "listdir", lambda _folder: ["1", "2"])
    tried = make(options)
    assert tried.spawn() is None
    assert tried.state == ProcessStates.BACKOFF
    assert "2 threads" in tried.spawnerr


def test_ready_is_what_this_child_has_said(options: Options) -> None:
    tried = make(options)
    board = tried.scoreboard
    assert not tried.ready
    tried.pid = 4711
    board.begin(4711)
    assert not tried.ready
    board.set(Counter.HEARTBEAT_NS, time.time_ns())
    assert tried.ready
    tried.pid = 4712  # brought back: what the one before said does not count
    assert not tried.ready
    board.begin(4712)
    assert not tried.ready
    assert board.get(Counter.RESTARTS) == 1
