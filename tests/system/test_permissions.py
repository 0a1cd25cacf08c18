"""Nothing of a home can be read by anybody else, and nobody else is answered."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.samples import make_instance, write_study
from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis, Noctis

NOBODY = 65534

CALLER = """
import os, socket, sys
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect("supervisor.sock")
try:
    sock.sendall(b"GET /RPC2 HTTP/1.0\\r\\n\\r\\n")
    print(len(sock.recv(1000)))
except ConnectionError:
    print(0)
"""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def readable(root: Path) -> list[str]:
    """Everything at or below `root` that group or others could read."""
    found = []
    for folder, folders, files in os.walk(root):
        for path in (Path(folder), *(Path(folder, name) for name in (*folders, *files))):
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                found.append(f"{stat.filemode(mode)} {path.relative_to(root)}")
    return sorted(set(found))


def test_whatever_the_callers_umask(make_noctis: MakeNoctis, tmp_path: Path) -> None:
    noctis = make_noctis(logging={"file": True}, audit={"syslog": "tcp://127.0.0.1:1"})
    with umask(0):
        noctis.start()
        facility = noctis.json("facility", "add", "Central")
        noctis.wait_listener("central")
        paths = write_study(tmp_path / "study", 3)
        senders.storescu(facility["port"], facility["ae_title"], paths)
        other = make_instance(study="1.2.3", series="1.2.3.1", sop_instance="1.2.3.1.1")
        other.save_as(tmp_path / "first.dcm")
        other.PixelData = b"\1" * 512
        other.save_as(tmp_path / "second.dcm")
        for name in ("first.dcm", "second.dcm"):
            senders.storescu(facility["port"], facility["ae_title"], [tmp_path / name])
        assert not senders.echoscu(noctis.port, "NOBODY")
        noctis.cli("import", "central", write_study(tmp_path / "old", 2)[0].parent)
        wait_for(lambda: noctis.json("quarantine", "list"), what="a conflict")
        wait_for(lambda: noctis.json("refusal", "list"), what="a refusal")
        wait_for(lambda: (noctis.home / "run" / "audit.json").exists(), what="the audit's cursor")
        noctis.cli("db", "backup", noctis.home / "copy.db")
        kinds = {path.name for path in noctis.home.rglob("*")}
        assert {"noctis.db", "noctis.db-wal", "supervisor.sock", "hints", "noctis.log", "facilities.json"} <= kinds
        assert readable(noctis.home) == []
        noctis.reload()
        assert readable(noctis.home) == []
        noctis.stop()
        noctis.cli("db", "restore", noctis.home / "copy.db")
        assert readable(noctis.home) == []
    assert not [each for each in privacy_checks(noctis) if not each["well"]]


def privacy_checks(noctis: Noctis) -> list[dict[str, object]]:
    return [each for each in json.loads(noctis.run("check", "--json").stdout) if each["check"] == "privacy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_not_answered(noctis: Noctis) -> None:
    run = noctis.settings.paths.run
    run.chmod(0o711)
    noctis.settings.paths.control_socket.chmod(0o777)

    def call(uid: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", CALLER, run, str(uid)], capture_output=True, text=True, timeout=60, check=True
        )
        return int(done.stdout)

    before = len(psutil.Process(noctis.pid).open_files()) + len(psutil.Process(noctis.pid).net_connections("unix"))
    assert call(NOBODY) == 0
    assert call(0) > 0
    (line,) = wait_for(lambda: noctis.events("control.refused"))
    assert line["uid"] == NOBODY
    assert line["pid"] > 0
    assert noctis.control_status()["pid"] == noctis.pid
    after = len(psutil.Process(noctis.pid).open_files()) + len(psutil.Process(noctis.pid).net_connections("unix"))
    assert after <= before + 1
