"""What is not a rate of instances: an echo's cost, idle associations, memory while a very large instance comes."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.machine import Scratch
from bench.measure import high_water_mark, load_generator
from bench.plan import Form, Sender, Step
from bench.receivers import RECEIVERS, Receiver
from bench.scu import Association
from bench.studies import CINE, MG, MR, TINY

_SETTLE_SECONDS = 1.0  # what a receiver does after its last answer belongs to it
_ECHO_SECONDS = 10.0  # at the most; at the least `_ECHO_MIN` associations
_ECHO_MIN = 100
_TITLES = {
    "echo": "one association after another, each with one echo",
    "idle": "idle associations",
    "memory": "memory during one very large instance",
}


@dataclass(frozen=True)
class Probe:
    """One measure of one receiver."""

    name: str  # echo, idle or memory
    receiver: str
    run: Callable[[Receiver, Form], dict[str, float]]

    @property
    def label(self) -> str:
        return f"{self.receiver} {self.name}"


Figures = dict[str, dict[str, dict[str, float]]]  # probe: receiver: figure: value


def title(name: str) -> str:
    return _TITLES[name]


def probes(form: Form) -> list[Probe]:
    """Those of a run, in order."""
    peers = ("orthanc", "storescp", "pynetdicom")
    listed = [Probe("echo", name, _echo) for name in ("noctis", *peers)]
    # Orthanc serves as many associations as it has threads (four); the others wait, so none can be idle.
    idle = ("noctis", "storescp", "pynetdicom") if form is Form.FULL else ("noctis",)
    listed += [Probe("idle", name, _idle) for name in idle]
    # storescp's process ends with its association, and its memory with it: the peaks are in the rows.
    memory = ("noctis", "orthanc", "pynetdicom") if form is Form.FULL else ("noctis",)
    return listed + [Probe("memory", name, _memory) for name in memory]


def run(probe: Probe, form: Form, scratch: Scratch) -> dict[str, float]:
    """Its figures, from a receiver that is started for it."""
    with RECEIVERS[probe.receiver](scratch.store(), nodelay=True) as receiver:
        os.sync()
        return probe.run(receiver, form)


def _association(receiver: Receiver) -> Association:
    return Association("127.0.0.1", receiver.port, receiver.called, TINY)


def _one_echo(receiver: Receiver) -> None:
    association = _association(receiver)
    association.open()
    if association.echo() != 0:
        raise RuntimeError(f"{receiver.name} did not answer an echo")
    association.close()


def _echo(receiver: Receiver, form: Form) -> dict[str, float]:
    """Open, echo, release, again and again; the CPU time of all processes of the receiver."""
    most = {Form.FULL: 500, Form.QUICK: 200, Form.SMOKE: 10}[form]
    for _ in range(5):
        _one_echo(receiver)
    cpu = receiver.cpu_seconds()
    count, begun = 0, time.perf_counter()
    while count < most and (count < _ECHO_MIN or time.perf_counter() - begun < _ECHO_SECONDS):
        _one_echo(receiver)
        count += 1
    seconds = time.perf_counter() - begun
    time.sleep(_SETTLE_SECONDS)
    return {
        "associations": count,
        "associations_per_second": round(count / seconds, 1),
        "cpu_ms_per_association": round((receiver.cpu_seconds() - cpu) / count * 1000, 3),
    }


def _idle(receiver: Receiver, form: Form) -> dict[str, float]:
    """Associations that were opened and say nothing: the CPU time of what serves them, and of all processes."""
    count, seconds = {Form.FULL: (200, 20.0), Form.QUICK: (200, 10.0), Form.SMOKE: (20, 2.0)}[form]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            association = _association(receiver)
            association.open()
            stack.callback(association.close)
        time.sleep(2 * _SETTLE_SECONDS)
        serving = receiver.serving()
        before = sum(sum(process.cpu_times()[:2]) for process in serving), receiver.cpu_seconds()
        begun = time.perf_counter()
        time.sleep(seconds)
        after = sum(sum(process.cpu_times()[:2]) for process in serving), receiver.cpu_seconds()
        elapsed = time.perf_counter() - begun
    return {
        "associations": count,
        "seconds": round(elapsed, 1),
        "cpu_percent": round((after[0] - before[0]) / elapsed * 100, 2),
        "cpu_percent_all_processes": round((after[1] - before[1]) / elapsed * 100, 2),
    }


def _memory(receiver: Receiver, form: Form) -> dict[str, float]:
    """Peak resident memory of the listener during one very large instance, over what it had before."""
    kind = MG if form is Form.SMOKE else CINE
    load_generator(receiver, Step(receiver.name, Sender.LOAD, MR, 1, 4))  # what is loaded once is loaded
    with _held(receiver) as pid:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew
        before = high_water_mark(pid)
        load_generator(receiver, Step(receiver.name, Sender.LOAD, kind, 1, 1))
        peak = high_water_mark(pid)
    return {
        "instance_mb": round(kind.side**2 * 2 * kind.frames / 1e6),
        "before_mb": round(before / 1e6, 1),
        "peak_mb": round(peak / 1e6, 1),
        "growth_mb": round((peak - before) / 1e6, 1),
    }


@contextlib.contextmanager
def _held(receiver: Receiver) -> Iterator[int]:
    """The process that serves all associations, found by one that is open meanwhile."""
    association = _association(receiver)
    association.open()
    try:
        serving = receiver.serving()
        if len(serving) != 1:
            raise RuntimeError(f"{receiver.name} serves one association by {len(serving)} processes")
        yield serving[0].pid
    finally:
        association.close()
