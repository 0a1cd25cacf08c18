"""An outage is told once, and so is its end; meanwhile attempts become rarer."""

from structlog.testing import capture_logs

from noctis.observability.scoreboard import Scoreboard
from noctis.outage import Outage


def test_it_is_told_once_and_waits_grow_until_it_is_over() -> None:
    board = Scoreboard()
    outage = Outage(board, "x.waiting", "x.back", (0.5, 3.0))
    with capture_logs() as logs:
        outage.over(pending=1)
        assert (logs, outage.lasts) == ([], False)
        assert [outage.met(f"no. {number}") for number in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
        assert outage.lasts
        assert board.read().last_error == "no. 4"
        outage.over(pending=7)
        outage.over(pending=8)
        assert not outage.lasts
        assert outage.met("again") == 0.5
    assert logs == [
        {"event": "x.waiting", "error": "no. 0", "log_level": "error"},
        {"event": "x.back", "pending": 7, "log_level": "info"},
        {"event": "x.waiting", "error": "again", "log_level": "error"},
    ]
