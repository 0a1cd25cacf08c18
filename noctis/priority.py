"""Work that must hold up nobody: a low priority for the processor and for the disk, for this process alone.

Never raises: where the system does not allow it, the work is done at the usual priority. It holds no lock of the
database that others wait for: what it has to tell goes through the journal.
"""

import contextlib
import ctypes
import os
import platform

NICENESS = 19
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}  # ioprio_set(2)
_WHO_PROCESS, _CLASS_IDLE, _BEST_EFFORT_LAST = 1, 3 << 13, 2 << 13 | 7
BEHIND = 10  # niceness: a tenth of the processor beside one that has none


def lower() -> None:
    """nice(2) to the end of its range, and the idle class of ioprio_set(2), which glibc has no function for."""
    _set(NICENESS, _CLASS_IDLE)


def behind() -> None:
    """For what somebody waits for: behind all that receives, but it has its turn even on a machine that is full."""
    _set(BEHIND, _BEST_EFFORT_LAST)


def _set(niceness: int, io_priority: int) -> None:
    with contextlib.suppress(OSError):
        os.nice(niceness)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, io_priority)
