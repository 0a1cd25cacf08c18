"""Lock files: one process at a time holds one, and it tells which."""

import fcntl
import os
from pathlib import Path

from noctis.errors import NoctisError


class HeldError(NoctisError):
    """Another process holds the lock. Each caller says in its own words what that process does."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"the lock is held by pid {pid}")
        self.pid = pid  # as the file says it: "" when it cannot be told


def hold(path: Path) -> int:
    """Lock this file, made when it is not there, and note our pid in it; its descriptor, whose closing ends the lock.

    Raises
    ------
    HeldError
        Another process has it; nobody waits for it here.
    OSError
        The file cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
