"""The habit of one sender: how likely each hour of the week is to bring something. Pure, deterministic.

Takes the hours in which it sent as bits, and learns from the `WEEKS` weeks before the day on which it last sent, so
that a silence does not teach that silence is usual. Of each slot it counts in how many of these weeks something came;
between few weeks the neighbouring hours decide. Days off count neither way.
"""

import re
from dataclasses import dataclass, field
from itertools import accumulate
from math import log

from noctis.silence.calendar import OFF, WEEK, Calendar

WEEKS = 8  # learned from
WINDOW = WEEKS * WEEK  # hours
ENOUGH_DAYS, ENOUGH_HOURS = 14, 10  # observed; in which something came: with less, nothing is said
FORGIVEN = 1  # the longest silence of the window may have been a failure itself, or a holiday
_GAP = re.compile("0+")


@dataclass(frozen=True)
class Habit:
    """What was learned. A silence is measured by `weights`: the sum over its hours is -ln of its probability."""

    weeks: float  # observed
    active_hours: int
    odds: tuple[float, ...] = field(
        repr=False
    )  # of each slot: the probability that something comes in this hour of a week
    weights: tuple[float, ...] = field(repr=False)  # of each slot: -ln(1 - odds)
    silences: float  # a week: how often something is followed by an hour of nothing
    longest: float  # the weight of the longest silence that occurred more often than is forgiven


def learn(bits: int, first: int, observed: int, calendar: Calendar) -> Habit | None:
    """The habit; None: too little is known.

    Parameters
    ----------
    bits
        Bit n: something came in the hour `first` + n. `WINDOW` hours.
    observed
        How many hours at the end of the window it has been known for.
    """
    active = bits.bit_count()
    if observed < ENOUGH_DAYS * 24 or active < ENOUGH_HOURS:
        return None
    looked = (1 << WINDOW) - (1 << (WINDOW - min(observed, WINDOW)))
    masks = calendar.masks(first, WINDOW)
    seen = [(mask & looked).bit_count() for mask in masks]
    came = [(mask & bits).bit_count() for mask in masks]
    rates = [k / n if n else 0.0 for k, n in zip(came, seen, strict=True)]
    beside = [(a + b) / 2 for a, b in zip(rates[-1:] + rates[:-1], rates[1:] + rates[:1], strict=True)]
    odds = tuple(min(k + near, n + 0.5) / (n + 1) for k, near, n in zip(came, beside, seen, strict=True))
    weights = tuple(-log(1 - p) for p in odds)
    weeks = min(observed, WINDOW) / WEEK
    silences = max(1.0, (bits & ~(bits >> 1)).bit_count() / weeks)
    return Habit(weeks, active, odds, weights, silences, _longest(bits, first, weights, calendar))


def _longest(bits: int, first: int, weights: tuple[float, ...], calendar: Calendar) -> float:
    """The weight of the longest silence between two hours with something, but for those that are forgiven."""
    by_slot = (*weights, *[0.0] * (OFF + 1 - WEEK))
    low = (bits & -bits).bit_length() - 1
    text = bin(bits >> low)[:1:-1]  # from its first hour to its last, in order of time
    slots = calendar.slots(first, WINDOW)[low : low + len(text)]
    sums = [0.0, *accumulate(map(by_slot.__getitem__, slots))]
    gaps = sorted((sums[gap.end()] - sums[gap.start()] for gap in _GAP.finditer(text)), reverse=True)
    return gaps[FORGIVEN] if len(gaps) > FORGIVEN else 0.0
