"""Who listens on a TCP port of this machine, from /proc. Other users' processes are seen by root alone."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"


@dataclass(frozen=True, order=True)
class Holder:
    """A process that holds a listening socket; pid 0: it belongs to another user and cannot be seen."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})" if self.pid else "a process of another user"


def who_listens(port: int) -> list[Holder]:
    """Every process that listens on `port`, on whatever address."""
    return all_who_listen().get(port, [])


def all_who_listen() -> dict[int, list[Holder]]:
    """Port → every process that listens on it; one pass over all processes."""
    ports = _listening_inodes()
    found: dict[int, set[Holder]] = {port: set() for port in ports.values()}
    for name in os.listdir("/proc"):
        if name.isdigit():
            for port in {ports[inode] for inode in _socket_inodes(name) & ports.keys()}:
                found[port].add(Holder(int(name), _command(name)))
    return {port: sorted(holders) or [Holder(0, "")] for port, holders in found.items()}


def _listening_inodes() -> dict[str, int]:
    inodes: dict[str, int] = {}
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):  # systemd's ProcSubset=pid hides /proc/net
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                inodes[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return inodes


def _socket_inodes(pid: str) -> set[str]:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return set()  # it has ended, or is another user's
    inodes = set()
    for name in names:
        with contextlib.suppress(OSError):  # closed in the meantime
            target = os.readlink(f"{folder}/{name}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    return inodes


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
