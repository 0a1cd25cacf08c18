"""The scripts, as a newcomer types them: from any folder, in this checkout's own environment."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import environment, free_ports, listens, wait_for

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


Options = dict[str, dict[str, Any]]


def run(
    *arguments: str | Path, home: Path | None = None, options: Options | None = None
) -> subprocess.CompletedProcess[str]:
    variables = environment(home, options or {})
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd="/", env=variables, timeout=250)


@pytest.fixture
def options() -> Options:
    """A default port and a range for facilities that nobody else uses."""
    first = free_ports(20)
    return {
        "server": {"bind": "127.0.0.1", "port": first},
        "facilities": {"first_port": first + 1, "last_port": first + 19},
    }


@pytest.mark.parametrize("path", sorted([*SCRIPTS.iterdir(), ROOT / ".ci" / "run"]), ids=lambda path: path.name)
def test_bash_can_read_it(path: Path) -> None:
    done = run("bash", "-n", path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["run", "test", "check", "fuzz", "lock", "install-systemd"])
def test_it_can_be_executed(name: str) -> None:
    assert os.access(SCRIPTS / name, os.X_OK)


def test_run_says_what_it_does() -> None:
    done = run(SCRIPTS / "run", "--help")
    assert done.returncode == 0
    assert "scripts/run --demo" in done.stdout


def test_test_passes_its_options_to_pytest_and_installs_only_once() -> None:
    for _ in range(2):
        done = run(SCRIPTS / "test", "--collect-only", "-q", "tests/unit/test_config.py", "-k", "sample", "-n0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "test_the_sample_loads_as_all_defaults" in done.stdout
    assert "Installing" not in done.stderr


def test_the_demo_shows_what_arrived_and_can_be_run_again(tmp_path: Path, options: Options) -> None:
    done = run(SCRIPTS / "run", "--demo-once", home=tmp_path / "home", options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("Central Hospital", "Žilina Clinic", "turned away", "STRANGER", "Everything is filed and indexed"):
        assert shown in done.stdout
    files = list((tmp_path / "home" / "media").rglob("*.dcm"))
    assert {path.relative_to(tmp_path / "home/media/dicom_files").parts[0] for path in files} == {
        "central-hospital",
        "zilina-clinic",
    }
    again = run(SCRIPTS / "run", "--demo-once", home=tmp_path / "home", options=options)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(list((tmp_path / "home" / "media").rglob("*.dcm"))) == 2 * len(files)


def test_the_demo_keeps_clear_of_ports_that_others_hold(tmp_path: Path, options: Options) -> None:
    with socket.socket() as default, socket.socket() as first:
        for held, port in ((default, options["server"]["port"]), (first, options["facilities"]["first_port"])):
            held.bind(("127.0.0.1", port))
            held.listen()
        done = run(SCRIPTS / "run", "--demo", "--demo-once", home=tmp_path / "home", options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything is filed and indexed" in done.stdout


def test_run_serves_in_the_foreground_until_it_is_told_to_stop(tmp_path: Path, options: Options) -> None:
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [SCRIPTS / "run"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env=environment(tmp_path / "home", options),
        )
    try:
        wait_for(lambda: listens(options["server"]["port"]), seconds=60, what="the default port to answer")
        assert (tmp_path / "home" / "noctis.db").exists()
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
