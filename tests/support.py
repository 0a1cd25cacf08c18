"""What tests of every tier use: waiting for a state, free ports, small data sets."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, seconds: float = 20.0, what: str = "the condition") -> T:
    """The first true value of `condition`, looked at every 20 ms.

    Raises
    ------
    AssertionError
        It did not become true in time; the message has its last value.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds} s; last: {value!r}")
        time.sleep(0.02)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago, below the ephemeral range where nobody else picks."""
    import random

    for _ in range(200):
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports on 127.0.0.1."""
    import random

    for _ in range(200):
        first = random.SystemRandom().randrange(12000, 32000 - count)
        probes: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                probes.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return first
    raise AssertionError(f"no {count} consecutive free ports")
