"""Groups of forked processes: one of a service, or all workers of one listener and the socket that they share.

The group of a listener owns its socket for as long as the port shall be served, whatever becomes of its processes:
while one restarts, callers wait in the backlog. A port that cannot be bound is a state of this group alone and is
tried again every second.
"""

import errno
import itertools
import os
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

from noctis.observability.scoreboard import Counter
from noctis.supervisor.plan import ListenerSpec
from noctis.supervisor.ports import who_listens
from noctis.supervisor.process import ForkedConfig, ForkedProcess, Restart

log = structlog.get_logger()

BIND_RETRY_SECONDS = 1.0
KEPT = (  # counters that outlive the process that counted
    Counter.ASSOCIATIONS,
    Counter.REFUSED,
    Counter.ABORTED,
    Counter.ECHOES,
    Counter.INSTANCES,
    Counter.BYTES,
    Counter.FAILURES,
    Counter.QUARANTINED,
    Counter.RESTARTS,
)


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

    bind: str
    backlog: int
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

    def __init__(self, config: GroupConfig, target: Any, *, stop_seconds: float, restart: Restart) -> None:
        super().__init__(config)
        self._target = target
        self._stop_seconds = stop_seconds
        self._restart = restart
        self._numbers = itertools.count(1)
        self.gone: dict[Counter, int] = dict.fromkeys(KEPT, 0)

    @property
    def active(self) -> list[ForkedProcess]:
        return [each for each in self.processes.values() if not each.retiring]

    def resize(self, count: int) -> None:
        """Add processes, or let the newest ones drain."""
        for _ in range(count - len(self.active)):
            name = f"{self.config.name.partition('@')[0]}-{next(self._numbers)}"
            config = ForkedConfig(
                self.config.options,
                name,
                self._target,
                stop_seconds=self._stop_seconds,
                restart=self._restart,
                autostart=self.autostart,
            )
            self.processes[name] = self.make_process(config)
        for extra in self.active[count:]:
            extra.retiring = True
            if extra.state in (ProcessStates.RUNNING, ProcessStates.STARTING, ProcessStates.BACKOFF):
                extra.stop()

    autostart = True

    def make_process(self, config: ForkedConfig) -> ForkedProcess:
        made = config.make_process(self)
        assert isinstance(made, ForkedProcess)
        return made

    def transition(self) -> None:
        for each in list(self.processes.values()):
            each.transition()
            if each.retiring and each.state in (*STOPPED_STATES, ProcessStates.UNKNOWN):
                for counter in KEPT:
                    self.gone[counter] += each.scoreboard.get(counter)
                del self.processes[each.config.name]

    def total(self, counter: Counter) -> int:
        """A counter over all processes, the gone ones included."""
        now: int = sum(each.scoreboard.get(counter) for each in self.processes.values())
        return self.gone.get(counter, 0) + now

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
            self.laststart = time.time()
            self.change_state(ProcessStates.STARTING)
            self.record_spawnerr(self.group.bind_error)
            self.change_state(ProcessStates.BACKOFF)
            self.delay = time.time() + BIND_RETRY_SECONDS
            return None
        return super().spawn()


class ListenerConfig(ForkedConfig):
    def make_process(self, group: Any = None) -> ListenerProcess:
        made = ListenerProcess(self)
        made.group = group
        return made


class ListenerGroup(Group):
    """One port: its socket and its workers."""

    def __init__(self, config: GroupConfig, spec: ListenerSpec, settings: ListenerSettings, target: Any) -> None:
        super().__init__(config, target, stop_seconds=settings.stop_seconds, restart=settings.restart)
        self.spec = spec
        self._settings = settings
        self.sock: socket.socket | None = None
        self.bind_error = ""
        self.bind_failed_at = 0.0  # time.time(); 0: never
        self.autostart = not settings.on_demand
        self._activator = Activator(self)
        self.open()
        self.resize(spec.workers)

    def make_process(self, config: ForkedConfig) -> ForkedProcess:
        config.__class__ = ListenerConfig
        return super().make_process(config)

    @property
    def on_demand(self) -> bool:
        return self._settings.on_demand

    def serve(self, spec: ListenerSpec) -> None:
        """Shall run (again, while it drains; with another number of workers)."""
        self.spec = spec
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
            self.sock = listen(self._settings.bind, self.spec.port, self._settings.backlog)
        except OSError as error:
            why = _explain(self.spec.port, error)
            if why != self.bind_error:
                log.error("listener.cannot_bind", port=self.spec.port, facility=self.spec.slug, reason=why)
            self.bind_error, self.bind_failed_at = why, time.time()
            return False
        if self.bind_error:
            log.info("listener.bound", port=self.spec.port, facility=self.spec.slug)
        self.bind_error = ""
        return True

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
        running = self.config.options.mood == SupervisorStates.RUNNING
        active = self.active
        if running and active and self.sock is not None:
            stopped = [each.administrative_stop and each.state == ProcessStates.STOPPED for each in active]
            if all(stopped):
                self.close()  # an operator's stop refuses callers, it does not queue them
        if running and self.on_demand and self.sock is None and not all(each.administrative_stop for each in active):
            self._bind_again()

    def _bind_again(self) -> None:
        if time.time() - self.bind_failed_at >= BIND_RETRY_SECONDS:
            self.open()

    def state(self) -> State:
        if self.bind_error:
            return State.BACKOFF
        state = super().state()
        if self.on_demand and self.sock is not None and not any(each.pid for each in self.active):
            return State.IDLE
        return state


class Activator:
    """Looks at a listening socket while nobody serves it; the first connection forks a worker."""

    def __init__(self, group: ListenerGroup) -> None:
        self._group = group

    def _candidate(self) -> ForkedProcess | None:
        for each in self._group.active:
            if each.pid:
                return None  # somebody serves already
        for each in self._group.active:
            if each.state in (ProcessStates.STOPPED, ProcessStates.EXITED) and not each.held:
                return None if each.administrative_stop else each
        return None

    def readable(self) -> bool:
        running = self._group.config.options.mood == SupervisorStates.RUNNING
        return running and self._group.sock is not None and self._candidate() is not None

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        candidate = self._candidate()
        if candidate is not None:
            candidate.spawn()

    def handle_error(self) -> None:
        log.exception("listener.activation_failed", port=self._group.spec.port)


_adopted: dict[tuple[str, int], int] = {}  # (address, port) → descriptor, left by the image before an exec


def adopt(sockets: str) -> None:
    """Take over the listening sockets of the image before: `address,port,descriptor;…`."""
    for part in filter(None, sockets.split(";")):
        address, port, descriptor = part.rsplit(",", 2)
        _adopted[address, int(port)] = int(descriptor)


def listen(address: str, port: int, backlog: int) -> socket.socket:
    """A listening socket that this process owns.

    Raises
    ------
    OSError
        The port is taken, or the address is not this machine's.
    """
    descriptor = _adopted.pop((address, port), None)
    if descriptor is not None:
        sock = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)
        sock.setblocking(False)
        return sock
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, port))
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holders = ", ".join(str(holder) for holder in who_listens(port)) or "somebody"
        return f"Port already in use: {port} is held by {holders}"
    if error.errno == errno.EACCES:
        return f"Permission denied: port {port} needs a privilege that this user has not"
    return f"port {port} cannot be bound: {error.strerror}"
