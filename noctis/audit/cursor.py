"""How far the ledgers were told of: kept in `run/audit.json`, written whole and synced before it counts.

A row is told of once its id is at or below the cursor's, unless it is among the open ones: ids that were missing (a
transaction that began earlier may commit later), and associations whose instances were not all filed yet. A cursor is
never changed in place once it was made.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from noctis.files import write_whole
from noctis.repository.spool_entries import sync_folder

OPEN_MAX = 5000  # of one table; beyond it the oldest are given up


@dataclass(frozen=True)
class Place:
    """In one table whose rows never change."""

    id: int = 0
    at: str = ""  # that row's time: another database has another row there
    open: dict[int, float] = field(default_factory=dict)  # ids up to `id`: since when (time.time())

    def settled(self, ids: set[int]) -> Self:
        return replace(self, open={each: since for each, since in self.open.items() if each not in ids})

    def opened(self, ids: set[int], now: float) -> Self:
        both = {**self.open, **{each: now for each in sorted(ids) if each not in self.open}}
        for each in list(both)[: max(0, len(both) - OPEN_MAX)]:
            del both[each]
        return replace(self, open=both)


@dataclass(frozen=True)
class Cursor:
    event: Place = Place()
    association: Place = Place()
    refusals: dict[int, int] = field(default_factory=dict)  # id: how many times it was told of

    @property
    def at(self) -> datetime | None:
        """When the latest row came that was told of."""
        times = [datetime.fromisoformat(place.at) for place in (self.event, self.association) if place.at]
        return max(times, default=None)

    def save(self, path: Path) -> None:
        """Raises `OSError`; then the one before is still there."""
        write_whole(path, json.dumps(asdict(self), separators=(",", ":")).encode())
        sync_folder(path.parent)


def load(path: Path) -> Cursor | None:
    """The cursor; None: there is none yet, or what is there cannot be read."""
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        return Cursor(_place(document["event"]), _place(document["association"]), _numbers(document["refusals"], int))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _place(document: dict[str, Any]) -> Place:
    return Place(int(document["id"]), str(document["at"]), _numbers(document["open"], float))


def _numbers(document: dict[str, Any], kind: type) -> dict[int, Any]:
    return {int(key): kind(value) for key, value in document.items()}
