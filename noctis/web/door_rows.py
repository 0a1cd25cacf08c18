"""Which doors the first page shows, and in which order: what needs somebody comes first. Pure."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from noctis.web.doors import DISABLED, UNKNOWN, Door


class Condition(StrEnum):
    """What a door is counted as, the worst first."""

    CLOSED = "closed"  # it should be open and is not
    SILENT = "silent"  # open, but nothing comes though something usually does: an alarm that nobody has answered
    CHANGING = "changing"  # it opens or closes just now
    UNKNOWN = "unknown"  # the supervisor does not say
    OPEN = "open"
    DISABLED = "disabled"


RANKS = {Condition.CLOSED: 0, Condition.SILENT: 1}  # shown before all others, whatever their names are
NEVER = datetime.min.replace(tzinfo=UTC)
COLUMNS: dict[str, Callable[[Door], Any]] = {  # what the table can be sorted by; what is not known counts as least
    "name": lambda door: door.name.casefold(),
    "ae_title": lambda door: door.ae_title,
    "port": lambda door: door.port,
    "live": lambda door: door.live + door.live_default,
    "now": lambda door: door.rate,
    "hour": lambda door: sum(door.minutes),
    "last": lambda door: door.last_instance or NEVER,
    "today": lambda door: -1 if door.today is None else door.today,
    "refused": lambda door: -1 if door.refusals is None else door.refusals,
    "quarantine": lambda door: -1 if door.quarantine is None else door.quarantine,
}
UPWARDS = ("name", "ae_title", "port")  # the other columns begin with the most


def condition(door: Door, silent: Collection[str]) -> Condition:
    """What a door is counted as.

    Parameters
    ----------
    silent
        Slugs of the facilities whose silence alarms, their own or a device's.
    """
    if door.state == DISABLED:
        return Condition.DISABLED
    if door.state in ("backoff", "stopped"):
        return Condition.CLOSED
    if door.slug in silent:
        return Condition.SILENT
    if door.state == UNKNOWN:
        return Condition.UNKNOWN
    return Condition.OPEN if door.is_well else Condition.CHANGING


@dataclass(frozen=True)
class Rows:
    """What the page shows."""

    doors: list[Door]
    counts: dict[Condition, int]  # of all that the caller sees, those that there are, the worst first
    hidden: int  # how many of them are not shown


def rows(doors: Sequence[Door], silent: Collection[str], *, q: str = "", show: str = "", sort: str = "") -> Rows:
    """The doors that are asked for.

    Parameters
    ----------
    show
        Those of this `Condition` alone; anything else: all.
    sort
        One of `COLUMNS`, with "-" before it the other way round; anything else: the worst first, then as they come.
    """
    found = [(each, condition(each, silent)) for each in doors]
    counted = [each for _, each in found]
    shown = [
        (door, state) for door, state in found if (show not in list(Condition) or state == show) and matches(door, q)
    ]
    column, turned = sort.removeprefix("-"), sort.startswith("-")
    if column in COLUMNS:
        shown.sort(key=lambda each: COLUMNS[column](each[0]), reverse=turned == (column in UPWARDS))
    else:
        shown.sort(key=lambda each: RANKS.get(each[1], len(RANKS)))
    counts = {each: counted.count(each) for each in Condition if each in counted}
    return Rows([door for door, _ in shown], counts, len(doors) - len(shown))


def matches(door: Door, text: str) -> bool:
    """Whether a door is looked for by `text`: part of its name, slug, AE title or port."""
    words = (door.name, door.slug or "", door.ae_title, str(door.port))
    return any(text.strip().casefold() in word.casefold() for word in words)
