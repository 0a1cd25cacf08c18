"""What one association has done, and how it ended: for the log, the scoreboard and the ledger."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from noctis.listener.commands import Command, Field
from noctis.listener.operations import Answer
from noctis.observability.scoreboard import Counter, Scoreboard, Words
from noctis.observability.words import ANSWER
from noctis.repository.filemeta import Origin


class Outcome(StrEnum):
    """How an association ended."""

    RELEASED = "released"  # by the peer, in order
    ABORTED = "aborted"  # A-ABORT by the peer
    DISCONNECTED = "disconnected"  # the connection broke
    TIMED_OUT = "timed out"  # the peer was silent for too long
    FAILED = "failed"  # the peer broke the protocol; we aborted
    DRAINED = "drained"  # the listener stops, or the facility is no longer served; we aborted


class Tally:
    """The counts of one association."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self.started_at = datetime.now(UTC)
        self.counts_on: Words = scoreboard  # of its facility, once it is known
        self._instances = self._bytes = self._failures = self._echoes = 0

    def belongs_to(self, slug: str) -> Words:
        """It is an association of this facility, which is counted there; where that is."""
        self.counts_on = self._scoreboard.of(slug)
        return self.counts_on

    def count(self, log: Any, command: Command, answer: Answer, seconds: float) -> None:
        """One request was answered; `seconds` is how long that took after its last byte."""
        if command.field == Field.C_ECHO_RQ:
            self._echoes += 1
            self.counts_on.add(Counter.ECHOES)
            log.info("echo.answered")
        elif command.field != Field.C_STORE_RQ:
            log.info("message.not_served", field=f"0x{command.field:04x}")
        elif answer.succeeded:
            self.counts_on.observe(ANSWER, seconds)
            self._instances += 1
            self._bytes += answer.stored
            log.info(
                "instance.stored",
                sop_instance_uid=command.sop_instance.decode("latin-1"),
                bytes=answer.stored,
                commit_ms=round(seconds * 1000, 2),
            )
        else:
            self._failures += 1
            self.counts_on.observe(ANSWER, seconds)
            self.counts_on.failed(answer.failure)
            log.warning("instance.refused", status=f"{answer.status:04X}", reason=answer.comment)

    def counts(self) -> dict[str, int]:
        return {
            "instances": self._instances,
            "bytes": self._bytes,
            "failures": self._failures,
            "echoes": self._echoes,
        }

    def record(self, slug: str, origin: Origin, outcome: Outcome) -> dict[str, Any]:
        """The association's line in the ledger."""
        return {
            "association_id": origin.association,
            "slug": slug,
            "port": origin.port,
            "called": origin.called,
            "calling": origin.calling,
            "address": origin.address,
            "started_at": self.started_at.isoformat(),
            "ended_at": datetime.now(UTC).isoformat(),
            "outcome": str(outcome),
            **self.counts(),
        }
