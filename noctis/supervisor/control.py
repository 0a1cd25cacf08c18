"""The control socket's other end: what the CLI and the pages ask a running supervisor.

Every call opens a connection of its own and raises `SupervisorError`, with the command that starts a supervisor, when
nothing answers. The socket is a file that only its owner and root can open; there is no other authentication.
"""

import json
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, cast

from noctis.errors import SupervisorError
from noctis.facilities.snapshot import Snapshot, dump, write_if_changed
from noctis.home import Home, short_path

START_IT = "start it: noctis supervise   (or: systemctl start noctis)"
POLL_SECONDS = 0.02
ANSWER_SECONDS = 30.0  # the parent answers between two turns of its loop


class Control:
    """A client of one home's supervisor.

    Parameters
    ----------
    seconds
        How long an answer is waited for.
    """

    def __init__(self, home: Home, seconds: float = ANSWER_SECONDS) -> None:
        self._home = home
        self._seconds = seconds

    def _call(self, name: str, *arguments: str) -> Any:
        try:
            with xmlrpc.client.ServerProxy("http://noctis", transport=_Transport(self._home, self._seconds)) as proxy:
                return getattr(proxy, name)(*arguments)
        except TimeoutError as error:
            raise SupervisorError(
                f"the supervisor on {self._home.root} does not answer", fix="noctis check; systemctl restart noctis"
            ) from error
        except PermissionError as error:
            raise SupervisorError(
                f"Permission denied: {self._home.control_socket} is another user's",
                fix="run as the user who runs noctis supervise, or as root",
            ) from error
        except (OSError, HTTPException, xmlrpc.client.ProtocolError) as error:
            raise SupervisorError(f"no supervisor runs on {self._home.root}", fix=START_IT) from error
        except xmlrpc.client.Fault as error:
            raise SupervisorError(f"the supervisor refused: {error.faultString}") from error

    def status(self) -> dict[str, Any]:
        """See `rpc.NoctisInterface.status`."""
        return cast(dict[str, Any], json.loads(self._call("noctis.status")))

    def metrics(self) -> dict[str, Any]:
        """See `measured.measured`."""
        return cast(dict[str, Any], json.loads(self._call("noctis.metrics")))

    def reconcile(self) -> dict[str, list[dict[str, Any]]]:
        """Follow `run/facilities.json` now; what was done."""
        return cast(dict[str, list[dict[str, Any]]], json.loads(self._call("noctis.reconcile")))

    def follow(self, make: Callable[[], Snapshot]) -> bool:
        """After a change of the facilities: tell the listeners, and the supervisor if one runs; whether one does.

        Parameters
        ----------
        make
            Reads what the facilities table says.

        Raises
        ------
        SupervisorError
            One runs and did not answer. The change is made by then: it follows by itself.
        """
        write_if_changed(self._home.snapshot, make)
        if not self.is_running():
            return False
        self.reconcile()
        return True

    def plan(self, snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
        """What a reconcile with `snapshot` would do."""
        text = dump(snapshot).decode()
        return cast(dict[str, list[dict[str, Any]]], json.loads(self._call("noctis.plan", text)))

    def pid(self) -> int:
        return int(self._call("supervisor.getPID"))

    def is_running(self) -> bool:
        """Whether a supervisor listens. Asks nothing of it that could fail for another reason."""
        try:
            _connect(self._home, seconds=5.0).close()
        except OSError:
            return False
        return True

    def listener(self, slug: str | None) -> dict[str, Any] | None:
        """The status of one listener; None: there is none for this facility."""
        return next((each for each in self.status()["listeners"] if each["facility"] == slug), None)

    def wait_listener(self, slug: str | None, seconds: float) -> dict[str, Any]:
        """Until the listener runs, or waits for its first connection; what it was last, when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.listener(slug)
            if found is not None and found["state"] in ("running", "idle"):
                return found
            if time.monotonic() > deadline:
                return found or {"facility": slug, "state": "stopped", "last_error": "no such listener"}
            time.sleep(POLL_SECONDS)


@contextmanager
def control_url(home: Home) -> Iterator[str]:
    """The control socket as `supervisorctl -s` takes it. A long path is valid in this process alone, and as long."""
    with short_path(home.control_socket) as path:
        yield f"unix://{path}"


def _connect(home: Home, seconds: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        with short_path(home.control_socket) as path:
            sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over the control socket."""

    def __init__(self, home: Home, seconds: float) -> None:
        super().__init__()
        self._home = home
        self._seconds = seconds

    def make_connection(self, host: Any) -> HTTPConnection:
        made = HTTPConnection("noctis")
        made.sock = _connect(self._home, self._seconds)
        self._connection = host, made  # so that `close` finds it
        return made
