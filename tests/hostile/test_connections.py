"""Connections that come to nothing, thousands of them: a listener's memory, descriptors and threads stay as they are.

Health checks of load balancers and monitors connect and close, every few seconds, for years. `TEST_CONNECTIONS` says
how many of each kind; the readings after the first tenth are compared with those at the end.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psutil
import pytest

from tests.hostile.target import IDLE_THREADS
from tests.integration.listener.peers import ABORT, ECHO, RELEASE, associate_rq, p_data
from tests.support import wait_for
from tests.system.conftest import Noctis

COUNT = int(os.environ.get("TEST_CONNECTIONS", "500"))
WARM_UP = 6000  # until Python's garbage collector has found its pace: some 5 MB, and no more than that ever
BATCH = 20  # between two looks whether the listener keeps up: its backlog is not what is asked here
GROWTH_MAX = 1 << 20  # bytes of RSS


class Reading(NamedTuple):
    rss: int  # bytes
    descriptors: int
    threads: int


class Target:
    """One facility's listener under a supervisor."""

    def __init__(self, noctis: Noctis) -> None:
        noctis.start()
        facility = noctis.add("Central", ae_title="CENTRAL")
        self.noctis, self.port, self.slug = noctis, facility.port, facility.slug
        self.process = psutil.Process(self.pid)

    @property
    def pid(self) -> int:
        (pid,) = self.noctis.wait_listener(self.slug)["workers"]
        return int(pid)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def read(self) -> Reading:
        """When nothing is open any more."""
        echo(self)
        wait_for(lambda: self.process.num_threads() <= IDLE_THREADS, seconds=60, what="the end of every connection")
        return Reading(self.process.memory_info().rss, self.process.num_fds(), self.process.num_threads())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    noctis = Noctis(tmp_path_factory.mktemp("connections") / "home", {"logging": {"level": "error"}})
    try:
        made = Target(noctis)
        for kind in (connect_and_close, echo):
            for number in range(1, WARM_UP // 2 + 1):
                kind(made)
                if number % BATCH == 0:
                    echo(made)
        yield made
    finally:
        noctis.end()


def answered(sock: socket.socket) -> int:
    """The type of one PDU, read whole; 0 at the end."""
    head = sock.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        return 0
    sock.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)
    return head[0]


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# -- what is done with one connection


def connect_and_close(target: Target) -> None:
    target.connect().close()


def connect_and_reset(target: Target) -> None:
    reset(target.connect())


def connect_and_stay_a_while(target: Target) -> None:
    """Until the next ones come: the listener's thread has started and waits."""
    HELD.append(target.connect())
    while len(HELD) > BATCH // 2:
        HELD.pop(0).close()


HELD: list[socket.socket] = []


def echo(target: Target) -> None:
    with target.connect() as sock:
        sock.sendall(associate_rq() + p_data(ECHO) + RELEASE)
        assert [answered(sock) for _ in range(4)] == [2, 4, 6, 0]


def be_rejected(target: Target) -> None:
    with target.connect() as sock:
        sock.sendall(associate_rq(called="NOBODY"))
        assert answered(sock) == 3


def abort_at_once(target: Target) -> None:
    """Behind the request, before its answer has come."""
    with target.connect() as sock:
        sock.sendall(associate_rq() + ABORT)


def abort_once_associated(target: Target) -> None:
    with target.connect() as sock:
        sock.sendall(associate_rq())
        assert answered(sock) == 2
        sock.sendall(ABORT)


def associate_and_reset(target: Target) -> None:
    sock = target.connect()
    sock.sendall(associate_rq())
    assert answered(sock) == 2
    reset(sock)


@pytest.mark.timeout(300 + COUNT // 10)
@pytest.mark.parametrize(
    "kind",
    [
        connect_and_close,
        connect_and_reset,
        connect_and_stay_a_while,
        echo,
        be_rejected,
        abort_at_once,
        abort_once_associated,
        associate_and_reset,
    ],
)
def test_connections_leave_nothing_behind(target: Target, kind: Callable[[Target], None]) -> None:
    pid, begun = target.pid, time.monotonic()
    tenth, first = COUNT // 10, None
    for number in range(1, COUNT + 1):
        kind(target)
        if number % BATCH == 0:
            echo(target)
        if number == tenth:
            first = read(target)
    last = read(target)
    assert first is not None
    print(
        f"{kind.__name__}: {COUNT} in {time.monotonic() - begun:.0f} s; RSS {first.rss / 2**20:.2f} -> "
        f"{last.rss / 2**20:.2f} MiB, descriptors {first.descriptors} -> {last.descriptors}, "
        f"threads {first.threads} -> {last.threads}"
    )
    assert last.rss - first.rss < GROWTH_MAX
    assert (last.descriptors, last.threads) == (first.descriptors, first.threads)
    assert target.pid == pid
    echo(target)


def read(target: Target) -> Reading:
    while HELD:
        HELD.pop().close()
    return target.read()
