"""supervisord's options without its configuration file: what it needs comes from our settings.

The HTTP server on `run/supervisor.sock`, the RPC interfaces and the pid file are supervisor's own, so stock
`supervisorctl` works; processes and groups are made by `parent`.
"""

import io
import os
import signal
import socket
from pathlib import Path
from typing import Any

import structlog
from supervisor import options, poller
from supervisor.medusa import asyncore_25 as asyncore

from noctis.config import Settings
from noctis.errors import SupervisorError
from noctis.home import SOCKET_PATH_MAX
from noctis.supervisor import peers

log = structlog.get_logger()

INI = """\
[supervisord]
nodaemon = true
silent = true
nocleanup = true
logfile = /dev/null
pidfile = {run}/supervisor.pid
childlogdir = {run}
directory = {run}
minfds = 4096
minprocs = 1
umask = 077
identifier = noctis
[unix_http_server]
file = {socket}
chmod = 0600
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[rpcinterface:noctis]
supervisor.rpcinterface_factory = noctis.supervisor.rpc:make_interface
"""

PID_DIGITS_MAX = 8  # supervisor appends a dot and its pid to the socket's path while it makes the socket
WAIT_SECONDS = 0.25  # between two looks at the snapshot


class Poller(poller.PollPoller):  # type: ignore[misc]
    """Waits `WAIT_SECONDS` at most, and not at all after `wake`."""

    _now = True  # the first pass at once

    def wake(self) -> None:
        self._now = True

    def poll(self, timeout: float) -> Any:
        wait, self._now = (0.0 if self._now else min(timeout, WAIT_SECONDS)), False
        return super().poll(wait)


class Waker:
    """A signal ends the wait in `poll`."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        asyncore.socket_map[self._read.fileno()] = self

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        try:
            while self._read.recv(4096):
                pass
        except BlockingIOError:
            pass

    def handle_error(self) -> None:
        log.exception("supervisor.waker_failed")


class Log:
    """supervisor's logger, as our log lines."""

    level = 0
    handlers: tuple[()] = ()

    def _say(self, level: str, message: str, **fields: Any) -> None:
        text = message % fields if fields else message
        if "without any HTTP authentication" in text:
            return  # the control socket is a file of ours alone
        getattr(log, level)("supervisor.message", message=text)

    def critical(self, message: str, **fields: Any) -> None:
        self._say("error", message, **fields)

    def error(self, message: str, **fields: Any) -> None:
        self._say("error", message, **fields)

    def warn(self, message: str, **fields: Any) -> None:
        """Signals and exits have lines of our own; what is left is a child that had to be killed."""
        self._say("warning" if message.startswith("killing") else "debug", message, **fields)

    def info(self, message: str, **fields: Any) -> None:
        self._say("debug", message, **fields)

    def debug(self, message: str, **fields: Any) -> None:
        """Not wanted."""

    trace = blather = debug

    def reopen(self) -> None:
        """stdout is not re-opened."""

    close = reopen

    def log(self, _level: int, message: str, **fields: Any) -> None:
        self._say("debug", message, **fields)


class Options(options.ServerOptions):  # type: ignore[misc]
    """Made once a start; `realize_for` fills it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.configfile = "(noctis)"
        self.poller = Poller(self)
        self.hang_up = False
        self._folder = -1  # a descriptor
        self.first = True
        self.test = False

    def read_config(self, _fp: object) -> Any:
        home = self.settings.paths
        text = INI.format(run=_escaped(home.run), socket=_escaped(self._short(home.control_socket)))
        return super().read_config(io.StringIO(text))

    def _short(self, path: Path) -> Path:
        """As `home.short_path`, for as long as this process lives."""
        if len(os.fsencode(path)) + PID_DIGITS_MAX + 1 <= SOCKET_PATH_MAX:
            return path
        if self._folder < 0:
            self._folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
        return Path(f"/proc/self/fd/{self._folder}/{path.name}")

    def usage(self, msg: str) -> None:
        """supervisor's way to say that it cannot start.

        Raises
        ------
        SupervisorError
            Always.
        """
        raise SupervisorError(f"the supervisor cannot start: {msg}", fix="noctis check")

    def openhttpservers(self, supervisord: Any) -> None:
        super().openhttpservers(supervisord)
        for _, server in self.httpservers:
            server.channel_class = peers.guarded(server.channel_class)

    def make_logger(self) -> None:
        self.logger = Log()

    def get_signal(self) -> int | None:
        number: int | None = super().get_signal()
        if number == signal.SIGHUP:
            self.hang_up = True
            return None
        return number


def _escaped(path: Path) -> str:
    """A path for supervisor's ini, which expands %(…)s."""
    return str(path).replace("%", "%%")
