"""Processes that die, hang or keep crashing: brought back, alone, and nobody else notices."""

import os
import signal
import socket

import psutil

from noctis.home import Home
from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.knocking import knocking


def test_a_killed_listener_is_back_at_once(noctis: Noctis) -> None:
    facility, other = noctis.add("Central"), noctis.add("Other")
    noctis.wait_listener("central")
    steady = noctis.wait_listener("other")["pid"]
    for number in range(1, 4):
        killed = noctis.listener("central")["pid"]
        os.kill(killed, signal.SIGKILL)
        assert senders.echoscu(facility.port, facility.ae_title)  # whoever calls now waits in the backlog
        found = noctis.wait_listener("central", restarts=number)
        assert found["pid"] != killed
        assert "SIGKILL" in found["last_error"]
    assert noctis.listener("other")["pid"] == steady
    assert senders.echoscu(other.port, other.ae_title)
    assert len(noctis.events("process.crashed")) == 3


def test_nobody_is_refused_while_a_listener_keeps_dying(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(supervisor={"crash_limit": 1000}).start()
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    with knocking(facility.port) as knocks:
        for number in range(1, 11):
            os.kill(noctis.wait_listener("central")["pid"], signal.SIGKILL)
            noctis.wait_listener("central", restarts=number)
    assert knocks.refused == []
    assert knocks.answered > 10


def test_a_listener_that_keeps_crashing_is_held_back_alone(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(supervisor={"crash_limit": 2, "backoff_max_seconds": 1}).start()
    facility, other = noctis.add("Central"), noctis.add("Other")
    noctis.wait_listener("central")
    steady = noctis.wait_listener("other")["pid"]
    for number in range(2):
        os.kill(noctis.wait_listener("central", restarts=number)["pid"], signal.SIGKILL)
    held = noctis.wait_listener("central", "backoff")
    assert held["pid"] is None
    assert "SIGKILL" in held["last_error"]
    with socket.create_connection(("127.0.0.1", facility.port)):  # the backlog takes callers all the while
        assert noctis.listener("other")["pid"] == steady
        assert senders.echoscu(other.port, other.ae_title)
        noctis.wait_listener("central")
    assert senders.echoscu(facility.port, facility.ae_title)
    assert noctis.events("process.crashed")[-1]["held_seconds"] == 1.0


def test_a_facility_that_is_removed_while_its_listener_is_down_stays_down(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(supervisor={"crash_limit": 1, "backoff_max_seconds": 1}).start()
    facility = noctis.add("Central")
    os.kill(noctis.wait_listener("central")["pid"], signal.SIGKILL)
    noctis.wait_listener("central", "backoff")
    noctis.sql("UPDATE facility SET enabled = 0")
    wait_for(lambda: not noctis.listener("central"))
    noctis.add("Another")
    noctis.wait_listener("another")
    names = [process.name() for process in noctis.processes()]
    assert not [name for name in names if "central" in name]
    assert not senders.echoscu(facility.port, facility.ae_title)


def test_a_killed_archiver_and_watcher_are_back(noctis: Noctis) -> None:
    for name in ("archiver", "watcher", "scheduler"):
        killed = noctis.control_status()[name]["pid"]
        os.kill(killed, signal.SIGKILL)

        def back(name: str = name, killed: int = killed) -> bool:
            now = noctis.control_status()[name]
            return now["state"] == "running" and now["pid"] not in (None, killed)

        wait_for(back, what=f"the {name} to be back")
    facility = noctis.add("Central")
    noctis.wait_listener(facility.slug)


def test_a_listener_that_does_not_stop_is_killed_and_holds_up_nobody(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(listeners={"drain_seconds": 0}).start()
    noctis.add("Central")
    hung = noctis.wait_listener("central")["pid"]
    os.kill(hung, signal.SIGSTOP)
    noctis.sql("UPDATE facility SET enabled = 0")
    wait_for(lambda: not noctis.listener("central"))
    facility = noctis.add("Another")
    noctis.wait_listener("another")
    assert senders.echoscu(facility.port, facility.ae_title)
    wait_for(lambda: not psutil.pid_exists(hung), what="the hung listener to be killed")


def test_a_broken_snapshot_leaves_the_last_one_in_force(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    pid = noctis.wait_listener("central")["pid"]
    watcher = noctis.control_status()["watcher"]["pid"]
    os.kill(watcher, signal.SIGSTOP)
    home: Home = noctis.settings.paths
    home.snapshot.write_text("{", encoding="ascii")
    wait_for(lambda: noctis.events("supervisor.snapshot_unreadable"))
    assert noctis.listener("central")["pid"] == pid
    assert senders.echoscu(facility.port, facility.ae_title)
    os.kill(watcher, signal.SIGCONT)
    noctis.add("Another")
    noctis.wait_listener("another")
