"""What is known of the silence of one facility or device. Frozen; no database."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from noctis.silence.habit import Habit

ACKNOWLEDGED, MUTED = "acknowledged", "muted"


@dataclass(frozen=True)
class Mute:
    """What an operator said to an alarm."""

    kind: str  # ACKNOWLEDGED: until it sends again; MUTED: until a time, or for ever
    until: datetime | None  # of MUTED; None: for ever
    actor: str
    reason: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        until = self.until.isoformat() if self.until else None
        return {
            "kind": self.kind,
            "until": until,
            "actor": self.actor,
            "reason": self.reason,
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True)
class State:
    """One facility as a whole (`device` is ""), or one device of it."""

    facility_id: int
    facility: str  # slug
    name: str  # the facility's
    device: str  # calling AE title; "": the facility as a whole
    enabled: bool  # the facility is
    last_at: datetime | None  # None: it never sent
    silent_seconds: float | None
    habit: Habit | None  # None: not enough is known yet
    probability: float | None  # that a week has a silence like this one; None: not known
    alarm_at: datetime | None  # when it alarms (or alarmed) if nothing comes; None: it does not
    alarm: bool  # it is too silent, and not told by the facility's own alarm already
    covered: bool  # a device that is too silent as its whole facility is
    acknowledged: bool
    muted: bool
    mute: Mute | None  # who said so, of this one or of its facility
    sentence: str  # in plain words

    @property
    def raised(self) -> bool:
        """Whether somebody should be told."""
        return self.alarm and not self.acknowledged and not self.muted

    @property
    def word(self) -> str:
        """The state in a word or two."""
        if self.last_at is None:
            return "never sent"
        if not self.enabled:
            return "disabled"
        if self.muted or (self.acknowledged and (self.alarm or self.covered)):
            return "muted" if self.muted else "acknowledged"
        if self.alarm or self.covered:
            return "silent" if self.alarm else "silent as all"
        return "learning" if self.habit is None else "as usual"

    def as_json(self) -> dict[str, Any]:
        names = ("facility", "name", "device", "enabled", "silent_seconds", "probability", "alarm", "covered")
        document = {name: getattr(self, name) for name in (*names, "acknowledged", "muted", "sentence")}
        for name in ("last_at", "alarm_at"):
            time: datetime | None = getattr(self, name)
            document[name] = time.isoformat() if time else None
        document["state"] = self.word
        return document | {"mute": self.mute.as_json() if self.mute else None}


def alarms_first(states: Iterable[State]) -> list[State]:
    """In the order in which an operator wants them: alarms, the least likely first, then those that were answered."""
    rank = {True: 0, False: 1}

    def key(state: State) -> tuple[int, int, float]:
        chance = state.probability if state.alarm and state.probability is not None else 0.0
        return rank[state.raised], rank[state.alarm], chance

    return sorted(states, key=key)
