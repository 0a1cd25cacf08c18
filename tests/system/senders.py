"""Real senders: dcmtk's and pynetdicom's tools, and one that never gives up."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bench.scu import Association, StoreMessage
from bench.studies import TINY, Template, Uids, make_uid
from tests import privacy

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
    """Sends one tiny instance after another, and again whatever was not acknowledged, until told to stop.

    `acknowledged` has the SOP Instance UID of everything that was answered with success.
    """

    def __init__(self, port: int, called: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._address = (port, called)
        self._seed = seed
        self._stop_requested = threading.Event()
        self.study = make_uid(seed * 10_000_000 + 1)
        self.acknowledged: list[str] = []
        self.refused: list[int] = []  # statuses other than success
        self.broken = 0  # associations that broke, or were not accepted

    def run(self) -> None:
        template = Template(TINY)
        privacy.sent_values(("Yardstick^Yvonne", "YARD-0001", "19700101"))  # what bench.studies sends
        base = self._seed * 10_000_000
        number = 10
        while not self._stop_requested.is_set():
            association = Association("127.0.0.1", *self._address, TINY, calling="STUBBORN")
            try:
                association.open()
                message = StoreMessage(template, association.max_fragment)
                while not self._stop_requested.is_set():
                    uid = make_uid(base + number)
                    message.set(number, Uids(self.study, make_uid(base + 2), uid))
                    status = association.store(message)
                    if status == 0:
                        self.acknowledged.append(uid)
                        number += 1
                    else:
                        self.refused.append(status)
                association.close()
            except OSError:
                self.broken += 1
                self._stop_requested.wait(0.01)
            finally:
                if hasattr(association, "sock"):
                    association.sock.close()

    def stop(self) -> list[str]:
        """End after the instance in hand; what was acknowledged."""
        self._stop_requested.set()
        self.join(60)
        assert not self.is_alive()
        return self.acknowledged
