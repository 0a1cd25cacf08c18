"""What the control socket answers beside supervisor's own calls: the namespace `noctis`, each answer a JSON text.

JSON, since XML-RPC has no integers beyond 32 bits and no null.
"""

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from noctis import __version__
from noctis.facilities.snapshot import parse
from noctis.observability.scoreboard import Counter
from noctis.supervisor.measured import measured
from noctis.supervisor.plan import make_plan

if TYPE_CHECKING:
    from noctis.supervisor.group import Group, ListenerGroup
    from noctis.supervisor.parent import Parent


class NoctisInterface:
    """The calls. Docstrings in supervisor's form: `supervisorctl` and `system.methodHelp` read them."""

    def __init__(self, parent: "Parent") -> None:
        self._parent = parent

    def status(self) -> str:
        """Every listener and service as it is now

        @return string result   JSON
        """
        parent = self._parent
        return json.dumps(
            {
                "pid": os.getpid(),
                "version": __version__,
                "started_at": _iso(int(parent.started_at * 1e9)),
                "listeners": [
                    self._listener(each) for each in sorted(parent.listening(), key=lambda each: each.spec.port)
                ],
                "archiver": self._archiver(parent.process_groups["archiver"]),
                "watcher": self._service(parent.process_groups["watcher"]),
                "audit": self._audit(parent.process_groups.get("audit")),
                "scheduler": self._service(parent.process_groups["scheduler"]),
                "web": self._optional(parent.process_groups.get("web")),
                "notifier": self._notifier(parent.process_groups.get("notifier")),
            }
        )

    def metrics(self) -> str:
        """What every process has counted, and how it is now

        @return string result   JSON
        """
        parent = self._parent
        return json.dumps(
            measured(parent.process_groups.values(), parent.boards, parent.snapshot), separators=(",", ":")
        )

    def reconcile(self) -> str:
        """Follow run/facilities.json now

        @return string result   JSON: what was started, stopped, rebound, refreshed
        """
        return json.dumps(self._parent.reconcile().as_json())

    def plan(self, snapshot: str) -> str:
        """What a reconcile with this snapshot would do

        @param string snapshot  JSON, as in run/facilities.json
        @return string result   JSON
        """
        return json.dumps(make_plan(self._parent.snapshot, parse(snapshot.encode())).as_json())

    def _listener(self, group: "ListenerGroup") -> dict[str, Any]:
        parent = self._parent
        facility = parent.snapshot.by_slug.get(group.spec.slug or "")
        pids = [each.pid for each in group.active if each.pid]
        error, error_at = _last_error(group)
        if group.bind_error:
            error, error_at = group.bind_error, int(group.bind_failed_at * 1e9)
        return {
            "facility": group.spec.slug,
            "name": facility.name if facility else "(default)",
            "port": group.spec.port,
            "ae_title": facility.ae_title if facility else parent.settings.server.ae_title,
            "state": group.state(),
            "pid": pids[0] if pids else None,
            "workers": pids,
            "live_associations": group.live(Counter.LIVE),
            "associations": group.total(Counter.ASSOCIATIONS),
            "refused": group.total(Counter.REFUSED),
            "aborted": group.total(Counter.ABORTED),
            "instances": group.total(Counter.INSTANCES),
            "bytes": group.total(Counter.BYTES),
            "echoes": group.total(Counter.ECHOES),
            "failures": group.total(Counter.FAILURES),
            "quarantined": group.total(Counter.QUARANTINED),
            "restarts": group.total(Counter.RESTARTS),
            "last_instance": _iso(group.latest(Counter.LAST_INSTANCE_NS)),
            "last_error": error,
            "last_error_at": _iso(error_at),
        }

    def _service(self, group: "Group") -> dict[str, Any]:
        error, error_at = _last_error(group)
        pids = [each.pid for each in group.active if each.pid]
        return {
            "state": group.state(),
            "pid": pids[0] if pids else None,
            "restarts": group.total(Counter.RESTARTS),
            "last_error": error,
            "last_error_at": _iso(error_at),
        }

    def _optional(self, group: "Group | None") -> dict[str, Any] | None:
        """None: it is switched off."""
        return None if group is None else self._service(group)

    def _notifier(self, group: "Group | None") -> dict[str, Any] | None:
        """None: `notifications.enabled` is false."""
        if group is None:
            return None
        document = self._service(group)
        board = next((each.scoreboard for each in group.active), None)
        if board is not None:
            heartbeat = board.get(Counter.HEARTBEAT_NS)
            document |= {
                "sent": board.get(Counter.INSTANCES),
                "waiting_addresses": board.get(Counter.PENDING),
                "last_sent_at": _iso(board.get(Counter.LAST_INSTANCE_NS)),
                "heartbeat_seconds": round(max(0.0, time.time() - heartbeat / 1e9), 1) if heartbeat else None,
            }
        return document

    def _audit(self, group: "Group | None") -> dict[str, Any] | None:
        """None: `audit.syslog` is not set."""
        if group is None:
            return None
        board = next((each.scoreboard for each in group.active), None)
        document = self._service(group)
        if board is not None:
            oldest = board.get(Counter.OLDEST_NS)
            document |= {
                "sent": group.total(Counter.INSTANCES),
                "waiting": board.get(Counter.PENDING),
                "waiting_seconds": round(max(0.0, time.time() - oldest / 1e9), 1) if oldest else None,
                "last_sent_at": _iso(board.get(Counter.LAST_INSTANCE_NS)),
            }
        return document

    def _archiver(self, group: "Group") -> dict[str, Any]:
        board = next((each.scoreboard for each in group.active), None)
        document = self._service(group)
        if board is not None:
            oldest, heartbeat = board.get(Counter.OLDEST_NS), board.get(Counter.HEARTBEAT_NS)
            document |= {
                "filed": group.total(Counter.INSTANCES),
                "duplicates": group.total(Counter.DUPLICATES),
                "conflicts": group.total(Counter.CONFLICTS),
                "quarantined": group.total(Counter.QUARANTINED),
                "batches": group.total(Counter.BATCHES),
                "last_batch": board.get(Counter.LAST_BATCH),
                "pending": board.get(Counter.PENDING),
                "oldest_seconds": round(max(0.0, time.time() - oldest / 1e9), 1) if oldest else None,
                "last_batch_at": _iso(board.get(Counter.LAST_BATCH_NS)),
                "heartbeat_seconds": round(max(0.0, time.time() - heartbeat / 1e9), 1) if heartbeat else None,
            }
        return document


def make_interface(parent: "Parent", **_settings: str) -> NoctisInterface:
    """supervisor's factory of an RPC interface."""
    return NoctisInterface(parent)


def _last_error(group: "Group") -> tuple[str, int]:
    boards = [each.scoreboard.read() for each in group.processes.values()]
    latest = max(boards, key=lambda board: board[Counter.LAST_ERROR_NS], default=None)
    return (latest.last_error, latest[Counter.LAST_ERROR_NS]) if latest else ("", 0)


def _iso(nanoseconds: int) -> str | None:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="milliseconds") if nanoseconds else None
