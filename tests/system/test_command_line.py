"""The installed command beside a running supervisor: what it waits for, asks and says."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.samples import write_study
from tests.support import wait_for
from tests.system.conftest import MakeNoctis, Noctis


def test_add_says_how_long_the_listener_took(noctis: Noctis) -> None:
    added = noctis.json("facility", "add", "Central", "--device", "CT1")
    assert (added["listener"], added["onboarding"]["host"]) == ("running", "127.0.0.1")
    assert 0 < added["listener_ms"] < 10_000
    assert "The listener is running after" in noctis.cli("facility", "add", "North")
    assert [each["listener"] for each in noctis.json("facility", "list")] == ["running", "running"]
    assert noctis.json("facility", "show", "central")["listener"]["port"] == added["port"]


def test_a_held_port_is_told_with_its_holder(noctis: Noctis) -> None:
    with socket.create_server(("127.0.0.1", noctis.port + 9)):
        added = noctis.json("facility", "add", "Central", "--port", noctis.port + 9)
        assert added["listener"] == "backoff"
        done = noctis.run("check")
        assert done.returncode == 1
        assert f"Port already in use: {noctis.port + 9} of 'Central' is held by pid" in done.stdout
        assert noctis.run("status").returncode == 1


def test_every_echo_is_answered_and_the_check_finds_nothing(noctis: Noctis) -> None:
    for name in ("Central", "North"):
        noctis.json("facility", "add", name)
    results = noctis.json("facility", "test", "--all")
    assert [(each["facility"], each["succeeded"]) for each in results] == [("central", True), ("north", True)]
    assert noctis.cli("facility", "test", "north").startswith("north: port")
    findings = json.loads(noctis.run("check", "--json").stdout)
    assert [each for each in findings if not each["well"] and each["check"] != "clock"] == []
    assert {each["check"] for each in findings} >= {"config", "folders", "database", "disk", "supervisor", "echo"}
    noctis.cli("facility", "disable", "north")
    assert "disabled" in noctis.run("facility", "test", "north").stderr


def test_reload_says_what_it_would_do_and_does_it(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis(supervisor={"watch_seconds": 10}).start()
    noctis.add("Central")
    planned = noctis.json("reload", "--dry-run")
    assert [each["facility"] for each in planned["started"]] == ["central"]
    assert noctis.listener("central") == {}
    assert "central: would start" in noctis.cli("reload", "--dry-run")
    assert "central: started" in noctis.cli("reload")
    noctis.wait_listener("central")
    assert noctis.cli("reload") == "Nothing differed.\n"


def test_an_import_is_filed_by_the_running_archiver(noctis: Noctis, tmp_path: Path) -> None:
    noctis.json("facility", "add", "Central")
    write_study(tmp_path / "study", 5)
    done = noctis.json("import", "central", tmp_path / "study")
    assert {name: done[name] for name in ("spooled", "imported", "waiting")} == {
        "spooled": 5,
        "imported": 5,
        "waiting": 0,
    }
    assert noctis.json("import", "central", tmp_path / "study")["duplicates"] == 5
    assert noctis.json("status")["archiver"]["filed"] == 5
    assert noctis.json("study", "list")[0]["instances"] == 5


def test_no_restore_while_it_runs(noctis: Noctis, tmp_path: Path) -> None:
    noctis.cli("db", "backup", tmp_path / "saved.db")
    refused = noctis.run("db", "restore", tmp_path / "saved.db")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    noctis.stop()
    noctis.cli("db", "restore", tmp_path / "saved.db")


def test_status_goes_on_until_ctrl_c(noctis: Noctis) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "noctis", "status", "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=noctis.environment,
    )
    assert watching.stdout is not None
    lines = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert [line["supervisor"]["pid"] for line in lines] == [noctis.pid, noctis.pid]
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert (watching.returncode, err.strip()) == (130, "")


def test_one_listener_and_one_archiver_by_hand(make_noctis: MakeNoctis) -> None:
    noctis = make_noctis()
    noctis.json("facility", "add", "Central")
    assert "No supervisor runs" in noctis.cli("facility", "add", "North")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "noctis", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=noctis.environment,
        )
        for arguments in (["listen", "central"], ["archiver"])
    ]
    try:
        wait_for(lambda: noctis.run("facility", "test", "central").returncode == 0, what="an echo")
        assert "held by" in noctis.run("listen", "central").stderr
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err


def test_a_pipe_that_closes_early(noctis: Noctis) -> None:
    for number in range(3):
        noctis.add(f"Facility {number}")
    read = subprocess.Popen(
        [sys.executable, "-m", "noctis", "event", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=noctis.environment,
    )
    assert read.stdout is not None
    read.stdout.close()
    assert read.stderr is not None
    assert read.stderr.read() == b""
    read.stderr.close()
    read.wait(30)
