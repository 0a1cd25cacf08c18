"""Who listens on a TCP port of this machine, from /proc. Other users' processes are seen by root alone."""

import os
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"


@dataclass(frozen=True)
class Holder:
    """A process that holds a listening socket; pid 0: it belongs to another user and cannot be seen."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})" if self.pid else "a process of another user"


def who_listens(port: int) -> list[Holder]:
    """Every process that listens on `port`, on whatever address."""
    inodes = _listening_inodes(port)
    if not inodes:
        return []
    holders: list[Holder] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _holds(entry.name, inodes):
            holders.append(Holder(int(entry.name), _command(entry.name)))
    return sorted(holders, key=lambda holder: holder.pid) or [Holder(0, "")]


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):  # systemd's ProcSubset=pid hides /proc/net
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holds(pid: str, inodes: set[str]) -> bool:
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            target = os.readlink(entry.path)
            if target.startswith("socket:[") and target[8:-1] in inodes:
                return True
    except OSError:
        pass  # it has ended, or is another user's
    return False


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
