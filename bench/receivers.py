"""The receivers that are compared, each in its own defaults, started in turn on a free port with an empty store.

Each is a context manager: inside it the receiver answers on `port`; `processes` are its process and its children, for
CPU time and memory. What is not installed is left out, and said so.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.load import Association
from bench.studies import TINY

START_SECONDS = 30


@dataclass
class Receiver:
    """One running receiver."""

    name: str
    port: int
    called: str
    process: subprocess.Popen[bytes]
    home: Path
    gone_cpu: float = 0.0  # of children that have ended
    seen: dict[int, float] = field(default_factory=dict)

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, the ended ones that were waited for included."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def peak_rss_mb(self) -> float:
        """The largest VmHWM among its processes."""
        peak = 0
        for process in self.processes():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peak = max(peak, int(line.split()[1]))
        return peak / 1024

    def wait_indexed(self, instances: int, seconds: float = 600) -> None:
        """Until its index, where it has one of its own kind that lags behind, holds `instances`."""
        if not self.name.startswith("noctis"):
            return
        deadline = time.monotonic() + seconds
        with contextlib.closing(sqlite3.connect(f"file:{self.home / 'noctis.db'}?mode=ro", uri=True)) as database:
            while time.monotonic() < deadline:
                if database.execute("SELECT count(*) FROM instance").fetchone()[0] >= instances:
                    return
                time.sleep(0.005)
        raise TimeoutError(f"the index did not come to hold {instances} instances")


def _wait_echo(receiver: Receiver) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        association = Association("127.0.0.1", receiver.port, receiver.called, TINY)
        try:
            association.open()
            assert association.echo() == 0
            association.close()
            return
        except OSError:
            if receiver.process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def _started(receiver: Receiver) -> Iterator[Receiver]:
    try:
        _wait_echo(receiver)
        yield receiver
    finally:
        receiver.process.send_signal(signal.SIGTERM)
        try:
            receiver.process.wait(30)
        except subprocess.TimeoutExpired:
            receiver.process.kill()
            receiver.process.wait()


def _popen(command: list[str], home: Path, **environment: str) -> subprocess.Popen[bytes]:
    with (home / "output.log").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=home, env={**os.environ, **environment})


@contextlib.contextmanager
def noctis(home: Path, port: int, *, durability: str = "strict", workers: int = 1) -> Iterator[Receiver]:
    """Noctis under supervision, with one facility; its listener is measured on the facility's own port."""
    environment = {
        "NOCTIS_HOME": str(home),
        "NOCTIS_SERVER__PORT": str(port),
        "NOCTIS_SERVER__BIND": "127.0.0.1",
        "NOCTIS_FACILITIES__FIRST_PORT": str(port + 1),
        "NOCTIS_FACILITIES__LAST_PORT": str(port + 2),
        "NOCTIS_STORAGE__DURABILITY": durability,
    }
    command = [sys.executable, "-m", "noctis"]
    added = subprocess.run(
        [*command, "facility", "add", "Bench", "--workers", str(workers), "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
    )
    facility = json.loads(added.stdout)
    process = _popen([*command, "supervise"], home, **environment)
    name = "noctis" if durability == "strict" else "noctis-fast"
    if workers > 1:
        name += f"-{workers}-workers"
    with _started(Receiver(name, facility["port"], facility["ae_title"], process, home)) as receiver:
        yield receiver


@contextlib.contextmanager
def orthanc(home: Path, port: int) -> Iterator[Receiver]:
    """Orthanc with its SQLite index, as Debian ships it."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:" + os.environ.get("PATH", ""))
    if program is None:
        raise FileNotFoundError("Orthanc is not installed (Debian: apt-get install orthanc)")
    config = {
        "Name": "Bench",
        "StorageDirectory": str(home / "storage"),
        "IndexDirectory": str(home / "storage"),
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "HttpPort": port + 1,
        "HttpServerEnabled": False,
        "DicomCheckCalledAet": False,
        "Plugins": [],
    }
    (home / "orthanc.json").write_text(json.dumps(config))
    process = _popen([program, str(home / "orthanc.json")], home)
    with _started(Receiver("orthanc", port, "ORTHANC", process, home)) as receiver:
        yield receiver


@contextlib.contextmanager
def storescp(home: Path, port: int) -> Iterator[Receiver]:
    """dcmtk's storescp: no index, no fsync; `--fork`, since without it the second association waits."""
    program = shutil.which("storescp", path="/usr/bin:" + os.environ.get("PATH", ""))
    if program is None:
        raise FileNotFoundError("storescp is not installed (Debian: apt-get install dcmtk)")
    (home / "files").mkdir()
    process = _popen([program, "--fork", "-od", str(home / "files"), str(port)], home)
    with _started(Receiver("storescp", port, "STORESCP", process, home)) as receiver:
        yield receiver


@contextlib.contextmanager
def pynetdicom(home: Path, port: int) -> Iterator[Receiver]:
    """Stock pynetdicom with a handler that writes the file: no index, no fsync."""
    process = _popen([sys.executable, str(Path(__file__).with_name("stock.py")), str(port), str(home)], home)
    with _started(Receiver("pynetdicom", port, "STOCK", process, home)) as receiver:
        yield receiver
