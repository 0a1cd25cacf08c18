"""An outage is told once, and so is its end; meanwhile attempts become rarer."""

from structlog.testing import capture_logs

from noctis.errors import UpgradingError
from noctis.observability.scoreboard import Scoreboard
from noctis.outage import Outage


def test_it_is_told_once_and_waits_grow_until_it_is_over() -> None:
    board = Scoreboard()
    outage = Outage(board, "x.waiting", "x.back", (0.5, 3.0))
    with capture_logs() as logs:
        outage.over(pending=1)
        assert (logs, outage.lasts) == ([], False)
        assert [outage.met(OSError(f"no. {number}")) for number in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
        assert outage.lasts
        assert board.read().last_error == "no. 4"
        outage.over(pending=7)
        outage.over(pending=8)
        assert not outage.lasts
        assert outage.met(OSError(5, "I/O"), "again") == 0.5
    assert logs == [
        {"event": "x.waiting", "error": "no. 0", "log_level": "error"},
        {"event": "x.back", "pending": 7, "log_level": "info"},
        {"event": "x.waiting", "error": "again", "log_level": "error"},
    ]


def test_an_upgrade_is_waited_for_and_no_error() -> None:
    board = Scoreboard()
    outage = Outage(board, "x.waiting", "x.back", (0.5, 3.0))
    with capture_logs() as logs:
        outage.met(UpgradingError("it is at 3 of 9"))
        outage.met(UpgradingError("it is at 4 of 9"))
        assert (outage.lasts, board.read().last_error) == (True, "")
        outage.met(OSError("the disk is full"))
        outage.over()
    assert logs == [
        {"event": "database.upgrade_awaited", "error": "it is at 3 of 9", "log_level": "info"},
        {"event": "x.waiting", "error": "the disk is full", "log_level": "error"},
        {"event": "x.back", "log_level": "info"},
    ]
