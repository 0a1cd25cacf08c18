"""The clock is stepped, for the whole tree of processes (`clock.c`); the machine's own stays as it is."""

import os
import signal
import struct
import subprocess
import time
from pathlib import Path

import psutil

from tests.faults import means
from tests.faults.ground import Ground, row
from tests.support import wait_for

HOUR = 3600


@row("clock", "the clock is stepped forward and back, by an hour and more, under load", means.clocks)
def clock(ground: Ground) -> None:
    noctis = ground.make()
    file = ground.folder / "clock"
    file.write_bytes(bytes(8))
    library = ground.folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source], check=True)
    noctis.variables = {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(file)}
    ground.start("Central")
    senders = ground.send("central", 2)
    ground.more(senders)
    for offset in (HOUR, -HOUR, 24 * HOUR, 0) if ground.long else (HOUR, -HOUR):
        _step(file, offset)
        ground.more(senders, 100 if ground.long else 20)
        for target in ("central", "archiver"):  # what ends is started again, whatever the clock says
            (pid,) = ground.pids(target)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: pid not in ground.pids(target) != [0], seconds=60, what=f"{target} again")  # noqa: B023
        ground.more(senders, 20)
    ground.heal()
    assert not any(sender.statuses for sender in senders)
    for sender in senders:
        sender.stop()
    ground.notes.append(f"processor time of an idle second afterwards: {_idle(noctis.pid):.2f} s")


def _step(file: Path, seconds: int) -> None:
    """What the processes see from now on, beside the true time; they have the file mapped."""
    with file.open("r+b", buffering=0) as opened:
        opened.write(struct.pack("=q", seconds))


def _idle(parent: int) -> float:
    """Seconds of processor time that all processes together take while nothing comes, of one second."""
    tree = [psutil.Process(parent), *psutil.Process(parent).children(recursive=True)]

    def used() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in tree)

    begun, before = time.monotonic(), used()
    wait_for(lambda: time.monotonic() - begun >= 2, what="two seconds")
    share = (used() - before) / (time.monotonic() - begun)
    assert share < 0.5, "a busy loop"
    return share
