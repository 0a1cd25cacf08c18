"""The silence of facilities and devices as the page and the API show it: which of them, in which order, how drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from noctis.silence import State
from noctis.silence.habit import Habit
from noctis.silence.mutes import Mutes
from noctis.silence.state import alarms_first
from noctis.web.access import Caller
from noctis.web.site import Site

SECONDS = 5.0  # how old an answer may be: all who look share one
PATIENCE_SECONDS = 0.05  # for which a page waits for a newer one; after midnight much is learned anew
LEVELS = 5  # shades of a habit
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Silences:
    """A page of them."""

    rows: list[State]
    found: int  # on all pages
    raised: int  # of all that the caller sees: alarms that nobody has answered


def silences(
    site: Site,
    caller: Caller,
    *,
    facility: str | None = None,
    text: str = "",
    alarms: bool = False,
    limit: int,
    offset: int = 0,
) -> Silences:
    """What this caller sees, alarms first.

    Parameters
    ----------
    facility
        Of this one alone: a slug.
    text
        Part of the facility's name or slug, or of the device's title, any case.
    alarms
        Only what is too silent, answered or not.

    Raises
    ------
    DatabaseError
        It cannot be read.
    """
    seen = [state for state in recent(site) if caller.sees(state.facility)]
    if facility:
        seen = [state for state in seen if state.facility == facility]
    raised = sum(state.raised for state in seen)
    if alarms:
        seen = [state for state in seen if state.alarm]
    if text:
        lower = text.lower()
        seen = [each for each in seen if any(lower in part.lower() for part in (each.name, each.facility, each.device))]
    return Silences(alarms_first(seen)[offset : offset + limit], len(seen), raised)


def recent(site: Site) -> list[State]:
    """Everybody's, as new as it can be had at once."""
    return site.silence.recent(SECONDS, PATIENCE_SECONDS)


@contextmanager
def saying(site: Site, caller: Caller) -> Iterator[Mutes]:
    """For what the caller says to a silence; whoever looks after it sees it."""
    yield Mutes(site.engine, caller.name)
    site.silence.forget()


def level(odds: float) -> int:
    """The shade of an hour: 0, none, to `LEVELS`."""
    return 0 if odds < 0.05 else min(LEVELS, 1 + int(odds * LEVELS))


@lru_cache(maxsize=4096)
def strokes(habit: Habit) -> list[tuple[int, str]]:
    """The habit as lines in a field of 24 by 7: of each shade the path (SVG)."""
    paths: dict[int, list[str]] = {}
    for day in range(7):
        hour = 0
        while hour < 24:
            shade, begin = level(habit.odds[day * 24 + hour]), hour
            while hour < 24 and level(habit.odds[day * 24 + hour]) == shade:
                hour += 1
            if shade:
                paths.setdefault(shade, []).append(f"M{begin} {day}.5h{hour - begin}")
    return [(shade, "".join(parts)) for shade, parts in sorted(paths.items())]


def percents(habit: Habit) -> list[tuple[str, list[tuple[int, int]]]]:
    """The habit as a table: of each day its hours, as shade and percent."""
    return [
        (name, [(level(odds), round(100 * odds)) for odds in habit.odds[day * 24 : day * 24 + 24]])
        for day, name in enumerate(DAYS)
    ]
