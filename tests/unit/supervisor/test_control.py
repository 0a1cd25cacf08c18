"""The control socket's other end, with nobody, a deaf one and somebody else behind it."""

import os
import socket
from pathlib import Path

import pytest

from noctis.config import load_settings
from noctis.errors import SupervisorError
from noctis.home import SOCKET_PATH_MAX, Home
from noctis.supervisor.control import Control, control_url


@pytest.fixture(params=["short", "long"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    folder = tmp_path / ("x" * SOCKET_PATH_MAX) if request.param == "long" else tmp_path
    made = load_settings(options={"home": str(folder / "home")}).paths
    made.create()
    return made


def listening(home: Home) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with control_url(home) as url:
        sock.bind(url.removeprefix("unix://"))
    sock.listen()
    return sock


def test_nobody_is_there(home: Home) -> None:
    asked = Control(home)
    assert not asked.is_running()
    with pytest.raises(SupervisorError) as caught:
        asked.status()
    assert caught.value.fix is not None
    assert "noctis supervise" in caught.value.fix
    assert "systemctl start noctis" in caught.value.fix


def test_the_socket_of_a_killed_one(home: Home) -> None:
    listening(home).close()
    assert home.control_socket.exists()
    assert not Control(home).is_running()
    with pytest.raises(SupervisorError, match="no supervisor runs"):
        Control(home).pid()


def test_one_that_does_not_answer(home: Home) -> None:
    with listening(home):
        assert Control(home).is_running()
        with pytest.raises(SupervisorError, match="does not answer"):
            Control(home, seconds=0.1).status()


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path / ("x" * SOCKET_PATH_MAX)):
        assert not Control(load_settings(options={"home": str(folder)}).paths).is_running()


def test_no_descriptor_is_left(home: Home) -> None:
    before = os.listdir("/proc/self/fd")
    Control(home).is_running()
    with pytest.raises(SupervisorError):
        Control(home).status()
    assert len(os.listdir("/proc/self/fd")) == len(before)
