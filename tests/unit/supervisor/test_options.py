"""supervisord's options, made from our settings."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
import structlog
from supervisor.medusa import asyncore_25 as asyncore

from noctis.config import load_settings
from noctis.errors import SupervisorError
from noctis.supervisor.options import WAIT_SECONDS, Options, Waker


def realised(home: Path) -> Options:
    settings = load_settings(options={"home": str(home)})
    settings.paths.create()
    made = Options(settings)
    made.realize(args=[], doc="")
    made.make_logger()
    return made


@pytest.mark.parametrize("name", ["home", "100%", "a b", "semi;colon"])
def test_control_socket(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="n-") as folder:  # pytest's own folders may be too long for a socket
        home = Path(folder) / name
        options = realised(home)
    (server,) = options.server_configs
    assert server["file"] == str(home / "run" / "supervisor.sock")
    assert server["chmod"] == 0o600
    assert options.pidfile == str(home / "run" / "supervisor.pid")
    assert options.nodaemon
    assert options.process_group_configs == []


def test_a_path_too_long_for_a_socket_goes_through_a_descriptor(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 100)
    options = realised(home)
    (server,) = options.server_configs
    assert len(server["file"]) < 50
    assert Path(server["file"]).parent.resolve() == home / "run"
    os.close(options._folder)


def test_what_supervisor_says_is_a_line_of_ours(options: Options) -> None:
    with structlog.testing.capture_logs() as lines:
        options.logger.critical("Server %r running without any HTTP authentication checking")
        options.logger.error("it %(what)s", what="broke")
        options.logger.warn("killing 'central-1' (12) with SIGKILL")
        options.logger.warn("received SIGTERM indicating exit request")
        options.logger.info("spawned")
        options.logger.blather("read event")
    assert [(line["log_level"], line["message"]) for line in lines] == [
        ("error", "it broke"),
        ("warning", "killing 'central-1' (12) with SIGKILL"),
        ("debug", "received SIGTERM indicating exit request"),
        ("debug", "spawned"),
    ]


def test_what_keeps_supervisor_from_starting_is_told_as_ours(options: Options) -> None:
    with pytest.raises(SupervisorError, match="the supervisor cannot start: too few descriptors"):
        options.usage("too few descriptors")


def test_a_hang_up_is_no_restart(options: Options) -> None:
    options.signal_receiver.receive(signal.SIGHUP, None)
    options.signal_receiver.receive(signal.SIGTERM, None)
    assert options.get_signal() is None
    assert options.hang_up
    assert options.get_signal() == signal.SIGTERM


def test_the_poller_waits_no_longer_than_the_snapshot_may_wait(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(options.poller, "_poll_fds", lambda seconds: waits.append(seconds) or [])
    options.poller.poll(1)
    options.poller.poll(1)
    options.poller.wake()
    options.poller.poll(1)
    assert waits == [0.0, WAIT_SECONDS, 0.0]


def test_a_signal_ends_the_wait() -> None:
    before = signal.set_wakeup_fd(-1)
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    waker = Waker()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert waker._read.recv(1)
        waker.handle_read_event()  # nothing left: returns
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, handler)
        del asyncore.socket_map[waker._read.fileno()]
        waker._read.close()
        waker._write.close()
