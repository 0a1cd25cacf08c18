"""What senders saw, in figures."""

from collections import Counter
from collections.abc import Iterable

from tests.system.senders import StubbornSender


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def what_they_saw(senders: Iterable[StubbornSender]) -> str:
    """In a few words: refusals by status, broken associations, the slowest answer."""
    senders = list(senders)
    statuses = sum((sender.statuses for sender in senders), Counter[int]())
    broken = sum(sender.broken for sender in senders)
    slowest = max((max(sender.seconds, default=0.0) for sender in senders), default=0.0)
    seen = [f"{status:04X} {count} times" for status, count in sorted(statuses.items())]
    if broken:
        seen.append(f"{broken} associations broken or refused")
    seen.append(f"slowest answer {slowest:.2f} s")
    return ", ".join(seen)
