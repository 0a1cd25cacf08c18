"""The receivers that are compared, each in its own defaults, started in turn on a free port with an empty store.

Each is a context manager: inside it the receiver answers on `port`. What is not installed raises `FileNotFoundError`.
`nodelay` starts it with TCP_NODELAY=1 in its environment, which switches Nagle off in whatever is built on dcmtk:
storescp and Orthanc. Noctis and pynetdicom do not look at it.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from bench.scu import Association
from bench.studies import TINY

START_SECONDS = 30
STOP_SECONDS = 60
INDEX_SECONDS = 600
_PORTS = range(9100, 11000)  # below the ephemeral ones, and nobody's default among the receivers


@dataclass
class Receiver:
    """One running receiver."""

    name: str
    port: int
    called: str
    process: subprocess.Popen[bytes]
    home: Path

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, those included that have ended and were waited for."""
        return max(_cpu_seconds(self.processes()) for _ in range(3))  # one that ends between two looks is missed

    def serving(self) -> list[psutil.Process]:
        """Those of its processes that hold a connection which is open now."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                connections = process.net_connections(kind="tcp")
                if any(each.laddr.port == self.port and each.status == "ESTABLISHED" for each in connections):
                    found.append(process)
        return found

    def wait_indexed(self, instances: int) -> None:
        """Until Noctis's index holds `instances`; the others index before they answer, or never."""
        if not self.name.startswith("noctis"):
            return
        deadline = time.monotonic() + INDEX_SECONDS
        with contextlib.closing(sqlite3.connect(f"file:{self.home / 'noctis.db'}?mode=ro", uri=True)) as database:
            # The largest key first: it costs nothing to look at, and nothing is ever deleted here.
            for query in ("SELECT max(id) FROM instance", "SELECT count(*) FROM instance"):
                while (database.execute(query).fetchone()[0] or 0) < instances:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"the index did not come to hold {instances} instances")
                    time.sleep(0.005)


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def free_ports(count: int) -> int:
    """The first of so many consecutive ports that nobody listens on."""
    starts = list(_PORTS[: -count or None])
    random.shuffle(starts)
    for first in starts:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise OSError(f"no {count} consecutive free ports in {_PORTS}")


def _wait_echo(receiver: Receiver) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        association = Association("127.0.0.1", receiver.port, receiver.called, TINY)
        try:
            association.open()
            association.echo()
            association.close()
            return
        except OSError as error:
            if receiver.process.poll() is not None or time.monotonic() > deadline:
                log = (receiver.home / "output.log").read_text(errors="replace").strip()
                raise RuntimeError(f"{receiver.name} did not start: {error}; {log[-300:]}") from error
            time.sleep(0.05)


@contextlib.contextmanager
def _started(receiver: Receiver) -> Iterator[Receiver]:
    try:
        _wait_echo(receiver)
        yield receiver
    finally:
        receiver.process.send_signal(signal.SIGTERM)
        try:
            receiver.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            receiver.process.kill()
            receiver.process.wait()


def _environment(nodelay: bool, **more: str) -> dict[str, str]:
    """Ours, without what would take a receiver out of its defaults."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NOCTIS_") and key != "TCP_NODELAY"}
    return {**kept, **({"TCP_NODELAY": "1"} if nodelay else {}), **more}


def _popen(command: list[str], home: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (home / "output.log").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=home, env=environment)


def find(program: str, package: str) -> str:
    """Debian's program, rather than one of the virtual environment that has the same name."""
    path = shutil.which(program, path=f"/usr/bin:/usr/sbin:{os.environ.get('PATH', '')}")
    if path is None:
        raise FileNotFoundError(f"{program} is not installed (Debian: apt-get install {package})")
    return path


@contextlib.contextmanager
def noctis(home: Path, *, nodelay: bool = False, durability: str = "strict", workers: int = 1) -> Iterator[Receiver]:
    """Noctis under supervision, with one facility; measured on the facility's own port."""
    port = free_ports(3)
    environment = _environment(
        nodelay,
        NOCTIS_HOME=str(home),
        NOCTIS_SERVER__PORT=str(port),
        NOCTIS_SERVER__BIND="127.0.0.1",
        NOCTIS_FACILITIES__FIRST_PORT=str(port + 1),
        NOCTIS_FACILITIES__LAST_PORT=str(port + 2),
        NOCTIS_STORAGE__DURABILITY=durability,
    )
    command = [sys.executable, "-m", "noctis"]
    added = subprocess.run(
        [*command, "facility", "add", "Bench", "--workers", str(workers), "--json"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    if added.returncode:
        raise RuntimeError(f"noctis facility add: {added.stderr.strip()}")
    facility = json.loads(added.stdout)
    process = _popen([*command, "supervise"], home, environment)
    name = "noctis" if durability == "strict" else "noctis-fast"
    if workers > 1:
        name += f"-{workers}-workers"
    with _started(Receiver(name, facility["port"], facility["ae_title"], process, home)) as receiver:
        yield receiver


@contextlib.contextmanager
def orthanc(home: Path, *, nodelay: bool = False) -> Iterator[Receiver]:
    """Orthanc with its SQLite index; of its defaults only its places, ports and its web server are changed."""
    port = free_ports(2)
    config = {
        "Name": "Bench",
        "StorageDirectory": str(home / "storage"),
        "IndexDirectory": str(home / "storage"),
        "DicomPort": port,
        "HttpPort": port + 1,
        "HttpServerEnabled": False,
        "Plugins": [],
    }
    (home / "orthanc.json").write_text(json.dumps(config))
    process = _popen([find("Orthanc", "orthanc"), str(home / "orthanc.json")], home, _environment(nodelay))
    with _started(Receiver("orthanc", port, "ORTHANC", process, home)) as receiver:
        yield receiver


@contextlib.contextmanager
def storescp(home: Path, *, nodelay: bool = False) -> Iterator[Receiver]:
    """dcmtk's storescp: no index, no fsync; `--fork`, since without it the second association waits."""
    port = free_ports(1)
    (home / "files").mkdir()
    command = [find("storescp", "dcmtk"), "--fork", "-od", str(home / "files"), str(port)]
    process = _popen(command, home, _environment(nodelay))
    with _started(Receiver("storescp", port, "STORESCP", process, home)) as receiver:
        yield receiver


@contextlib.contextmanager
def pynetdicom(home: Path, *, nodelay: bool = False) -> Iterator[Receiver]:
    """Stock pynetdicom with a handler that writes the file: no index, no fsync."""
    port = free_ports(1)
    command = [sys.executable, str(Path(__file__).with_name("stock.py")), str(port), str(home)]
    process = _popen(command, home, _environment(nodelay))
    with _started(Receiver("pynetdicom", port, "STOCK", process, home)) as receiver:
        yield receiver


Start = Callable[..., AbstractContextManager[Receiver]]
RECEIVERS: dict[str, Start] = {
    "noctis": noctis,
    "noctis-fast": partial(noctis, durability="fast"),
    "noctis-2-workers": partial(noctis, workers=2),
    "orthanc": orthanc,
    "storescp": storescp,
    "pynetdicom": pynetdicom,
}
