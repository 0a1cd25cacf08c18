"""UIDs as the index meets them: how they are spread decides how many of its pages an instance touches.

Each source gives UIDs of one length; another `era` gives other ones. `study` begins a study, `series` a series of it.
"""

import random
from collections.abc import Callable
from typing import Protocol

from bench.studies import make_uid

DEVICES = 40


class UidSource(Protocol):
    def study(self) -> str: ...
    def series(self) -> str: ...
    def instance(self) -> str: ...


class ModalityUids:
    """As modalities make them: the device, the time, then counters; so those of one series are neighbours."""

    def __init__(self, era: int) -> None:
        self._random = random.Random(era)
        self._roots = [random.Random(number).randrange(10**10) for number in range(DEVICES)]
        self._time = era * 10**12
        self._study = self._series = self._instance = 0

    def study(self) -> str:
        self._time += 1
        self._study = self._random.choice(self._roots) * 10**14 + self._time
        self._series = 0
        return self._uid(0, 0)

    def series(self) -> str:
        self._series += 1
        self._instance = 0
        return self._uid(self._series, 0)

    def instance(self) -> str:
        self._instance += 1
        return self._uid(self._series, self._instance)

    def _uid(self, series: int, instance: int) -> str:
        return make_uid((self._study * 10**4 + series) * 10**6 + instance)


class RandomUids:
    """As made from UUIDs: in no order at all, the worst that an index can meet."""

    def __init__(self, era: int) -> None:
        self._random = random.Random(era)

    def instance(self) -> str:
        return make_uid(self._random.randrange(10**37))

    study = series = instance


SOURCES: dict[str, Callable[[int], UidSource]] = {"modality": ModalityUids, "random": RandomUids}
