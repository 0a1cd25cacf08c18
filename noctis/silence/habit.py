"""The habit of one sender: how likely each hour of the week is to bring something. Pure, deterministic.

Takes the hours in which it sent as bits, and learns from the `WEEKS` weeks before the day on which it last sent, so
that a silence does not teach that silence is usual. Of each slot it counts in how many of these weeks something came;
between few weeks the neighbouring hours decide. Days off count neither way.
"""

import re
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import log

from noctis.silence.calendar import OFF, WEEK, Calendar

WEEKS = 8  # learned from
WINDOW = WEEKS * WEEK  # hours
ENOUGH_DAYS, ENOUGH_HOURS = 14, 10  # observed; in which something came: with less, nothing is said
FORGIVEN = 2  # the longest silences of a window may have been failures themselves, or holidays
OFTEN = 4  # silences a week: the longest that so many are of tell how rare longer ones are
# Of independent hours the scale is 1. Whole days are slow, and work comes in bursts: what was measured over simulated
# senders (tests/unit/silence) wants at least so much, and more of those who send at all hours.
SCALE_MIN, SCALE_SHARE = 1.5, 0.5
_GAP = re.compile("0+")


@dataclass(frozen=True)
class Habit:
    """What was learned. A silence is measured by `weights`: the sum over its hours is -ln of its probability."""

    weeks: float  # observed
    odds: tuple[float, ...] = field(repr=False)  # of each slot: that something comes in it
    weights: tuple[float, ...] = field(repr=False)  # of each slot: -ln(1 - odds)
    often: float  # so many silences a week
    usual: float  # exceed this weight
    scale: float  # the mean of what these exceed it by
    longest: float  # the weight of the longest silence but for those that are forgiven


def learn(bits: int, first: int, observed: int, calendar: Calendar) -> Habit | None:
    """The habit; None: too little is known.

    Parameters
    ----------
    bits
        Bit n: something came in the hour `first` + n. `WINDOW` hours.
    observed
        How many hours at the end of the window it has been known for.
    """
    if observed < ENOUGH_DAYS * 24 or bits.bit_count() < ENOUGH_HOURS:
        return None
    looked = (1 << WINDOW) - (1 << (WINDOW - min(observed, WINDOW)))
    masks = calendar.masks(first, WINDOW)
    seen = [(mask & looked).bit_count() for mask in masks]
    came = [(mask & bits).bit_count() for mask in masks]
    rates = [k / n if n else 0.0 for k, n in zip(came, seen, strict=True)]
    beside = [(a + b) / 2 for a, b in zip(rates[-1:] + rates[:-1], rates[1:] + rates[:1], strict=True)]
    # an hour that never failed is as sure as it is on all the weekdays on which it never did
    sure = [sum(seen[slot] for slot in range(hour, WEEK, 24) if came[slot] == seen[slot]) for hour in range(24)]
    odds = tuple(
        1 - 0.5 / (sure[slot % 24] + 1) if k == n > 0 else (k + beside[slot]) / (n + 1)
        for slot, (k, n) in enumerate(zip(came, seen, strict=True))
    )
    weights = tuple(-log(1 - p) for p in odds)
    weeks = min(observed, WINDOW) / WEEK
    return Habit(weeks, odds, weights, *_tail(bits, first, weeks, weights, calendar))


def _tail(
    bits: int, first: int, weeks: float, weights: tuple[float, ...], calendar: Calendar
) -> tuple[float, float, float, float]:
    """How heavy the longer silences were: `usual`, `scale` and `longest` of the habit.

    What exceeds `usual` is taken as exponential; its mean is the maximum likelihood estimate that takes the forgiven
    ones for no more than at least as long as the next (type II censoring).
    """
    by_slot = (*weights, *[0.0] * (OFF + 1 - WEEK))
    low = (bits & -bits).bit_length() - 1
    text = bin(bits >> low)[:1:-1]  # from its first hour to its last, in order of time
    slots = calendar.slots(first, WINDOW)[low : low + len(text)]
    sums = [0.0, *accumulate(map(by_slot.__getitem__, slots))]
    # from the middle of the hour in which it began to the middle of that in which it ended
    halves = [(before + after) / 2 for before, after in pairwise(sums)]
    gaps = sorted((halves[gap.end()] - halves[gap.start() - 1] for gap in _GAP.finditer(text)), reverse=True)
    number = max(min(max(len(gaps), round(weeks)), round(OFTEN * weeks)), FORGIVEN + 1)
    gaps += [max(weights)] * (number + 1 - len(gaps))  # those shorter than an hour or two
    usual, longest = gaps[number], gaps[FORGIVEN]
    least = SCALE_MIN + SCALE_SHARE * bits.bit_count() / (weeks * WEEK)
    excess = sum(gaps[FORGIVEN:number]) + FORGIVEN * longest - number * usual
    return number / weeks, usual, max(least, excess / (number - FORGIVEN)), longest
