"""What the alarm is worth, over simulated senders: `python -m tests.unit.silence.measure [SENDERS]`.

Prints, for each kind, the false alarms of one sender in a year and how long after the first association that a failure
kept away it alarms: without holidays, with nine that are not told, and with the same ones told.
"""

import random
import statistics
import sys
from datetime import date
from zoneinfo import ZoneInfo

from noctis.silence.calendar import Calendar
from tests.unit.silence.simulated import KINDS, Sender, arrivals

ZONE, FIRST, DAYS = ZoneInfo("Europe/Berlin"), date(2026, 1, 5), 54 * 7
LEARNING, FAILURES = 14, 30  # days without an alarm; of each sender
HOLIDAYS = tuple(
    date.fromisoformat(each)
    for each in (
        *("2026-04-03", "2026-04-06", "2026-05-01", "2026-05-14", "2026-05-25"),
        *("2026-10-02", "2026-12-24", "2026-12-25", "2027-01-01"),
    )
)
WAYS: dict[str, tuple[tuple[date, ...], tuple[date, ...]]] = {
    "no holidays": ((), ()),
    "not told": (HOLIDAYS, ()),
    "told": (HOLIDAYS, HOLIDAYS),
}


def measure(kind: str, senders: int, off: tuple[date, ...], told: tuple[date, ...]) -> tuple[float, float, float]:
    """False alarms of a sender in a year; hours from failure to alarm, the median and what nine of ten keep."""
    false, delays = 0, []
    for seed in range(100, 100 + senders):
        sender = Sender(arrivals(KINDS[kind], seed, FIRST, DAYS, ZONE, off), Calendar(ZONE, told))
        false += len(sender.false_alarms())
        chance = random.Random(seed - 100)
        for _ in range(FAILURES):
            failure = chance.uniform(sender.times[0] + 70 * 86_400, sender.times[-1] - 15 * 86_400)
            delay = sender.delay(failure)
            delays.append(float("inf") if delay is None else delay / 3600)
    cuts = statistics.quantiles(delays, n=10)
    return false / senders / (DAYS - LEARNING) * 364, cuts[4], cuts[8]


def main() -> None:
    senders = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for name, (off, told) in WAYS.items():
        for kind in KINDS:
            false, median, most = measure(kind, senders, off, told)
            print(f"{name:12} {kind:10} false alarms {false:5.2f}   hours to the alarm {median:5.1f} {most:6.1f}")


if __name__ == "__main__":
    main()
