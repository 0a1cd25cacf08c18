"""What the processes have counted, by name, for the metrics: read from the scoreboards, which costs them nothing.

Counts are of all processes that there were since the machine was started; what is of now is 0 where no process runs.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from noctis.facilities.snapshot import Snapshot
from noctis.observability.boards import Boards
from noctis.observability.scoreboard import Counter, Scoreboard, Words
from noctis.observability.words import MOMENTARY, named
from noctis.supervisor.plan import DEFAULT, FACILITY_BOARD, SERVICE_BOARD

if TYPE_CHECKING:
    from noctis.supervisor.group import Group

LATEST = (Counter.LAST_INSTANCE_NS, Counter.LAST_BATCH_NS)  # of several boards the largest, not the sum


def measured(groups: "Iterable[Group]", boards: Boards, snapshot: Snapshot) -> dict[str, Any]:
    """`listeners` and `services` by name, `processes` as name and pid, and the parent's own `pid`.

    A listener or service has its state, and what is counted: `counts` by itself, `facilities` by slug where it tells
    them apart. A facility that is disabled has a listener without a state.
    """
    by_board: dict[str, list[Group]] = {}
    for group in groups:
        by_board.setdefault(group.board, []).append(group)
    names = by_board.keys() | {f"{FACILITY_BOARD}{slug}" for slug in snapshot.by_slug}
    listeners, services, processes = {}, {}, {}
    for name in sorted(names):
        found = by_board.get(name, [])
        told = _told(found, boards.of(name))
        if name.startswith(SERVICE_BOARD):
            services[name.removeprefix(SERVICE_BOARD)] = told
        else:
            listeners["" if name == DEFAULT else name.removeprefix(FACILITY_BOARD)] = told
        # a port that was changed has two groups for a while, whose processes have the same names: the new one's count
        for each in sorted(
            (each for group in found for each in group.processes.values()), key=lambda each: not each.retiring
        ):
            if each.pid:
                processes[each.config.name] = each.pid
    return {"pid": os.getpid(), "listeners": listeners, "services": services, "processes": processes}


def _told(groups: "list[Group]", boards: list[Scoreboard]) -> dict[str, Any]:
    running = {each.scoreboard for group in groups for each in group.processes.values() if each.pid}
    rows: dict[str, list[tuple[Words, bool]]] = {}
    for board in boards:
        for slug, row in board.rows().items():
            rows.setdefault(slug, []).append((row, board in running))
    shown = next((group for group in groups if group.active), groups[-1] if groups else None)
    return {
        "state": None if shown is None else str(shown.state()),  # a port that was changed: of the new one
        "counts": _summed([(board, board in running) for board in boards]),
        "facilities": {slug: _summed(found) for slug, found in rows.items()},
    }


def _summed(parts: list[tuple[Words, bool]]) -> dict[str, Any]:
    """The words of several together; each with whether its process runs."""
    lists = []
    for words, runs in parts:
        values = words.all()
        if not runs:
            for counter in MOMENTARY:
                values[counter] = 0
        lists.append(values)
    if not lists:
        return {}
    total = lists[0] if len(lists) == 1 else [sum(column) for column in zip(*lists, strict=True)]
    for counter in LATEST:
        total[counter] = max(values[counter] for values in lists) if len(lists) > 1 else total[counter]
    return named(total)
