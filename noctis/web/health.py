"""Health, for load balancers and orchestrators: whether this process lives, and whether this Noctis is ready.

Ready: every listener that shall be up is, the database is reachable, and spool and archive have free space above the
reserve. Names facilities and ports, and nothing else that an operator does not tell everybody.
"""

from typing import Any

from noctis.checks.probe import Seen
from noctis.checks.status import GOOD, has_room
from noctis.facilities.snapshot import Snapshot
from noctis.web.metrics.observed import Database, Observed


def readiness(observed: Observed) -> dict[str, Any]:
    """`ready`, and what is in the way."""
    supervisor, database, disks = observed.look()
    place = observed.place
    reasons = [
        *_listeners(supervisor, place.snapshots.current(), place.settings.server.port),
        *_database(database),
        *_disks(disks),
    ]
    return {"ready": not reasons, "reasons": reasons}


def _reason(part: str, problem: str, **fields: Any) -> dict[str, Any]:
    return {"part": part, "problem": problem, **fields}


def _listeners(seen: Seen[dict[str, Any]], snapshot: Snapshot, default_port: int) -> list[dict[str, Any]]:
    if seen.value is None:
        problem = "the supervisor does not answer" if "not answer" in seen.error else "no supervisor runs"
        return [_reason("supervisor", problem)]
    wanted = {"": default_port} | {each.slug: each.port for each in snapshot.facilities if each.enabled}
    found = []
    for slug, port in wanted.items():
        state = (seen.value["listeners"].get(slug) or {}).get("state") or "missing"
        if state not in GOOD:
            whose = f"of {slug}" if slug else "on the default port"
            problem = f"the listener {whose} is not up: {state}"
            found.append(_reason("listener", problem, facility=slug or None, port=port, state=state))
    return found


def _database(seen: Seen[Database]) -> list[dict[str, Any]]:
    if seen.value is None:
        return [_reason("database", seen.error)]
    if not seen.value.state["reachable"]:
        return [_reason("database", "the database is not reachable")]
    if (upgrade := seen.value.state["upgrade"]) is not None:
        return [_reason("database", f"{upgrade['public']}; what arrives is received meanwhile")]
    if seen.value.state["schema"] is None:
        return [_reason("database", "the database has no tables: it is new, or was taken away")]
    if not seen.value.state["up_to_date"]:
        return [_reason("database", "the database's schema is not this release's")]
    return []


def _disks(seen: Seen[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    if seen.value is None:
        return [_reason("disk", seen.error)]
    return [
        _reason("disk", f"the disk of the {name} is not above the reserve", disk=name, **space)
        for name, space in seen.value.items()
        if not has_room(space)
    ]
