"""The web process: supervised, alone, killed, kept from its port."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import psutil

from noctis.users.roles import Role
from tests.support import free_port, listens, wait_for
from tests.system.associations import open_association, store
from tests.system.conftest import MakeNoctis, Noctis

PASSWORD = "correct horse battery staple"


def web_of(noctis: Noctis) -> dict[str, object]:
    found: dict[str, object] = noctis.control_status()["web"]
    return found


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/login", timeout=30).status_code == 200
    except httpx2.TransportError:
        return False


def test_killed_it_comes_back_and_the_others_do_not_notice(make_noctis: MakeNoctis) -> None:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}).start()
    noctis.registry().add("Central")
    wait_for(lambda: answers(port), what="the pages")
    wait_for(lambda: web_of(noctis)["state"] == "running", what="the web process")
    pid = web_of(noctis)["pid"]
    assert isinstance(pid, int)
    name = psutil.Process(pid).cmdline()
    others = {each["pid"] for each in noctis.control_status()["listeners"]}
    # The first admin comes by the link in the log.
    (told,) = noctis.events("web.set_up")
    secret = re.fullmatch(rf"http://127\.0\.0\.1:{port}/setup\?secret=([\w-]+)", told["link"])
    assert secret
    assert noctis.cli("web", "link").strip() == told["link"]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        form = {"secret": secret[1], "name": "ada", "password": PASSWORD, "again": PASSWORD}
        assert client.post("/setup", data=form).status_code == 303
        assert client.get("/account").status_code == 200
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: web_of(noctis)["pid"] not in (pid, None) and answers(port), what="another web process")
        assert client.get("/account").status_code == 200  # still logged in
    assert {each["pid"] for each in noctis.control_status()["listeners"]} >= others
    (found,) = [each for each in json.loads(noctis.run("check", "--json").stdout) if each["check"] == "web"]
    assert found["well"], found
    assert "secret" not in " ".join(name)
    assert noctis.stop() == 0
    assert not listens(port)


def test_receiving_does_not_notice_that_it_is_killed(make_noctis: MakeNoctis) -> None:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}).start()
    facility = noctis.add("Central")
    noctis.wait_listener("central")
    number = 0
    with open_association(facility.port, facility.ae_title) as association:
        for _ in range(3):
            wait_for(lambda: web_of(noctis)["state"] == "running" and answers(port), what="the pages")
            pid = web_of(noctis)["pid"]
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
            while web_of(noctis)["pid"] in (pid, None) and number < 10_000:
                assert store(association, number) == 0
                number += 1
    wait_for(lambda: noctis.sql("SELECT count(*) FROM instance") == [(number,)], what="all of them filed")


def test_a_port_that_is_taken_keeps_nobody_else_from_running(make_noctis: MakeNoctis) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        noctis = make_noctis(web={"enabled": True, "port": port}).start()
        noctis.wait_listener(None)
        wait_for(lambda: web_of(noctis)["state"] == "backoff", what="the back-off")
        assert "is held by" in str(web_of(noctis)["last_error"])
        assert noctis.events("web.not_started")
        assert not noctis.events("process.fault")  # no traceback: it is nobody's fault
        (found,) = [each for each in json.loads(noctis.run("check", "--json").stdout) if each["check"] == "web"]
        assert "Port already in use" in found["text"]
    wait_for(lambda: answers(port), seconds=60, what="the pages once the port is free")


def test_alone_it_ends_in_time_whoever_holds_a_connection(make_noctis: MakeNoctis, tmp_path: Path) -> None:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port})
    noctis.cli("db", "upgrade")
    log = tmp_path / "web.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "noctis", "web"], stdout=file, stderr=subprocess.STDOUT, env=noctis.environment
        )
    try:
        wait_for(lambda: answers(port), seconds=60, what="the pages")
        with (
            socket.create_connection(("127.0.0.1", port)) as idle,
            socket.create_connection(("127.0.0.1", port)) as slow,
        ):
            idle.sendall(b"GET /login HTTP/1.1\r\nHost: noctis\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            slow.sendall(b"GET /login HTTP/1.1\r\nHost")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "web.stopped" in log.read_text()


def test_users_of_the_command_line_log_in(make_noctis: MakeNoctis) -> None:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port})
    noctis.cli("db", "upgrade")
    done = noctis.run("user", "add", "ada", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    noctis.start()
    wait_for(lambda: answers(port), what="the pages")
    assert not noctis.events("web.set_up")
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        assert (
            client.post("/api/v1/login", json={"name": "ada", "password": PASSWORD}).json()["user"]["role"]
            == Role.ADMIN
        )
        noctis.run("user", "passwd", "ada", "--password-stdin", stdin=f"{PASSWORD}!\n")
        assert client.get("/api/v1/me").status_code == 401
    assert PASSWORD not in noctis.log.read_text()
