"""The scoreboard outlives the process that counts."""

import mmap
import os
import signal
import threading

from noctis.observability.scoreboard import Counter, Scoreboard, board_bytes
from noctis.observability.words import ANSWER


def test_a_killed_child_loses_no_count_and_the_next_one_goes_on() -> None:
    board = Scoreboard()
    for round_ in (1, 2):
        child = os.fork()
        if child == 0:
            board.begin(os.getpid())
            board.add(Counter.LIVE, 3)
            board.stored(100)
            board.error("what went wrong")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        reading = board.read()
        assert reading[Counter.PID] == child
        assert reading[Counter.LIVE] == 3
        assert reading[Counter.INSTANCES] == round_
        assert reading[Counter.BYTES] == 100 * round_
        assert reading[Counter.RESTARTS] == round_ - 1
        assert reading.last_error == "what went wrong"


def test_a_long_error_is_cut_and_stays_text() -> None:
    board = Scoreboard()
    board.error("ž" * 1000)
    assert board.read().last_error.startswith("žžž")
    assert len(board.read().last_error) < 300


def with_rows(rows: int) -> Scoreboard:
    made = Scoreboard(mmap.mmap(-1, board_bytes(rows)))
    made.allow(rows)
    return made


def test_facilities_are_counted_apart_and_together() -> None:
    board = with_rows(4)
    board.of("a").stored(10)
    board.of("b").stored(5, instances=2)
    board.of("a").observe(ANSWER, 0.3)
    board.add(Counter.INSTANCES)
    assert {slug: row.get(Counter.INSTANCES) for slug, row in board.rows().items()} == {"a": 1, "b": 2}
    assert board.get(Counter.INSTANCES) == 1
    assert board.total(Counter.INSTANCES) == 4
    assert board.latest(Counter.LAST_INSTANCE_NS) == board.rows()["b"].get(Counter.LAST_INSTANCE_NS)


def test_what_finds_no_row_is_counted_with_all() -> None:
    board = with_rows(2)
    for slug in ("a", "b", "c"):
        board.of(slug).stored(1)
    assert list(board.rows()) == ["a", "b"]
    assert board.total(Counter.INSTANCES) == 3
    assert Scoreboard().of("a").get(Counter.INSTANCES) == 0  # no table at all


def test_rows_outlive_the_child_too_and_what_was_live_is_gone() -> None:
    board = with_rows(4)
    for _ in range(2):
        child = os.fork()
        if child == 0:
            board.begin(os.getpid())
            board.of("a").add(Counter.LIVE)
            board.of("a").add(Counter.ASSOCIATIONS)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    row = board.rows()["a"]
    assert (row.get(Counter.LIVE), row.get(Counter.ASSOCIATIONS)) == (1, 2)
    board.forget_the_moment()
    assert (row.get(Counter.LIVE), row.get(Counter.ASSOCIATIONS)) == (0, 2)


def test_a_lock_that_was_held_at_the_fork_holds_up_nobody() -> None:
    board = with_rows(2)
    board.of("a").stored(1)
    board._lock.acquire()  # as another thread of the parent's may

    def count() -> None:
        board.begin(os.getpid())
        board.add(Counter.ECHOES)
        board.of("a").stored(1)

    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    counting.join(10)
    assert (board.get(Counter.ECHOES), board.total(Counter.INSTANCES)) == (1, 2)
