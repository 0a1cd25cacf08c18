"""The listeners follow the facilities table, whoever changes it, and nobody else notices."""

import json
import os
import signal
from contextlib import ExitStack
from dataclasses import replace

import psutil
import pytest

from tests.support import free_port, listens, wait_for
from tests.system import senders
from tests.system.associations import held_port, in_flight, message, open_association, store
from tests.system.conftest import MakeNoctis, Noctis

NOTHING: dict[str, list[object]] = {"started": [], "stopped": [], "rebound": [], "refreshed": []}


def test_plain_sql_adds_a_facility(noctis: Noctis) -> None:
    port = noctis.port + 5
    noctis.sql("INSERT INTO facility (name, slug, ae_title, port) VALUES ('Central', 'central', 'CENTRAL', ?)", port)
    noctis.wait_listener("central", port=port, ae_title="CENTRAL")
    assert senders.echoscu(port, "CENTRAL")


def test_plain_sql_that_cannot_be_used_is_named_and_harms_nobody(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    noctis.sql("UPDATE facility SET slug = '../../etc' WHERE slug = 'central'")
    wait_for(lambda: not noctis.listener("central"))
    assert "cannot be a folder name" in wait_for(lambda: noctis.control_status()["watcher"]["last_error"])
    assert senders.echoscu(noctis.port, "NOCTIS_SERVER", facility.ae_title) is False
    noctis.sql("UPDATE facility SET slug = 'central'")
    noctis.wait_listener("central")


def test_the_command_waits_for_the_listener(noctis: Noctis) -> None:
    facility = noctis.json("facility", "add", "Central")
    assert facility["listener"] == "running"
    assert senders.echoscu(facility["port"], facility["ae_title"])


def test_others_keep_their_process_and_their_association(noctis: Noctis) -> None:
    steady = noctis.add("Steady")
    pid = noctis.wait_listener("steady")["pid"]
    with open_association(steady.port, steady.ae_title) as association:
        other = noctis.add("Other")
        noctis.wait_listener("other")
        noctis.sql("UPDATE facility SET workers = 2, name = 'Somebody else' WHERE slug = 'other'")
        wait_for(lambda: len(noctis.listener("other").get("workers", ())) == 2)
        noctis.sql("UPDATE facility SET enabled = 0 WHERE slug = 'other'")
        wait_for(lambda: not noctis.listener("other"))
        assert not senders.echoscu(other.port, other.ae_title)
        assert store(association, 1) == 0
        association.close()
    assert noctis.listener("steady")["pid"] == pid
    assert noctis.listener("steady")["restarts"] == 0


@pytest.mark.parametrize("change", ["enabled = 0", "removed_at = '2026-01-01 00:00:00.000000'"])
def test_a_live_association_finishes_its_instance(noctis: Noctis, change: str) -> None:
    facility = noctis.add("Central")
    listener = noctis.wait_listener("central")
    with open_association(facility.port, facility.ae_title) as association:
        assert store(association, 1) == 0
        whole = message(2)
        association.sock.sendall(whole[: len(whole) // 2])
        wait_for(lambda: in_flight(noctis.home, "central"), what="the listener to have the instance in hand")
        noctis.sql(f"UPDATE facility SET {change}")
        wait_for(lambda: not noctis.listener("central"))
        wait_for(lambda: not listens(facility.port), what="its port to be closed")
        assert psutil.pid_exists(listener["pid"])
        association.sock.sendall(whole[len(whole) // 2 :])
        assert association.status() == 0
    wait_for(lambda: not psutil.pid_exists(listener["pid"]), what="the drained listener to end")
    wait_for(lambda: noctis.sql("SELECT count(*) FROM instance") == [(2,)])


def test_a_stop_lets_every_listener_finish_at_the_same_time(noctis: Noctis) -> None:
    facilities = [noctis.add("One"), noctis.add("Other")]
    with ExitStack() as stack:
        rests = []
        for facility in facilities:
            noctis.wait_listener(facility.slug)
            association = stack.enter_context(open_association(facility.port, facility.ae_title))
            whole = message(facility.id)
            association.sock.sendall(whole[: len(whole) // 2])
            wait_for(
                lambda slug=facility.slug: in_flight(noctis.home, slug),
                what="the listener to have the instance in hand",
            )
            rests.append((association, whole[len(whole) // 2 :]))
        noctis.signal(signal.SIGTERM)
        for port in (noctis.port, *(facility.port for facility in facilities)):
            wait_for(lambda port=port: not listens(port), what=f"port {port} to refuse callers")
        assert noctis.is_running
        for association, rest in rests:
            association.sock.sendall(rest)
            assert association.status() == 0
    assert noctis.wait_gone() == 0
    assert noctis.events("supervisor.stopping")


def test_a_changed_port_is_a_new_listener_before_the_old_one_goes(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    old = noctis.wait_listener("central")
    port = noctis.port + 20
    snapshot = noctis.registry().snapshot()
    moved = replace(snapshot, facilities=(replace(snapshot.facilities[0], port=port),))
    assert noctis.control.plan(snapshot) == NOTHING
    assert noctis.control.plan(moved) == {
        **NOTHING,
        "rebound": [{"facility": "central", "port": port, "was": facility.port}],
    }
    assert noctis.control.reconcile() == NOTHING
    noctis.sql("UPDATE facility SET port = ?", port)
    new = noctis.wait_listener("central", port=port)
    assert new["pid"] != old["pid"]
    assert senders.echoscu(port, facility.ae_title)
    wait_for(lambda: not psutil.pid_exists(old["pid"]))
    assert not senders.echoscu(facility.port, facility.ae_title)
    noctis.sql("UPDATE facility SET port = ?", facility.port)
    noctis.wait_listener("central", port=facility.port)
    assert senders.echoscu(facility.port, facility.ae_title)


def test_two_facilities_exchange_their_ports(noctis: Noctis) -> None:
    one, other = noctis.add("One"), noctis.add("Other")
    noctis.wait_listener("one")
    noctis.wait_listener("other")
    noctis.sql("UPDATE facility SET port = 1 WHERE slug = 'one'")
    noctis.sql("UPDATE facility SET port = ? WHERE slug = 'other'", one.port)
    noctis.sql("UPDATE facility SET port = ? WHERE slug = 'one'", other.port)
    noctis.wait_listener("one", port=other.port)
    noctis.wait_listener("other", port=one.port)
    assert senders.echoscu(one.port, other.ae_title)
    assert senders.echoscu(other.port, one.ae_title)


@pytest.mark.parametrize("on_demand", [False, True])
def test_a_port_that_another_program_holds(make_noctis: MakeNoctis, on_demand: bool) -> None:
    noctis = make_noctis(listeners={"on_demand": on_demand}).start()
    serving = "idle" if on_demand else "running"
    port = free_port()
    with held_port(port):
        noctis.add("Blocked", port=port)
        fine = noctis.add("Fine")
        noctis.wait_listener("fine", serving)
        assert senders.echoscu(fine.port, fine.ae_title)
        blocked = noctis.wait_listener("blocked", "backoff")
        assert blocked["last_error"].startswith(f"Port already in use: {port} is held by pid {os.getpid()} (")
        assert blocked["pid"] is None
        assert [line["port"] for line in noctis.events("listener.cannot_bind")] == [port]
        noctis.stop()
        noctis.start()  # it does not keep the rest from starting
        noctis.wait_listener("blocked", "backoff")
    noctis.wait_listener("blocked", serving, last_error="")
    assert senders.echoscu(port, noctis.registry().get("blocked").ae_title)


def test_workers_share_the_port(noctis: Noctis) -> None:
    facility = noctis.add("Busy", workers=3)
    wait_for(lambda: len(noctis.listener("busy").get("workers", ())) == 3)
    noctis.wait_listener("busy")
    workers = noctis.listener("busy")["workers"]
    for _ in range(5):
        assert senders.echoscu(facility.port, facility.ae_title)
    wait_for(lambda: noctis.listener("busy")["echoes"] == 5)
    noctis.sql("UPDATE facility SET workers = 1")
    wait_for(lambda: noctis.listener("busy")["workers"] == workers[:1])
    assert noctis.listener("busy")["echoes"] == 5  # what the retired ones counted is not lost
    assert senders.echoscu(facility.port, facility.ae_title)
    noctis.sql("UPDATE facility SET workers = 2")
    wait_for(lambda: len(noctis.listener("busy")["workers"]) == 2)
    assert noctis.listener("busy")["workers"][0] == workers[0]


def test_associations_at_once_are_shared_among_the_workers(noctis: Noctis) -> None:
    facility = noctis.add("Busy", workers=2)
    wait_for(lambda: len(noctis.listener("busy").get("workers", ())) == 2)
    noctis.wait_listener("busy")
    before = {pid: cpu_seconds(pid) for pid in noctis.listener("busy")["workers"]}
    loads = [senders.StubbornSender(facility.port, facility.ae_title, seed) for seed in range(1, 9)]
    for load in loads:
        load.start()
    wait_for(lambda: all(len(load.acknowledged) > 50 for load in loads), seconds=60, what="fifty instances of each")
    used = {pid: cpu_seconds(pid) - before[pid] for pid in before}
    stored = sum(len(load.stop()) for load in loads)
    wait_for(lambda: noctis.listener("busy")["instances"] == stored)
    assert min(used.values()) > 0.1 * max(used.values()), used


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_on_demand(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(listeners={"on_demand": True, "idle_seconds": 0.3}).start()
    facility = noctis.add("Central")
    noctis.wait_listener("central", "idle", pid=None)
    for number in range(1, 4):
        with open_association(facility.port, facility.ae_title) as association:
            assert store(association, number) == 0
            running = noctis.wait_listener("central", "running", live_associations=1)
            association.close()
        noctis.wait_listener("central", "idle", instances=number)
        assert not psutil.pid_exists(running["pid"])
    assert noctis.events("process.crashed") == []
    noctis.sql("UPDATE facility SET enabled = 0")
    wait_for(lambda: not noctis.listener("central"))
    wait_for(lambda: not listens(facility.port), what="its port to be closed")


def test_the_status_counts(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    with open_association(facility.port, facility.ae_title) as association:
        assert store(association, 1) == 0
        assert noctis.wait_listener("central", instances=1)["live_associations"] == 1
        association.close()
    assert senders.echoscu(facility.port, facility.ae_title)
    assert not senders.echoscu(facility.port, "NOBODY")
    found = noctis.wait_listener("central", live_associations=0, associations=2, refused=1, echoes=1)
    assert found["bytes"] > 0
    assert found["last_instance"] is not None
    assert found["name"] == "Central"
    archiver = wait_for(lambda: (now := noctis.control_status()["archiver"])["filed"] == 1 and now)
    assert (archiver["state"], archiver["duplicates"], archiver["conflicts"]) == ("running", 0, 0)


def test_a_sleeping_watcher_holds_up_nobody(noctis: Noctis) -> None:
    """The command writes the snapshot itself, and tells the parent."""
    watcher = noctis.control_status()["watcher"]["pid"]
    os.kill(watcher, signal.SIGSTOP)
    try:
        facility = noctis.json("facility", "add", "Central")
        assert facility["listener"] == "running"
    finally:
        os.kill(watcher, signal.SIGCONT)


def test_the_servers_own_port_and_title_may_come_from_the_command_line(make_noctis: MakeNoctis) -> None:
    """Other commands on this home take them from the supervisor that runs, not from their own settings."""
    noctis = make_noctis()
    port = noctis.port + 1  # which would be the first facility's
    noctis.start("--port", str(port), "--ae-title", "OTHER_SERVER")
    added = noctis.json("facility", "add", "Central")
    assert added["port"] == port + 1
    assert added["onboarding"]["default_port"]["port"] == port
    assert added["onboarding"]["default_port"]["called_ae_title"] == "OTHER_SERVER"
    assert senders.echoscu(port, "OTHER_SERVER", added["ae_title"])
    assert noctis.run("facility", "add", "X", "--ae-title", "OTHER_SERVER").returncode == 2
    wrong = [each for each in json.loads(noctis.run("check", "--json").stdout) if not each["well"]]
    assert [each for each in wrong if each["check"] in ("ports", "echo")] == []
