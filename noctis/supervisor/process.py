"""Forked processes: supervisor's `Subprocess`, whose child runs a function of ours instead of a program.

Takes a target that was imported before the fork. Promises that the child has its own process group, dies with its
parent, holds no descriptor but its own, meets no signal before its handlers are in place, and always leaves by
`os._exit`. A process that keeps crashing is held back alone; one that crashed once is back at once.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from supervisor import process
from supervisor.datatypes import RestartUnconditionally, RestartWhenExitUnexpected
from supervisor.options import ProcessConfig, decode_wait_status
from supervisor.states import STOPPED_STATES, ProcessStates

from noctis.errors import ExitCode
from noctis.observability.scoreboard import Counter, Scoreboard

log = structlog.get_logger()

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
CRASH_WINDOW_SECONDS = 60.0
THREADS_RETRY_SECONDS = 1.0
FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2}
NO_PIPES = dict.fromkeys(("child_stdin", "stdin", "child_stdout", "stdout", "child_stderr", "stderr"))
_libc = ctypes.CDLL(None, use_errno=True)

Target = Callable[[Scoreboard], int]  # the whole life of a child; returns its exit code


@dataclass(frozen=True)
class Restart:
    """How a process is brought back."""

    on_success: bool = True  # also after exit code 0
    crash_limit: int = 5  # exits within a minute before it is held back
    backoff_max_seconds: float = 60.0


class ForkedConfig(ProcessConfig):  # type: ignore[misc]
    """One process of a group: what supervisor wants to know, and what we fork."""

    def __init__(
        self,
        options: Any,
        name: str,
        target: Target,
        *,
        scoreboard: Scoreboard,
        stop_seconds: float,
        restart: Restart,
        autostart: bool = True,
    ) -> None:
        values: dict[str, Any] = dict.fromkeys(self.req_param_names)
        values |= {
            "name": name,
            "command": "noctis",
            "priority": 500,
            "autostart": autostart,
            "autorestart": RestartUnconditionally if restart.on_success else RestartWhenExitUnexpected,
            "startsecs": 0,  # readiness is the scoreboard's, and crashes are counted here
            "startretries": sys.maxsize,
            "stopsignal": signal.SIGTERM,
            "stopwaitsecs": stop_seconds,
            "stopasgroup": False,
            "killasgroup": False,
            "exitcodes": [ExitCode.DONE],
            "redirect_stderr": False,
            "environment": {},
        }
        super().__init__(options, **values)
        self.target = target
        self.scoreboard = scoreboard
        self.restart = restart

    def make_process(self, group: Any = None) -> "ForkedProcess":
        made = ForkedProcess(self)
        made.group = group
        return made

    def make_dispatchers(self, proc: Any) -> tuple[dict[int, Any], dict[str, Any]]:
        """None: a child writes to our own stdout and stderr."""
        return {}, dict(NO_PIPES)


class ForkedProcess(process.Subprocess):  # type: ignore[misc]
    """One forked child and its restarts."""

    def __init__(self, config: ForkedConfig) -> None:
        super().__init__(config)
        self.scoreboard: Scoreboard = config.scoreboard
        self.retiring = False
        self.held_until = 0.0  # monotonic
        self._exits: deque[float] = deque()
        self._mask: set[int | signal.Signals] = set()
        self._parent = 0

    @property
    def ready(self) -> bool:
        """The child serves: it has said so on its scoreboard since it was forked."""
        board = self.scoreboard
        return (
            bool(self.pid)
            and board.get(Counter.PID) == self.pid
            and board.get(Counter.HEARTBEAT_NS) >= board.get(Counter.STARTED_NS)
        )

    @property
    def held(self) -> bool:
        return self.state == ProcessStates.EXITED and time.monotonic() < self.held_until

    def get_execv_args(self) -> tuple[str, list[str]]:
        return "noctis", ["noctis"]

    def spawn(self) -> int | None:
        """Fork, with signals blocked until the child has its handlers."""
        if self.pid:
            return None
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            log.critical("supervisor.threads_at_fork", threads=threads, process=self.config.name)
            self.put_off(f"not forked: the supervisor has {threads} threads", THREADS_RETRY_SECONDS)
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        self._parent = os.getpid()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        try:
            pid: int | None = super().spawn()
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def put_off(self, reason: str, seconds: float) -> None:
        """Not started now; tried again after `seconds`."""
        self.laststart = time.time()
        self.administrative_stop = False
        self.change_state(ProcessStates.STARTING)
        self.record_spawnerr(reason)
        self.change_state(ProcessStates.BACKOFF)
        self.delay: float = time.time() + seconds

    def transition(self) -> None:
        if not self.held and not (self.retiring and self.state in STOPPED_STATES):
            super().transition()

    def finish(self, pid: int, sts: int) -> None:
        asked = self.killing
        super().finish(pid, sts)
        self.config.options.poller.wake()  # restart on the next pass
        restart: Restart = self.config.restart
        if asked or (self.exitstatus == ExitCode.DONE and not restart.on_success):
            return
        now = time.monotonic()
        self._exits.append(now)
        while self._exits[0] < now - CRASH_WINDOW_SECONDS:
            self._exits.popleft()
        over = len(self._exits) - restart.crash_limit
        if over >= 0:
            self.held_until = now + min(2.0**over, restart.backoff_max_seconds)
        reason = decode_wait_status(sts)[1]
        if not self._said_why():
            self.scoreboard.error(f"process {pid} ended unasked: {reason}")
        log.error(
            "process.crashed",
            process=self.config.name,
            pid=pid,
            reason=reason,
            crashes_in_a_minute=len(self._exits),
            held_seconds=round(max(0.0, self.held_until - now), 1),
        )

    def _check_and_adjust_for_system_clock_rollback(self, test_time: float) -> None:
        """A clock set back must neither hasten nor stop a retry."""
        if self.state == ProcessStates.BACKOFF:
            self.delay = min(self.delay, test_time + self.config.restart.backoff_max_seconds)
            return
        super()._check_and_adjust_for_system_clock_rollback(test_time)

    def _said_why(self) -> bool:
        """Whether the process itself told what it cannot go on without, before it ended."""
        told_at = self.scoreboard.get(Counter.LAST_ERROR_NS)
        return bool(self.exitstatus == ExitCode.FOUND_WRONG and told_at >= self.laststart * 1e9)

    # -- the child

    def keep_descriptors(self) -> tuple[int, ...]:
        """What the child keeps besides 0, 1 and 2."""
        return ()

    def run_target(self) -> int:
        return int(self.config.target(self.scoreboard))

    def _spawn_as_child(self, filename: str, argv: list[str]) -> None:
        code = int(ExitCode.SOFTWARE)
        try:
            gc.freeze()  # what the parent has is never looked at again, so its pages stay shared
            os.setpgrp()
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != self._parent:
                os._exit(code)  # it died between the fork and the line above
            signal.set_wakeup_fd(-1)
            for number in FORWARDED:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever wants it says so; until then it kills nobody
            _close_all_but(self.keep_descriptors())
            _libc.prctl(PR_SET_NAME, f"noctis:{self.config.name}".encode("ascii", "replace")[:15])
            self.scoreboard.begin(os.getpid())
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            code = self.run_target()
        except BaseException:
            log.exception("process.fault", process=self.config.name)
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # never back into the parent's `finally` blocks


def _close_all_but(keep: tuple[int, ...]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    start = 3
    for descriptor in sorted(each for each in keep if each > 2):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))  # bounded: without close_range(2) each number is tried
