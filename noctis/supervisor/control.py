"""The control socket's other end: what the CLI and the pages ask a running supervisor.

Every call raises `SupervisorError`, with the command that starts one, when nothing answers.
"""

import json
import socket
import time
import xmlrpc.client
from http.client import HTTPException
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from noctis.errors import SupervisorError
from noctis.facilities.snapshot import Snapshot, dump
from noctis.home import Home

START_IT = "start it: noctis supervise   (or: systemctl start noctis)"
POLL_SECONDS = 0.02


class Control:
    """A client of one home's supervisor."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._proxy = xmlrpc.client.ServerProxy(
            "http://127.0.0.1", transport=SupervisorTransport("", "", f"unix://{home.control_socket}")
        )

    def _call(self, name: str, *arguments: str) -> Any:
        try:
            return getattr(self._proxy, name)(*arguments)
        except (OSError, HTTPException) as error:
            raise SupervisorError(f"no supervisor runs on {self._home.root}", fix=START_IT) from error
        except xmlrpc.client.Fault as error:
            raise SupervisorError(f"the supervisor refused: {error.faultString}") from error

    def status(self) -> dict[str, Any]:
        """See `rpc.NoctisInterface.status`."""
        return cast(dict[str, Any], json.loads(self._call("noctis.status")))

    def reconcile(self) -> dict[str, list[dict[str, Any]]]:
        """Follow `run/facilities.json` now; what was done."""
        return cast(dict[str, list[dict[str, Any]]], json.loads(self._call("noctis.reconcile")))

    def plan(self, snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
        """What a reconcile with `snapshot` would do."""
        text = dump(snapshot).decode()
        return cast(dict[str, list[dict[str, Any]]], json.loads(self._call("noctis.plan", text)))

    def pid(self) -> int:
        return int(self._call("supervisor.getPID"))

    def is_running(self) -> bool:
        """Whether a supervisor answers. Asks nothing of it that could fail for another reason."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self._home.control_socket))
            except OSError:
                return False
        return True

    def listener(self, slug: str | None) -> dict[str, Any] | None:
        """The status of one listener; None: there is none for this facility."""
        return next((each for each in self.status()["listeners"] if each["facility"] == slug), None)

    def wait_listener(self, slug: str, seconds: float) -> dict[str, Any]:
        """Until the listener runs, or waits for its first connection; what it was last, when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.listener(slug)
            if found is not None and found["state"] in ("running", "idle"):
                return found
            if time.monotonic() > deadline:
                return found or {"facility": slug, "state": "stopped", "last_error": "no such listener"}
            time.sleep(POLL_SECONDS)
