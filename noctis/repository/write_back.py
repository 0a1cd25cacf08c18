"""Writing to the disk step by step while a large instance comes, so that its sync is short in the end.

Without it the kernel keeps tens of megabytes and hands them to the disk at once when the file is synced: whoever else
waits for that disk, another facility's small instance for example, waits behind them. sync_file_range(2) makes nothing
durable; the commit's own sync does. Where it is not to be had (another libc, another file system) nothing is done.
"""

import ctypes
import os
from collections.abc import Callable

STEP = 1 << 18  # bytes
_WAIT_BEFORE, _WRITE = 1, 2  # flags of sync_file_range(2)


def _find() -> Callable[[int, int, int, int], int] | None:
    try:
        found = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError):  # another libc
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_sync_file_range = _find()


def write_back(descriptor: int, start: int, end: int) -> int:
    """Begin to write the whole steps of `start` to `end`, each once the one before it is written; where it got to.

    Raises
    ------
    OSError
        The disk could not write.
    """
    if _sync_file_range is None:
        return end
    while end - start >= STEP:
        _ask(descriptor, start, _WRITE)
        if start >= STEP:
            _ask(descriptor, start - STEP, _WAIT_BEFORE)
        start += STEP
    return start


def _ask(descriptor: int, start: int, flags: int) -> None:
    assert _sync_file_range is not None
    if _sync_file_range(descriptor, start, STEP, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
