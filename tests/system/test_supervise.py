"""The supervisor as a whole: start, stop, reload, and what it says of itself."""

import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from noctis.errors import SupervisorError
from tests.support import wait_for
from tests.system import senders
from tests.system.associations import held_port, in_flight, message, open_association
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.knocking import knocking

TITLE = "NOCTIS_SERVER"


def test_it_starts_on_an_empty_home_and_stops(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis().start()
    status = noctis.control_status()
    assert status["pid"] == noctis.pid == noctis.control.pid()
    (listener,) = status["listeners"]
    assert listener["facility"] is None
    assert (listener["port"], listener["ae_title"], listener["state"]) == (noctis.port, TITLE, "running")
    assert listener["pid"] == listener["workers"][0]
    pids = (listener["pid"], status["watcher"]["pid"])
    wait_for(
        lambda: {psutil.Process(each).name() for each in pids} == {"noctis:default-", "noctis:watcher-"},
        what="the processes' names",
    )
    assert noctis.stop() == 0
    assert noctis.processes() == []
    assert not noctis.settings.paths.control_socket.exists()
    assert not noctis.settings.paths.pid_file.exists()
    for event in ("supervisor.starting", "supervisor.ready", "listener.stopped", "archiver.stopped"):
        assert noctis.events(event), event


def test_what_it_makes_is_for_its_user_alone(noctis: Noctis) -> None:
    home = noctis.settings.paths
    assert home.control_socket.stat().st_mode & 0o777 == 0o600
    for path in [home.root, *home.root.rglob("*")]:
        assert path.lstat().st_mode & 0o077 == 0, path


def test_a_second_one_on_the_same_home_is_refused(noctis: Noctis) -> None:
    done = noctis.run("supervise")
    assert done.returncode == 1
    assert f"pid {noctis.pid}" in done.stderr
    assert noctis.is_running
    assert noctis.control.pid() == noctis.pid


def test_nothing_runs(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis()
    noctis.settings.paths.create()
    assert not noctis.control.is_running()
    for call in (noctis.control.status, noctis.control.pid, noctis.control.reconcile):
        with pytest.raises(SupervisorError, match=r"no supervisor runs on .*\n  fix: start it: noctis supervise"):
            call()


def test_a_home_whose_path_is_too_long_for_a_socket(make_noctis: MakeNoctis, tmp_path: Path) -> None:
    noctis = make_noctis()
    noctis.home = tmp_path / ("x" * 120) / "home"
    noctis.log = tmp_path / "long.log"
    noctis.start()
    facility = noctis.add("Central")
    noctis.wait_listener(facility.slug)
    assert "default@" in noctis.cli("supervisorctl", "status")
    assert noctis.stop() == 0


def test_supervisorctl_works_on_it(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    before = noctis.wait_listener("central")
    group = f"central@{facility.port}"
    assert f"{group}:central-1" in noctis.cli("supervisorctl", "status").replace(f"{group}:*", "")
    noctis.cli("supervisorctl", "restart", f"{group}:*")
    after = noctis.wait_listener("central")
    assert after["pid"] != before["pid"]

    noctis.cli("supervisorctl", "stop", f"{group}:*")
    noctis.wait_listener("central", "stopped")
    assert not senders.echoscu(facility.port, facility.ae_title)
    noctis.add("Another")  # a reconcile leaves it as the operator wants it
    noctis.wait_listener("another")
    assert noctis.listener("central")["state"] == "stopped"
    assert not senders.echoscu(facility.port, facility.ae_title)

    noctis.cli("supervisorctl", "start", f"{group}:*")
    noctis.wait_listener("central")
    assert senders.echoscu(facility.port, facility.ae_title)


def test_supervisorctl_cannot_take_it_apart(noctis: Noctis) -> None:
    """`update` compares with a configuration file that is not there: it would remove everything."""
    pids = sorted(process.pid for process in noctis.processes())
    noctis.cli("supervisorctl", "update")
    noctis.cli("supervisorctl", "reread")
    noctis.run("supervisorctl", "remove", f"default@{noctis.port}")
    assert sorted(process.pid for process in noctis.processes()) == pids
    assert noctis.control_status()["archiver"]["state"] == "running"
    noctis.cli("supervisorctl", "stop", "archiver:*")
    assert "ERROR" in noctis.run("supervisorctl", "remove", "archiver").stdout
    assert noctis.control_status()["archiver"]["state"] == "stopped"


def test_reload_keeps_pid_and_port_and_refuses_nobody(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    listeners = [noctis.listener(name)["pid"] for name in (None, "central")]
    with knocking(facility.port) as knocks:
        noctis.reload()
        enough = knocks.answered + 20
        wait_for(lambda: knocks.answered > enough, what="more callers to be answered")
    assert knocks.refused == []
    assert noctis.control.pid() == noctis.pid
    assert not {noctis.listener(name)["pid"] for name in (None, "central")} & set(listeners)
    assert senders.echoscu(facility.port, facility.ae_title)
    assert len(listening_descriptors(noctis.pid, facility.port)) == 1
    assert noctis.stop() == 0


def test_reload_closes_the_port_of_what_is_gone(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    watcher = noctis.control_status()["watcher"]["pid"]
    os.kill(watcher, signal.SIGSTOP)  # so that the change is seen by the next image only
    noctis.sql("UPDATE facility SET enabled = 0")
    started_at = noctis.control_status()["started_at"]
    noctis.cli("supervisorctl", "reload")
    os.kill(watcher, signal.SIGCONT)
    noctis.wait_next_image(started_at)
    assert listening_descriptors(noctis.pid, facility.port) == []
    assert not senders.echoscu(facility.port, facility.ae_title)


def listening_descriptors(pid: int, port: int) -> list[int]:
    found = psutil.Process(pid).net_connections("tcp")
    return [each.fd for each in found if each.status == psutil.CONN_LISTEN and each.laddr.port == port]


def test_kill_9_of_the_parent(noctis: Noctis) -> None:
    """Its children drain; a new parent takes the ports at once, without calling them taken."""
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    for _ in range(3):
        orphans = noctis.processes()
        noctis.kill()
        noctis.start()
        assert noctis.listener("central")["state"] == noctis.listener(None)["state"] == "running"
        assert senders.echoscu(facility.port, facility.ae_title)
        wait_for(lambda left=orphans: not any(each.is_running() for each in left), what="the orphans to end")
    assert noctis.events("listener.cannot_bind") == []


def test_a_port_that_is_let_go_of_soon_is_not_called_taken(make_noctis: MakeNoctis) -> None:
    """As by the processes of a parent that was killed a moment ago."""
    noctis = make_noctis()
    with held_port(noctis.port):
        noctis.start(wait=False)
        wait_for(lambda: noctis.events("archiver.ready"))  # forked after the first try
        assert noctis.listener(None)["state"] == "starting"
    noctis.wait_started()
    assert noctis.listener(None)["state"] == "running"
    assert noctis.events("listener.cannot_bind") == []


def test_hang_up_is_followed(noctis: Noctis) -> None:
    watcher = noctis.control_status()["watcher"]["pid"]
    noctis.signal(signal.SIGHUP)
    wait_for(lambda: noctis.events("supervisor.reload_requested"))
    facility = noctis.add("Central")
    noctis.signal(signal.SIGHUP)
    noctis.wait_listener(facility.slug)
    assert noctis.control_status()["watcher"]["pid"] == watcher


def test_it_starts_with_the_database_down(make_noctis: MakeNoctis) -> None:
    """The last snapshot is in force; the listeners need no database."""
    noctis = make_noctis().start()
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    noctis.stop()
    noctis.set(database={"url": "postgresql+psycopg://nobody@127.0.0.1:1/none", "connect_seconds": 1})
    noctis.start()
    noctis.wait_listener("central")
    assert senders.echoscu(facility.port, facility.ae_title)
    assert noctis.events("database.down")


def test_a_newer_database_stops_the_start(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis().start()
    noctis.stop()
    noctis.sql("UPDATE alembic_version SET version_num = '9999'")
    done = noctis.run("supervise")
    assert done.returncode == 1
    assert "newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_systemd_is_told(make_noctis: MakeNoctis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")

        def told(wanted: str) -> str:
            while True:
                message = systemd.recv(4096).decode()
                if message.startswith(wanted):
                    return message

        noctis = make_noctis().start()
        assert told("READY=1") == "READY=1\nSTATUS=1 listeners"
        told("WATCHDOG=1")
        told("WATCHDOG=1")
        noctis.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in told("RELOADING=1")
        told("READY=1")
        noctis.cli("supervisorctl", "reload")
        told("RELOADING=1")
        told("READY=1")
        noctis.signal(signal.SIGTERM)
        told("STOPPING=1")
        assert noctis.wait_gone() == 0


def test_what_drains_after_a_kill_holds_neither_port_nor_lock(noctis: Noctis) -> None:
    facility = noctis.add("Central")
    orphan = noctis.wait_listener("central")["pid"]
    with open_association(facility.port, facility.ae_title) as association:
        whole = message(1)
        association.sock.sendall(whole[: len(whole) // 2])
        wait_for(lambda: in_flight(noctis.home, "central"), what="the listener to have the instance in hand")
        noctis.kill()
        noctis.start()
        assert psutil.pid_exists(orphan)
        assert senders.echoscu(facility.port, facility.ae_title)
        association.sock.sendall(whole[len(whole) // 2 :])
        assert association.status() == 0
    wait_for(lambda: not psutil.pid_exists(orphan), what="the orphan to end")
    wait_for(lambda: noctis.sql("SELECT count(*) FROM instance") == [(1,)])


def test_module_and_command_are_the_same() -> None:
    command = Path(sys.executable).parent / "noctis"
    one, other = senders.run(command, "--version"), senders.run(sys.executable, "-m", "noctis", "--version")
    assert one.returncode == 0, one.stderr
    assert one.stdout == other.stdout


def test_the_scheduler_waits_behind_everybody_else(noctis: Noctis) -> None:
    process = psutil.Process(noctis.control_status()["scheduler"]["pid"])
    assert process.name() == "noctis:schedule"
    wait_for(lambda: process.nice() == 19, what="the lowest priority")
    wait_for(lambda: process.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE, what="the idle class")
    others = [psutil.Process(noctis.control_status()[name]["pid"]) for name in ("archiver", "watcher")]
    assert [each.nice() for each in others] == [0, 0]
