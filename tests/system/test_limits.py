"""Limits of associations over real processes: counted together, changed while they run, and given back by a kill."""

import os
import signal
import socket
from contextlib import ExitStack

from tests.integration.listener.peers import ECHO, associate_rq, p_data
from tests.support import wait_for
from tests.system.conftest import MakeNoctis, Noctis

ACCEPTED, REJECTED = 2, 3


class Held:
    """Associations that are held open."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.open: list[socket.socket] = []

    def ask(self, port: int, called: str) -> int:
        """Ask for one more; the type of the answer."""
        sock = self._stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        sock.sendall(associate_rq(called=called))
        kind = sock.recv(1)[0]
        if kind == ACCEPTED:
            self.open.append(sock)
        return kind

    def until_refused(self, port: int, called: str, most: int = 50) -> int:
        """How many are accepted until one is not."""
        return next((count for count in range(most) if self.ask(port, called) == REJECTED), most)


def refused(noctis: Noctis, word: str) -> None:
    """The operator can read why."""
    wait_for(lambda: any(word in row["reason"] for row in noctis.json("refusal", "list")), what=f"a refusal: {word}")


def test_a_facilitys_limit_holds_over_its_workers_and_the_default_port_and_outlives_kills(noctis: Noctis) -> None:
    facility = noctis.add("Central", ae_title="CENTRAL")
    noctis.registry().edit("central", {"workers": 2, "max_associations": 6})
    pids = wait_for(
        lambda: len(found := noctis.listener("central").get("workers", [])) == 2 and found, what="two workers"
    )
    with ExitStack() as stack:
        held = Held(stack)
        assert [held.ask(noctis.port, "CENTRAL") for _ in range(2)] == [ACCEPTED] * 2
        assert held.until_refused(facility.port, "CENTRAL") == 4
        assert held.ask(noctis.port, "CENTRAL") == REJECTED
        refused(noctis, "'Central' has 6 associations on its ports, its limit")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        noctis.wait_listener("central")
        wait_for(lambda: not set(noctis.listener("central")["workers"]) & set(pids), what="new workers")
        assert held.until_refused(facility.port, "CENTRAL") == 4  # those of the default port still count
        noctis.registry().edit("central", {"max_associations": 8})
        wait_for(lambda: held.ask(facility.port, "CENTRAL") == ACCEPTED, what="the new limit")
        assert held.until_refused(facility.port, "CENTRAL") == 1


def test_one_facility_floods_the_default_port_and_another_gets_in(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(listeners={"max_associations": 12, "reserved_associations": 2}).start()
    for name in ("Flood", "Quiet"):
        noctis.add(name, ae_title=name.upper())
    noctis.wait_listener("quiet")
    with ExitStack() as stack:
        held = Held(stack)
        assert held.until_refused(noctis.port, "FLOOD") == 10
        refused(noctis, "kept for other facilities")
        assert [held.ask(noctis.port, "QUIET") for _ in range(2)] == [ACCEPTED] * 2
        held.open[-1].sendall(p_data(ECHO))
        assert held.open[-1].recv(4096)
