"""Looking at everything. What is learned is kept until the sender's next day: then a look costs a few milliseconds.

A device that is silent as its whole facility is, is covered by the facility's alarm. Facilities that are disabled do
not alarm; nor do senders of which too little is known.
"""

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import reduce

from sqlalchemy import Engine

from noctis import errands
from noctis.config import Settings
from noctis.errors import NoctisError
from noctis.silence import odds, store, words
from noctis.silence.calendar import Calendar, moment_of
from noctis.silence.habit import Habit, learn
from noctis.silence.state import ACKNOWLEDGED, MUTED, Mute, State
from noctis.silence.store import Key, Known, Place, Sender

PART = 10  # facilities that are read anew at every look, in turn: rows may have come late, or gone
STALE_SECONDS = 300.0
LEARN = 50  # senders that are learned anew at one look: they all have a new last day after midnight


def evaluate(engine: Engine, settings: Settings, now: datetime | None = None) -> list[State]:
    """Every facility and each of its devices, once.

    Raises
    ------
    DatabaseError
        It cannot be read.
    """
    return Watch(engine, settings).evaluate(now)


@dataclass(frozen=True)
class _Learned:
    days: tuple[int, int]  # the sender's first and last
    last_at: datetime
    habit: Habit | None
    alarm_at: float | None


class Watch:
    """Looks again and again. Safe from several threads.

    Parameters
    ----------
    zone
        Whose hours habits go by; None: this machine's.
    """

    def __init__(self, engine: Engine, settings: Settings, zone: tzinfo | None = None) -> None:
        self._engine = engine
        self._threshold = settings.silence.alarm_probability
        self._minimum = settings.silence.minimum_minutes * 60
        self._calendar = Calendar(zone, settings.silence.days_off)
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._looked = threading.Event()  # whoever refreshes is done
        self._senders: dict[Key, Sender] = {}
        self._seen_day: int | None = None  # of the last look
        self._turn = 0
        self._budget = 0
        self._learned: dict[Key, _Learned] = {}
        self._said = 0  # how often something was said
        self._last: tuple[int, float, list[State]] = (-1, 0.0, [])  # after how much of it, when (monotonic), and what

    def evaluate(self, now: datetime | None = None) -> list[State]:
        """Facilities by name, each followed by its devices.

        Raises
        ------
        DatabaseError
            It cannot be read.
        """
        with self._lock:
            return self._evaluate(now or datetime.now(UTC))

    def recent(self, seconds: float = 10.0, patience: float = 0.0) -> list[State]:
        """As it was a moment ago. What is older than this is looked at anew, and waited for as long as patience lasts
        (seconds): then who asks has what there is, unless it is older than `STALE_SECONDS` or something was said since.
        """
        found = self._not_older(STALE_SECONDS)
        if found is None:
            with self._lock:
                found = self._not_older(seconds)  # of those who ask at once, one looks
                return self._evaluate(datetime.now(UTC)) if found is None else found
        if self._not_older(seconds) is None:
            if self._refreshing.acquire(blocking=False):
                self._looked.clear()
                errands.start(self._refresh, "silence")
            if patience and self._looked.wait(patience):
                return self._last[2]
        return found

    def _refresh(self) -> None:
        try:
            with contextlib.suppress(NoctisError):  # whoever asks when this is stale is told
                self.evaluate()
        finally:
            self._refreshing.release()
            self._looked.set()

    def forget(self) -> None:
        """The next look is a new one: something was said to a silence."""
        self._said += 1

    def _not_older(self, seconds: float) -> list[State] | None:
        said, at, states = self._last
        return states if said == self._said and time.monotonic() - at <= seconds else None

    def _evaluate(self, now: datetime) -> list[State]:
        said, at = self._said, time.monotonic()
        known = store.look(self._engine)
        self._read(known, now)
        own: dict[int, dict[str, Sender]] = {}
        for (facility_id, title), sender in self._senders.items():
            own.setdefault(facility_id, {})[title] = sender
        states: list[State] = []
        for place in known.places:
            states += self._look(place, own.get(place.id, {}), known, now)
        self._last = (said, at, states)
        return states

    def _read(self, known: Known, now: datetime) -> None:
        today = int(now.timestamp()) // 86_400
        self._budget = LEARN
        if self._seen_day is None:
            self._senders = store.load_senders(self._engine, today)
        else:
            part = {place.id for place in known.places[self._turn : self._turn + PART]}
            self._turn = self._turn + PART if self._turn + PART < len(known.places) else 0
            fresh = store.load_senders(self._engine, today, part)
            self._senders = {key: value for key, value in self._senders.items() if key[0] not in part} | fresh
            store.update_senders(self._engine, self._senders, self._seen_day - 1, today)
        self._seen_day = today

    def _look(self, place: Place, own: dict[str, Sender], known: Known, now: datetime) -> list[State]:
        states = self._place(place, own, known, now)
        if place.id in known.receiving and any(state.alarm or state.covered for state in states):
            came = store.coming_in(self._engine, place.id)
            own = own | {
                title: replace(own[title], last_at=max(own[title].last_at, at)) if title in own else Sender.new(at)
                for title, at in came.items()
            }
            states = self._place(place, own, known, now)
        return states

    def _place(self, place: Place, own: dict[str, Sender], known: Known, now: datetime) -> list[State]:
        whole = reduce(Sender.joined, own.values()) if own else None
        facility = self._state(place, "", whole, known, now, None)
        titles = sorted({*place.devices, *(title for title in own if title)})
        devices = [self._state(place, title, own.get(title), known, now, facility) for title in titles]
        return [facility, *(each for each in devices if each.device in place.devices or each.habit)]

    def _state(
        self, place: Place, device: str, sender: Sender | None, known: Known, now: datetime, facility: State | None
    ) -> State:
        key = (place.id, device)
        learned = self._learn(key, sender) if sender else None
        habit = learned.habit if learned else None
        seconds = max(0.0, (now - sender.last_at).total_seconds()) if sender else None
        alarm_at = moment_of(learned.alarm_at) if learned and learned.alarm_at is not None else None
        too_silent = place.enabled and alarm_at is not None and now >= alarm_at
        covered = too_silent and facility is not None and facility.alarm
        mute = _said(known, key, sender, now) or (facility.mute if facility and facility.mute else None)
        if facility and facility.acknowledged and not covered and mute is facility.mute:
            mute = None  # what was said to the facility's silence; this is the device's own
        chance = None
        if habit is not None and sender is not None:
            since = sender.last_at.timestamp()
            chance = odds.probability(habit, odds.weight(habit, self._calendar, since, since + (seconds or 0.0)))
        return State(
            facility_id=place.id,
            facility=place.slug,
            name=place.name,
            device=device,
            enabled=place.enabled,
            last_at=sender.last_at if sender else None,
            silent_seconds=seconds,
            habit=habit,
            probability=chance,
            alarm_at=alarm_at if place.enabled else None,
            alarm=too_silent and not covered,
            covered=covered,
            acknowledged=mute is not None and mute.kind == ACKNOWLEDGED,
            muted=mute is not None and mute.kind == MUTED,
            mute=mute,
            sentence=words.sentence(habit, seconds, chance, self._calendar.local(now.timestamp())),
        )

    def _learn(self, key: Key, sender: Sender) -> _Learned:
        """What is known of a sender, learned anew when its last day is another one."""
        found = self._learned.get(key)
        days = (sender.first_day, sender.last_day)
        if found is not None and (found.days == days or self._budget <= 0):
            if found.last_at == sender.last_at:
                return found
            habit, days = found.habit, found.days
        else:
            self._budget -= 1
            bits, first = sender.window()
            habit = learn(bits, 24 * first, 24 * (sender.last_day - sender.first_day), self._calendar)
        since = sender.last_at.timestamp()
        alarm_at = None
        if habit is not None:
            alarm_at = odds.alarm_at(habit, self._calendar, since, self._threshold, self._minimum)
        made = _Learned(days, sender.last_at, habit, alarm_at)
        self._learned[key] = made
        return made


def _said(known: Known, key: Key, sender: Sender | None, now: datetime) -> Mute | None:
    """What an operator said to this silence, as far as it is still so."""
    mute, since = known.mutes.get(key, (None, None))
    if mute is None:
        return None
    if mute.kind == ACKNOWLEDGED:
        return mute if sender is not None and since is not None and sender.last_at <= since else None
    return mute if mute.until is None or mute.until > now else None
