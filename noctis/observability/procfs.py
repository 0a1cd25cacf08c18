"""What the kernel says of a process of ours: one small file and a folder."""

import os
import time
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


@dataclass(frozen=True)
class Process:
    resident_bytes: int
    cpu_seconds: float  # user and system, since its start
    started: float  # time.time()
    open_descriptors: int | None  # None: it is another user's


def look(pid: int) -> Process | None:
    """A process as it is now; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
    except OSError:
        return None
    try:
        descriptors: int | None = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        descriptors = None
    since_boot = int(fields[19]) / _TICKS  # seconds; field 22 of proc(5)
    return Process(
        resident_bytes=int(fields[21]) * _PAGE,
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        started=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot,
        open_descriptors=descriptors,
    )
