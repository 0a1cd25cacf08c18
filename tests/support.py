"""What tests of every tier use: waiting for a state, ports, and the environment of a command."""

import fcntl
import json
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, seconds: float = 60.0, what: str = "the condition") -> T:
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


# Processes that most tests have no use for.
NEITHER: Mapping[str, Mapping[str, Any]] = {"web": {"enabled": False}, "notifications": {"enabled": False}}


def environment(home: Path | None = None, options: Mapping[str, Mapping[str, Any]] = {}) -> dict[str, str]:
    """This process's environment variables, with these settings of Noctis and no others; of those, `NEITHER` unless
    asked for."""
    made = {name: value for name, value in os.environ.items() if not name.startswith("NOCTIS_")}
    if home is not None:
        made["NOCTIS_HOME"] = str(home)
    for section, values in (NEITHER | dict(options)).items():
        for key, value in values.items():
            made[f"NOCTIS_{section}__{key}".upper()] = value if isinstance(value, str) else json.dumps(value)
    return made


def listens(port: int) -> bool:
    """Whether a connection to 127.0.0.1 is taken; whatever else than a refusal comes is raised."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


_BLOCK = 64  # ports
_FIRST, _LAST = 12000, 32000  # below the ephemeral range, where nobody else picks
_held: list[int] = []  # descriptors of the blocks that this process has; the kernel gives them back at its end
_single: list[int] = []  # ports of the block that single ones are taken from


def free_port() -> int:
    """A TCP port on 127.0.0.1 that no other test, in whatever process, is given."""
    while True:
        if not _single:
            first = free_ports(_BLOCK)
            _single.extend(range(first, first + _BLOCK))
        port = _single.pop()
        if _is_free(port):
            return port


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports on 127.0.0.1, which no other test is given."""
    blocks = -(-count // _BLOCK)
    total = (_LAST - _FIRST) // _BLOCK
    start = random.SystemRandom().randrange(total)
    for offset in range(total):
        first = (start + offset) % total
        if first + blocks > total:
            continue
        held = _hold(range(first, first + blocks))
        port = _FIRST + first * _BLOCK
        if held and all(map(_is_free, range(port, port + count))):
            _held.extend(held)
            return port
        for descriptor in held:
            os.close(descriptor)
    raise AssertionError(f"no {count} consecutive free ports")


def _hold(blocks: range) -> list[int]:
    """Locks of all these blocks, or none."""
    folder = Path(tempfile.gettempdir()) / f"noctis-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    held: list[int] = []
    for block in blocks:
        descriptor = os.open(folder / str(block), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        held.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            for each in held:
                os.close(each)
            return []
    return held


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
