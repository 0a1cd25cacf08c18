"""Groups of forked processes: one of a service, or all workers of one listener and the socket that they share.

The group of a listener owns its socket for as long as the port shall be served, whatever becomes of its processes:
while one restarts, callers wait in the backlog. A port that cannot be bound is a state of this group alone and is
tried again every second.
"""

import errno
import itertools
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from supervisor import process
from supervisor.options import ProcessGroupConfig
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates

from noctis.errors import ExitCode
from noctis.observability.boards import Boards
from noctis.observability.scoreboard import Counter
from noctis.supervisor.plan import ListenerSpec
from noctis.supervisor.process import ForkedConfig, ForkedProcess, Restart
from noctis.supervisor.sockets import Sockets

log = structlog.get_logger()

BIND_RETRY_SECONDS = 1.0
BIND_PATIENCE_SECONDS = 2.0  # processes of a killed parent let go of the port within this time
BIND_PATIENT_RETRY_SECONDS = 0.05


class State(StrEnum):
    """What `noctis status` says of a listener or service."""

    STARTING = "starting"  # forked, not ready yet
    RUNNING = "running"
    IDLE = "idle"  # on demand: the first connection will fork it
    BACKOFF = "backoff"  # the port cannot be bound, or it crashed too often: tried again
    STOPPING = "stopping"  # drains
    STOPPED = "stopped"  # by an operator (supervisorctl stop)


@dataclass(frozen=True)
class ListenerSettings:
    """What every listener's group is told."""

    sockets: Sockets
    boards: Boards
    on_demand: bool
    stop_seconds: float
    restart: Restart


class GroupConfig(ProcessGroupConfig):  # type: ignore[misc]
    """A group that makes itself."""

    def __init__(self, options: Any, name: str, priority: int, make: Callable[["GroupConfig"], "Group"]) -> None:
        super().__init__(options, name, priority, [])
        self._make = make

    def make_group(self) -> "Group":
        return self._make(self)

    def after_setuid(self) -> None:
        """There are no child logs to make."""


class Group(process.ProcessGroup):  # type: ignore[misc]
    """Processes that run one target; the number of them may change while they run."""

    autostart = True
    process_config = ForkedConfig

    def __init__(
        self,
        config: GroupConfig,
        target: Any,
        *,
        boards: Boards,
        board: str,
        rows: bool,
        stop_seconds: float,
        restart: Restart,
    ) -> None:
        super().__init__(config)
        self.board = board  # the name of its processes' scoreboards
        self._boards = boards
        self._rows = rows
        self._target = target
        self._stop_seconds = stop_seconds
        self._restart = restart
        self._numbers = itertools.count(1)

    @property
    def active(self) -> list[ForkedProcess]:
        return [each for each in self.processes.values() if not each.retiring]

    def resize(self, count: int) -> None:
        """Add processes, or let the newest ones drain."""
        for _ in range(count - len(self.active)):
            name = f"{self.config.name.partition('@')[0]}-{next(self._numbers)}"
            config = self.process_config(
                self.config.options,
                name,
                self._target,
                scoreboard=self._boards.take(self.board, rows=self._rows),
                stop_seconds=self._stop_seconds,
                restart=self._restart,
                autostart=self.autostart,
            )
            self.processes[name] = config.make_process(self)
        for extra in self.active[count:]:
            extra.retiring = True
            if extra.state in (ProcessStates.RUNNING, ProcessStates.STARTING, ProcessStates.BACKOFF):
                extra.stop()

    def transition(self) -> None:
        for each in list(self.processes.values()):
            each.transition()
            if each.retiring and each.state in (*STOPPED_STATES, ProcessStates.UNKNOWN):
                self._boards.give_back(each.scoreboard)
                del self.processes[each.config.name]

    def total(self, counter: Counter) -> int:
        """A counter over all processes that there ever were, since the machine was started."""
        return self._boards.total(self.board, counter)

    def latest(self, counter: Counter) -> int:
        """A time over all of them."""
        return max((each.latest(counter) for each in self._boards.of(self.board)), default=0)

    def live(self, counter: Counter) -> int:
        """A figure of now over the processes that run."""
        return sum(each.scoreboard.total(counter) for each in self.processes.values() if each.pid)

    def state(self) -> State:
        active = self.active
        if not active:
            return State.STOPPING if self.processes else State.STOPPED
        states = {each.state for each in active}
        if states <= {ProcessStates.STOPPED}:
            return State.STOPPED if all(each.administrative_stop for each in active) else State.STARTING
        if any(each.held for each in active) or ProcessStates.BACKOFF in states:
            return State.BACKOFF
        if ProcessStates.STOPPING in states:
            return State.STOPPING
        return State.RUNNING if any(each.ready for each in active) else State.STARTING

    def is_done(self) -> bool:
        """All of it has ended as it should, and is not started again."""
        return bool(self.active) and all(
            each.state == ProcessStates.EXITED and each.exitstatus == ExitCode.DONE for each in self.active
        )

    def settled(self) -> bool:
        """It came up, or will not for the time being."""
        return self.state() is not State.STARTING


class ListenerProcess(ForkedProcess):
    """A worker of one port."""

    group: "ListenerGroup"

    def keep_descriptors(self) -> tuple[int, ...]:
        assert self.group.sock is not None
        return (self.group.sock.fileno(),)

    def run_target(self) -> int:
        assert self.group.sock is not None
        return int(self.config.target(self.group.sock, self.group.spec.slug, self.scoreboard))

    def spawn(self) -> int | None:
        if not self.group.open():
            self.put_off(self.group.bind_error or "the port is not free yet", self.group.bind_wait)
            return None
        return super().spawn()


class ListenerConfig(ForkedConfig):
    def make_process(self, group: Any = None) -> ListenerProcess:
        made = ListenerProcess(self)
        made.group = group
        return made


class ListenerGroup(Group):
    """One port: its socket and its workers."""

    process_config = ListenerConfig

    def __init__(self, config: GroupConfig, spec: ListenerSpec, settings: ListenerSettings, target: Any) -> None:
        super().__init__(
            config,
            target,
            boards=settings.boards,
            board=spec.board,
            rows=spec.slug is None,  # the default listener's are of many facilities
            stop_seconds=settings.stop_seconds,
            restart=settings.restart,
        )
        self.spec = spec
        self._settings = settings
        self.sock: socket.socket | None = None
        self.bind_error = ""
        self.bind_failed_at = 0.0  # time.time(); 0: never
        self._failing_since = 0.0  # monotonic; 0: it does not
        self._bind_at = 0.0  # monotonic; not before
        self.autostart = not settings.on_demand
        self._activator = Activator(self)
        self._ready: set[int] = set()  # pids
        self.open()
        self.resize(spec.workers)

    @property
    def on_demand(self) -> bool:
        return self._settings.on_demand

    def serve(self, spec: ListenerSpec) -> None:
        """Shall run (again, while it drains; with another number of workers)."""
        self.spec = spec
        if not self._stopped_by_operator:
            self.open()
        self.resize(spec.workers)

    def retire(self) -> None:
        """Refuse new callers at once, let the rest drain."""
        self.close()
        self.resize(0)

    def open(self) -> bool:
        """Bind, unless bound; False when the port cannot be had."""
        if self.sock is not None:
            return True
        try:
            self.sock = self._settings.sockets.listen(self.spec.port)
        except OSError as error:
            self._cannot_bind(error)
            return False
        if self.bind_error:
            log.info("listener.bound", port=self.spec.port, facility=self.spec.slug)
        self.bind_error, self._failing_since = "", 0.0
        return True

    def _cannot_bind(self, error: OSError) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self._bind_at = now + self.bind_wait
        if error.errno == errno.EADDRINUSE and self._patient:
            return
        why = self._settings.sockets.explain(self.spec.port, error)
        if why != self.bind_error:
            log.error("listener.cannot_bind", port=self.spec.port, facility=self.spec.slug, reason=why)
        self.bind_error, self.bind_failed_at = why, time.time()

    @property
    def _patient(self) -> bool:
        return time.monotonic() - self._failing_since < BIND_PATIENCE_SECONDS

    @property
    def bind_wait(self) -> float:
        """How long until the port is tried again, in seconds."""
        return BIND_PATIENT_RETRY_SECONDS if self._patient else BIND_RETRY_SECONDS

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def before_remove(self) -> None:
        self.close()

    def get_dispatchers(self) -> dict[int, Any]:
        found: dict[int, Any] = super().get_dispatchers()
        if self.sock is not None and self.on_demand:
            found[self.sock.fileno()] = self._activator
        return found

    def transition(self) -> None:
        super().transition()
        ready = {each.pid for each in self.active if each.ready}
        for pid in ready - self._ready:  # said here, since a line of its own costs each child 0.4 MB
            log.info("listener.ready", port=self.spec.port, facility=self.spec.slug, pid=pid)
        self._ready = ready
        if self.config.options.mood != SupervisorStates.RUNNING:
            return
        if self._stopped_by_operator:
            self.close()  # refuses callers, does not queue them
        elif self.on_demand and self.sock is None and self.active and time.monotonic() >= self._bind_at:
            self.open()

    @property
    def _stopped_by_operator(self) -> bool:
        active = self.active
        return bool(active) and all(each.administrative_stop and each.state == ProcessStates.STOPPED for each in active)

    def state(self) -> State:
        if self._stopped_by_operator:
            return State.STOPPED
        if self.bind_error:
            return State.BACKOFF
        if self._failing_since:
            return State.STARTING
        state = super().state()
        if self.on_demand and self.sock is not None and not any(each.pid for each in self.active):
            return State.IDLE
        return state


class Activator:
    """Looks at a listening socket while nobody serves it; the first connection forks the workers."""

    def __init__(self, group: ListenerGroup) -> None:
        self._group = group

    def _candidates(self) -> list[ForkedProcess]:
        active = self._group.active
        if any(each.pid for each in active):
            return []  # somebody serves already
        waiting = (ProcessStates.STOPPED, ProcessStates.EXITED)
        return [each for each in active if each.state in waiting and not each.held and not each.administrative_stop]

    def readable(self) -> bool:
        running = self._group.config.options.mood == SupervisorStates.RUNNING
        return running and self._group.sock is not None and bool(self._candidates())

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        for each in self._candidates():
            each.spawn()

    def handle_error(self) -> None:
        log.exception("listener.activation_failed", port=self._group.spec.port)
