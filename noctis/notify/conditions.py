"""What lasts: told once when it begins and once when it is over, and not in between.

An observation is `bad` or it is near (`not bad`: neither begun nor over, which is the hysteresis); what is not observed
is well. A condition begins when it was bad for `hold` seconds without a break, and is over when it was not observed for
`CLEAR_SECONDS`. Its row is written in the transaction of its notification.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Table, delete, insert, select

from noctis.config import Settings
from noctis.db.engine import reachable, reading
from noctis.db.notifying import NotificationCondition
from noctis.notifications import Phase
from noctis.notify import outbox
from noctis.notify.outbox import News
from noctis.notify.rules import Rules
from noctis.text import duration

CONDITION: Table = NotificationCondition.__table__  # type: ignore[assignment]
CLEAR_SECONDS = 30.0


@dataclass(frozen=True)
class Observation:
    """How one thing is now."""

    key: str  # stays the same as long as it lasts; begins with the scope that looks at it
    bad: bool
    sentence: str = ""
    over: str = ""  # what is said when it is over
    facility_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    hold: float = 0.0  # seconds


class Conditions:
    """The conditions of one database. One thread."""

    def __init__(self, engine: Engine, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._rules = Rules(engine, settings, "notifier")
        self._clock = clock
        self._bad_since: dict[tuple[str, str], float] = {}  # (kind, key): not told of yet
        self._well_since: dict[tuple[str, str], float] = {}  # told of, and not observed any more

    def update(self, kind: str, scope: str, observed: Iterable[Observation]) -> int:
        """Compare what was observed of a kind with what was told of it; how many notifications that makes.

        Parameters
        ----------
        scope
            Only rows whose key begins with it are this caller's.
        """
        seen = {each.key: each for each in observed}
        now = self._clock()
        with reading(self._engine) as connection:
            query = select(CONDITION).where(CONDITION.c.kind == kind)
            active = {row.key: row for row in connection.execute(query) if row.key.startswith(scope)}
        for mine in [mine for mine in self._bad_since if mine[0] == kind and mine[1].startswith(scope)]:
            if mine[1] not in seen or not seen[mine[1]].bad:
                del self._bad_since[mine]
        new = [each for each in seen.values() if each.bad and each.key not in active]
        begun = [each for each in new if now - self._bad_since.setdefault((kind, each.key), now) >= each.hold]
        for mine in [mine for mine in self._well_since if mine[0] == kind and mine[1].startswith(scope)]:
            if mine[1] in seen or mine[1] not in active:
                del self._well_since[mine]
        over = [
            row
            for key, row in active.items()
            if key not in seen and now - self._well_since.setdefault((kind, key), now) >= CLEAR_SECONDS
        ]
        if not begun and not over:
            return 0
        count = self._tell(kind, begun, over)
        for each in begun:
            self._bad_since.pop((kind, each.key), None)
        for row in over:
            self._well_since.pop((kind, row.key), None)
        return count

    def _tell(self, kind: str, begun: list[Observation], over: list[Any]) -> int:
        at = datetime.now(UTC)
        news: list[News] = []
        with reachable(self._engine), self._engine.begin() as connection:
            for each in begun:
                row = {
                    "key": each.key,
                    "kind": kind,
                    "facility_id": each.facility_id,
                    "begun_at": at,
                    "data": {"sentence": each.sentence, "over": each.over},
                }
                connection.execute(insert(CONDITION), row)
                news.append(News(kind, at, each.sentence, each.data, each.facility_id, Phase.BEGUN))
            for row in over:
                connection.execute(delete(CONDITION).where(CONDITION.c.key == row.key))
                lasted = max(0.0, (at - row.begun_at).total_seconds())
                sentence = f"{row.data.get('over') or row.data.get('sentence', '')} (after {duration(lasted)})"
                data = {"begun_at": row.begun_at.isoformat(), "seconds": round(lasted)}
                news.append(News(kind, at, sentence, data, row.facility_id, Phase.OVER))
            return outbox.enqueue(connection, self._rules.read(connection), news)
