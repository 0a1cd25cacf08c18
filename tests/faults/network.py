"""Two network namespaces and what lies between them, which can be cut."""

import contextlib
import ctypes
import os
import subprocess
from pathlib import Path
from types import TracebackType

RECEIVER_ADDRESS = "198.18.8.1"  # RFC 2544, for tests
_SENDER_SUBNET, _RECEIVER_SUBNET = "198.18.7", RECEIVER_ADDRESS.rpartition(".")[0]
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Cable:
    """A sender's and a receiver's namespace, and a router between them that can drop everything. Gone when it is left.

    A router, since an end whose own link is down knows it: here nobody is told, and no ICMP is sent.
    """

    def __init__(self, token: str) -> None:
        self.sender, self.receiver, self._router = (f"noctis-{token}-{end}" for end in ("s", "r", "m"))

    def __enter__(self) -> "Cable":
        try:
            for name in (self.sender, self.receiver, self._router):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            for name, link, subnet in ((self.sender, "s", _SENDER_SUBNET), (self.receiver, "r", _RECEIVER_SUBNET)):
                _ip("-n", name, "link", "add", "cable", "type", "veth", "peer", link, "netns", self._router)
                _ip("-n", name, "address", "add", f"{subnet}.1/30", "dev", "cable")
                _ip("-n", self._router, "address", "add", f"{subnet}.2/30", "dev", link)
                _ip("-n", name, "link", "set", "cable", "up")
                _ip("-n", self._router, "link", "set", link, "up")
                _ip("-n", name, "route", "add", "default", "via", f"{subnet}.2")
            self.heal()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for name in (self.sender, self.receiver, self._router):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)

    def cut(self) -> None:
        """Nothing arrives any more, and both ends go on believing in their connections."""
        self._forward("0")

    def heal(self) -> None:
        self._forward("1")

    def _forward(self, value: str) -> None:
        command = f"echo {value} > /proc/sys/net/ipv4/ip_forward"
        _ip("netns", "exec", self._router, "sh", "-c", command)


def enter(namespace: str) -> None:
    """The calling thread, and it alone, has this network from now on."""
    descriptor = os.open(Path("/run/netns") / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
