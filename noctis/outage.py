"""What a service works on is away: it says so once, waits longer and longer, and says when it is back."""

from typing import Any

import structlog

from noctis.errors import UpgradingError
from noctis.observability.scoreboard import Scoreboard

log = structlog.get_logger()

UPGRADING = "database.upgrade_awaited"


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
        self._told: str | None = None  # the event that said that it began
        self._scoreboard = scoreboard
        self._begins, self._ends = begins, ends
        self._first, self._longest = seconds
        self._next = self._first

    @property
    def lasts(self) -> bool:
        return self._told is not None

    def met(self, error: Exception, text: str | None = None) -> float:
        """An attempt failed, as `text` says (None: as the error does); seconds until the next one.

        A schema that is being upgraded is waited for, and is no error.
        """
        reason = text or str(error)
        upgrading = isinstance(error, UpgradingError)
        event = UPGRADING if upgrading else self._begins
        if not upgrading:
            self._scoreboard.error(reason)
        if self._told != event:
            self._told = event
            (log.info if upgrading else log.error)(event, error=reason)
        wait, self._next = self._next, min(2 * self._next, self._longest)
        return wait

    def over(self, **known: Any) -> None:
        """An attempt succeeded; `known` is logged where that ends an outage."""
        self._next = self._first
        if self.lasts:
            self._told = None
            log.info(self._ends, **known)
