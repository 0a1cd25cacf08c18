"""One row: a receiver started anew, one sender, what it took. And the median of several."""

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import psutil

from bench.machine import Scratch
from bench.plan import RAW, Sender, Step
from bench.receivers import RECEIVERS, Receiver, find
from bench.studies import make_files

ROOT = Path(__file__).parent.parent
_SAMPLE_SECONDS = 0.2  # between two looks at the memory of a receiver's processes
_SENDER_SECONDS = 1800


@dataclass
class Row:
    """What one receiver did under one sender; of several runs the median of each figure."""

    receiver: str
    sender: str
    kind: str
    associations: int
    instances: int
    seconds: float  # until the last answer, and the index complete
    index_lag_seconds: float  # of these, after the last answer
    instances_per_second: float
    mb_per_second: float
    p50_ms: float | None  # from the first byte of a C-STORE request to its answer
    p99_ms: float | None
    cpu_seconds_per_1000: float  # of all processes of the receiver
    peak_rss_mb: float | None  # of its largest process
    sender_cpu_seconds_per_1000: float
    rates: list[float] = field(default_factory=list)  # instances per second of every run

    @property
    def label(self) -> str:
        return f"{self.receiver} {self.sender} {self.kind} {self.associations}"


@dataclass(frozen=True)
class Sent:
    """What a sender says of its own work."""

    seconds: float
    bytes: int
    cpu_seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None


def measure(step: Step, scratch: Scratch) -> Row:
    """Run one step on an empty store.

    Raises
    ------
    FileNotFoundError
        The receiver or the sender is not installed.
    RuntimeError, OSError
        It did not take everything.
    """
    if step.receiver == RAW:
        return _measure_raw(step, scratch)
    nodelay = step.sender is not Sender.SHIPPED
    lists = []
    if step.sender in (Sender.SHIPPED, Sender.NODELAY):
        lists = make_files(scratch.files, step.kind, step.instances, step.associations)
    with RECEIVERS[step.receiver](scratch.store(), nodelay=nodelay) as receiver, _peak_memory(receiver) as memory:
        os.sync()  # nobody pays for what another has written
        cpu = receiver.cpu_seconds()
        sent = _storescu(receiver, lists, nodelay=nodelay) if lists else load_generator(receiver, step)
        answered = time.monotonic()
        receiver.wait_indexed(step.instances)
        lag = time.monotonic() - answered if step.receiver.startswith("noctis") else 0.0
        cpu = receiver.cpu_seconds() - cpu
    return _row(step, sent, lag, cpu, memory.peak_mb)


def _row(step: Step, sent: Sent, lag: float, cpu: float, peak_rss_mb: float | None) -> Row:
    seconds = sent.seconds + lag
    rate = round(step.instances / seconds, 1)
    return Row(
        receiver=step.receiver,
        sender=step.sender,
        kind=step.kind.name,
        associations=step.associations,
        instances=step.instances,
        seconds=round(seconds, 3),
        index_lag_seconds=round(lag, 3),
        instances_per_second=rate,
        mb_per_second=round(sent.bytes / seconds / 1e6, 1),
        p50_ms=sent.p50_ms,
        p99_ms=sent.p99_ms,
        cpu_seconds_per_1000=round(cpu / step.instances * 1000, 3),
        peak_rss_mb=None if peak_rss_mb is None else round(peak_rss_mb, 1),
        sender_cpu_seconds_per_1000=round(sent.cpu_seconds / step.instances * 1000, 3),
        rates=[rate],
    )


def median(rows: list[Row]) -> Row:
    """One row of several runs of one step: each figure's median, and every rate."""
    figures = {}
    for each in fields(Row):
        values = [getattr(row, each.name) for row in rows]
        if isinstance(values[0], int | float):
            figures[each.name] = statistics.median(value for value in values if value is not None)
    return Row(**{**asdict(rows[0]), **figures, "rates": [rate for row in rows for rate in row.rates]})


# -- senders


def _storescu(receiver: Receiver, lists: list[list[Path]], *, nodelay: bool) -> Sent:
    """dcmtk's storescu, one process an association; until the last has ended."""
    program = find("storescu", "dcmtk")
    environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    if nodelay:
        environment["TCP_NODELAY"] = "1"
    size = sum(path.stat().st_size for paths in lists for path in paths)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    sending = [
        subprocess.Popen(
            [program, "-aec", receiver.called, "127.0.0.1", str(receiver.port), *(path.name for path in paths)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=paths[0].parent,
        )
        for paths in lists
    ]
    codes = [process.wait(_SENDER_SECONDS) for process in sending]
    seconds = time.perf_counter() - begun
    if any(codes):
        raise RuntimeError(f"storescu failed against {receiver.name}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Sent(seconds, size, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def load_generator(receiver: Receiver, step: Step) -> Sent:
    """The load generator, in a process of its own; a receiver that did not take everything raises `RuntimeError`."""
    arguments = ["bench.load", str(receiver.port), receiver.called]
    if step.sender is Sender.PER_INSTANCE:
        arguments.append("--per-instance")
    return _sent(_python(arguments, step))


def _measure_raw(step: Step, scratch: Scratch) -> Row:
    store = scratch.store()
    os.sync()
    result = _python(["bench.raw", str(store)], step)
    return _row(step, _sent({**result, "cpu_seconds": 0.0}), 0.0, result["cpu_seconds"], None)


def _sent(result: dict[str, float]) -> Sent:
    names = ("seconds", "cpu_seconds", "p50_ms", "p99_ms")
    return Sent(bytes=int(result["bytes"]), **{name: result[name] for name in names})


def _python(arguments: list[str], step: Step) -> dict[str, float]:
    """A module of ours in a process of its own; the figures that it prints."""
    count = ["--instances", str(step.instances), "--associations", str(step.associations)]
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--kind", step.kind.name, *count],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_SENDER_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.strip().splitlines()[-1:]) or f"{arguments[0]} failed")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


# -- memory


@dataclass
class _Memory:
    peak_mb: float = 0.0


@contextlib.contextmanager
def _peak_memory(receiver: Receiver) -> Iterator[_Memory]:
    """The largest VmHWM of any of its processes; looked at all the while, for some end with their association."""
    memory, done = _Memory(), threading.Event()

    def look() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in receiver.processes():
                memory.peak_mb = max(memory.peak_mb, high_water_mark(process.pid) / 1e6)

    def run() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield memory
        look()
    finally:
        done.set()
        thread.join()


def high_water_mark(pid: int) -> int:
    """VmHWM in bytes; 0 when the process is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
