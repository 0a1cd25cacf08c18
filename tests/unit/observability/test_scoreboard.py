"""The scoreboard outlives the process that counts."""

import os
import signal

from noctis.observability.scoreboard import Counter, Scoreboard


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
