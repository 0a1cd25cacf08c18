"""What a service works on is away: it says so once, waits longer and longer, and says when it is back."""

from typing import Any

import structlog

from noctis.observability.scoreboard import Scoreboard

log = structlog.get_logger()


class Outage:
    """Whether there is one, and how long to wait until the next attempt.

    Parameters
    ----------
    begins, ends
        The events that are logged.
    seconds
        The first wait, and the longest; each is twice the one before.
    """

    def __init__(self, scoreboard: Scoreboard, begins: str, ends: str, seconds: tuple[float, float]) -> None:
        self.lasts = False
        self._scoreboard = scoreboard
        self._begins, self._ends = begins, ends
        self._first, self._longest = seconds
        self._next = self._first

    def met(self, error: str) -> float:
        """An attempt failed; seconds until the next one."""
        self._scoreboard.error(error)
        if not self.lasts:
            self.lasts = True
            log.error(self._begins, error=error)
        wait, self._next = self._next, min(2 * self._next, self._longest)
        return wait

    def over(self, **known: Any) -> None:
        """An attempt succeeded; `known` is logged where that ends an outage."""
        self._next = self._first
        if self.lasts:
            self.lasts = False
            log.info(self._ends, **known)
