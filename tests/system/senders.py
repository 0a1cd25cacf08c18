"""Real senders: dcmtk's and pynetdicom's tools, and one that never gives up."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.scu import WAIT_SECONDS, Association, StoreMessage
from bench.studies import TINY, Kind, Template, Uids, make_uid
from tests import privacy

PAUSE_SECONDS = 0.02  # of the stubborn one after a failure, as any sender pauses

# storescu proposes one family of transfer syntaxes a call.
PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


def run(*command: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; its output is in the result."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False)


def tool(name: str) -> str:
    """The path of one of dcmtk's tools (scripts/test installs them)."""
    found = shutil.which(name, path=os.pathsep.join(("/usr/bin", "/usr/local/bin", os.environ.get("PATH", ""))))
    assert found is not None, f"{name} is not installed: apt-get install dcmtk"
    return found


def dcmtk_reads(path: Path) -> bool:
    """Whether dcmtk itself can load the file: some of pydicom's collection are broken on purpose."""
    done = run(
        tool("storescu"), "-R", "127.0.0.1", "1", path
    )  # port 1: nobody answers, but the file is looked at before
    return "missing SOP class" not in done.stdout + done.stderr


def echoscu(port: int, called: str, calling: str = "ECHOSCU") -> bool:
    return run(tool("echoscu"), "-aet", calling, "-aec", called, "127.0.0.1", str(port)).returncode == 0


def storescu(port: int, called: str, paths: Sequence[Path], *options: str, calling: str = "STORESCU") -> str:
    """dcmtk's storescu; its output. Raises AssertionError when it fails."""
    done = run(tool("storescu"), "-v", *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port), *paths)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dcmsend(port: int, called: str, paths: Sequence[Path], *options: str, calling: str = "DCMSEND") -> str:
    """dcmtk's dcmsend, which chooses the contexts from the files; its report."""
    done = run(tool("dcmsend"), "-v", *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port), *paths)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pynetdicom_storescu(port: int, called: str, path: Path, calling: str = "STORESCU") -> str:
    """pynetdicom's own storescu application."""
    done = run(
        sys.executable,
        "-m",
        "pynetdicom",
        "storescu",
        "-v",
        "-aet",
        calling,
        "-aec",
        called,
        "127.0.0.1",
        str(port),
        path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class StubbornSender(threading.Thread):
    """Sends one instance after another, and again whatever was not acknowledged, until told to stop.

    `acknowledged` has the SOP Instance UID of everything that was answered with success. `prepare` is called first, in
    the sender's own thread.
    """

    def __init__(
        self,
        port: int,
        called: str,
        seed: int,
        *,
        kind: Kind = TINY,
        host: str = "127.0.0.1",
        prepare: Callable[[], None] | None = None,
        wait_seconds: int = WAIT_SECONDS,
        limit: int | None = None,  # instances
        per_association: int | None = None,
        gate: threading.Event | None = None,  # with its association open it waits for it
        rest_seconds: float = 0.0,  # after each instance that was acknowledged
    ) -> None:
        super().__init__(daemon=True)
        privacy.sent_values(("Yardstick^Yvonne", "YARD-0001", "19700101"))  # what bench.studies sends
        self._receiver = (host, port, called)
        self._kind = kind
        self._prepare = prepare
        self._wait_seconds = wait_seconds
        self._limit = limit
        self._per_association = per_association
        self._gate = gate
        self._rest_seconds = rest_seconds
        self._stop_requested = threading.Event()
        self._base = seed * 10_000_000
        self._number = 10
        self.study = make_uid(self._base + 1)
        self.acknowledged: list[str] = []
        self.seconds: list[float] = []  # each answer took; of those acknowledged
        self.statuses: Counter[int] = Counter()  # other than success
        self.broken = 0  # associations that broke, or were not accepted

    @property
    def refused(self) -> list[int]:
        """Every status other than success."""
        return list(self.statuses.elements())

    def run(self) -> None:
        if self._prepare is not None:
            self._prepare()
        template = Template(self._kind)
        while not self._ended():
            association = Association(*self._receiver, self._kind, calling="STUBBORN", wait_seconds=self._wait_seconds)
            try:
                association.open()
                if self._gate is not None:
                    self._gate.wait(self._wait_seconds)
                self._send(association, StoreMessage(template, association.max_fragment))
                association.close()
            except OSError:
                self.broken += 1
                self._stop_requested.wait(PAUSE_SECONDS)
            finally:
                if hasattr(association, "sock"):
                    association.sock.close()

    def _ended(self) -> bool:
        return self._stop_requested.is_set() or (self._limit is not None and len(self.acknowledged) >= self._limit)

    def _send(self, association: Association, message: StoreMessage) -> None:
        sent = 0
        while not self._ended() and (self._per_association is None or sent < self._per_association):
            uid = make_uid(self._base + self._number)
            message.set(self._number, Uids(self.study, make_uid(self._base + 2), uid))
            begun = time.monotonic()
            status = association.store(message)
            sent += 1
            if status == 0:
                self.seconds.append(time.monotonic() - begun)
                self.acknowledged.append(uid)
                self._number += 1
                if self._rest_seconds:
                    self._stop_requested.wait(self._rest_seconds)
            else:
                self.statuses[status] += 1
                self._stop_requested.wait(PAUSE_SECONDS)

    def tell_to_stop(self) -> None:
        self._stop_requested.set()

    def stop_at_limit(self) -> list[str]:
        """Wait until it has sent what it may; what was acknowledged."""
        self.join(180)
        assert not self.is_alive(), "a sender hangs"
        return self.acknowledged

    def stop(self) -> list[str]:
        """End after the instance in hand; what was acknowledged."""
        self.tell_to_stop()
        self.join(180)
        assert not self.is_alive(), "a sender hangs"
        return self.acknowledged
