"""What waits to be filed: entries that hints told of and entries that a scan found, each once.

The spool is the truth: an entry leaves the backlog when it is done, and one that was forgotten is found by the next
scan. A spool of any length costs bounded memory: `SCAN_MAX` entries are held, and more are looked for when these are
done. A scan that took long is repeated the later.
"""

import time
from collections import Counter
from pathlib import Path

from noctis.repository import slots
from noctis.repository.hints import Hint
from noctis.repository.spool_entries import SpoolEntry, arrived_ns, entry_named

SCAN_MAX = 50_000  # entries in memory
_SCAN_SHARE = 20  # a scan takes at most one part in so many of the time


class Backlog:
    """The line of entries. One thread at a time."""

    def __init__(self, root: Path, scan_seconds: float) -> None:
        self._root = root
        self._scan_seconds = scan_seconds
        self._waiting: dict[SpoolEntry, Hint | None] = {}
        self._held: dict[SpoolEntry, float] = {}  # until when (monotonic)
        self._held_slugs: dict[str, float] = {}
        self._scan_at = 0.0
        self._more = False  # the last scan left some out
        self._out: set[SpoolEntry] = set()  # being filed
        self._unseen: Counter[str] = Counter()  # slug: entries the last scan left out, or that are held
        self._oldest: dict[str, str] = {}  # slug: name of its oldest entry at the last scan

    @property
    def pending(self) -> int:
        """Entries that wait, as far as is known."""
        return len(self._waiting) + len(self._out) + self._unseen.total()

    @property
    def oldest_ns(self) -> int:
        """When the oldest of them came (time.time_ns()); 0: none waits."""
        if not self.pending:
            return 0
        names = [next(iter(entries)).name for entries in (self._waiting, self._out) if entries]
        if self._unseen.total():
            names += self._oldest.values()
        return min((arrived_ns(name) for name in names), default=0)

    def by_facility(self) -> dict[str, tuple[int, int]]:
        """Slug → the same two of that facility's entries. Goes through all of them."""
        counts = self._unseen.copy()
        oldest = {slug: arrived_ns(name) for slug, name in self._oldest.items() if self._unseen[slug]}
        for entries in (self._waiting, self._out):
            counts.update([entry.slug for entry in entries])
            first = {entry.slug: entry for entry in reversed(tuple(entries))}  # in the order of the line
            for slug, entry in first.items():
                came = arrived_ns(entry.name)
                oldest[slug] = min(came, oldest.get(slug, came))
        return {slug: (count, oldest.get(slug, 0)) for slug, count in counts.items() if count}

    def add(self, hint: Hint) -> None:
        """An entry that a hint tells of. A hint is never trusted as a path."""
        entry = entry_named(self._root, hint.slug, hint.name)
        if entry is None:
            return
        if len(self._waiting) >= SCAN_MAX:
            self._more = True
        elif entry not in self._out and not self._is_held(entry):
            self._waiting[entry] = hint

    def ready(self) -> bool:
        """Whether there is something to file now."""
        return bool(self._waiting) or (self._more and self.scan_is_due())

    def scan_is_due(self) -> bool:
        return time.monotonic() >= self._scan_at or (self._more and not self._waiting)

    def seconds_to_scan(self) -> float:
        return max(0.0, self._scan_at - time.monotonic())

    def scan(self) -> None:
        """Look for entries that no hint told of, oldest first within each facility."""
        begun = time.monotonic()
        self._release_held(begun)
        self._more = False
        self._unseen.clear()
        self._oldest.clear()
        for slug in sorted(folder.parent.name for folder in self._root.glob("*/new")):
            self._scan_facility(slug)
        self._scan_at = time.monotonic() + max(self._scan_seconds, _SCAN_SHARE * (time.monotonic() - begun))

    def _scan_facility(self, slug: str) -> None:
        for entry in slots.all_waiting(self._root, slug):
            self._oldest.setdefault(slug, entry.name)
            if entry in self._waiting or entry in self._out:
                continue
            if self._is_held(entry):
                self._unseen[slug] += 1
            elif len(self._waiting) >= SCAN_MAX:
                self._unseen[slug] += 1
                self._more = True
            else:
                self._waiting[entry] = None

    def take(self, count: int) -> list[tuple[SpoolEntry, Hint | None]]:
        """The next entries, oldest first as far as known; each must come back by `done`, `hold` or `give_back`."""
        entries = [entry for _, entry in zip(range(count), self._waiting, strict=False)]
        taken = [(entry, self._waiting.pop(entry)) for entry in entries]
        self._out.update(entries)
        taken.sort(key=lambda each: each[0].name)
        return taken

    def give_back(self, entries: list[tuple[SpoolEntry, Hint | None]]) -> None:
        """They could not be filed now: to the head of the line again."""
        self._waiting = {**dict(entries), **self._waiting}
        self._out.clear()

    def done(self, entry: SpoolEntry) -> None:
        self._out.discard(entry)

    def hold(self, entry: SpoolEntry, seconds: float) -> None:
        """Leave one entry alone for a while."""
        self._out.discard(entry)
        self._held[entry] = time.monotonic() + seconds
        self._unseen[entry.slug] += 1

    def hold_facility(self, slug: str, seconds: float) -> None:
        """Leave all entries of a facility alone for a while."""
        self._held_slugs[slug] = time.monotonic() + seconds
        for entries in (self._out, self._waiting):
            for entry in [entry for entry in entries if entry.slug == slug]:
                self._unseen[slug] += 1
                if entries is self._out:
                    self._out.discard(entry)
                else:
                    del self._waiting[entry]

    def _is_held(self, entry: SpoolEntry) -> bool:
        return entry in self._held or entry.slug in self._held_slugs

    def _release_held(self, now: float) -> None:
        self._held = {entry: until for entry, until in self._held.items() if until > now}
        self._held_slugs = {slug: until for slug, until in self._held_slugs.items() if until > now}
