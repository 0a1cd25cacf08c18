"""One port: its socket, its workers and its state. Nobody is forked."""

import os
import socket
from functools import partial
from typing import Any

import pytest
from supervisor.states import ProcessStates, SupervisorStates

from noctis.observability.boards import Boards
from noctis.observability.scoreboard import Counter
from noctis.supervisor import group as module
from noctis.supervisor.group import GroupConfig, ListenerGroup, ListenerSettings, State
from noctis.supervisor.options import Options
from noctis.supervisor.plan import ListenerSpec
from noctis.supervisor.process import ForkedProcess, Restart
from noctis.supervisor.sockets import Sockets
from tests.support import free_port, listens


@pytest.fixture(autouse=True)
def _nobody_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is spawned runs as this one."""

    def spawn(process: ForkedProcess) -> int:
        process.pid, process.laststart, process.state = os.getpid(), 1, ProcessStates.RUNNING
        process.administrative_stop = False
        process.scoreboard.begin(process.pid)
        process.scoreboard.set(Counter.HEARTBEAT_NS, 1 << 62)
        return process.pid

    monkeypatch.setattr(ForkedProcess, "spawn", spawn)
    monkeypatch.setattr(module, "BIND_PATIENCE_SECONDS", 0.0)


def make(options: Options, port: int, *, workers: int = 1, on_demand: bool = False) -> ListenerGroup:
    settings = ListenerSettings(Sockets("127.0.0.1", 5), Boards(), on_demand, 35.0, Restart(on_success=not on_demand))
    spec = ListenerSpec("central", port, workers)

    def build(config: GroupConfig) -> ListenerGroup:
        return ListenerGroup(config, spec, settings, lambda *_: 0)

    made = GroupConfig(options, spec.group, 500, build).make_group()
    assert isinstance(made, ListenerGroup)
    return made


def ended(process: Any, state: int = ProcessStates.STOPPED) -> None:
    process.pid, process.state = 0, state


def test_it_starts_and_owns_its_socket(options: Options) -> None:
    port = free_port()
    group = make(options, port)
    assert group.state() is State.STARTING
    assert listens(port)
    group.transition()
    assert group.state() is State.RUNNING
    (process,) = group.active
    ended(process, ProcessStates.EXITED)
    assert group.state() is State.STARTING
    assert listens(port)  # callers wait
    group.close()
    assert not listens(port)


def test_workers_come_and_go(options: Options) -> None:
    group = make(options, free_port())
    group.transition()
    (first,) = group.active
    group.serve(ListenerSpec("central", group.spec.port, workers=3))
    assert len(group.active) == 3
    group.transition()
    stopped: list[str] = []
    for process in group.active:
        process.scoreboard.add(Counter.ECHOES, 5)
        process.stop = partial(stopped.append, process.config.name)
    group.serve(ListenerSpec("central", group.spec.port, workers=1))
    assert group.active == [first]
    assert stopped == ["central-2", "central-3"]
    for process in list(group.processes.values()):
        if process.retiring:
            ended(process)
    group.transition()
    assert list(group.processes.values()) == [first]
    assert group.total(Counter.ECHOES) == 15
    group.close()


def test_a_held_port_is_tried_again(options: Options) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        group = make(options, port)
        group.processes["central-1"].state = ProcessStates.STOPPED
        assert group.state() is State.BACKOFF
        assert f"held by pid {os.getpid()}" in group.bind_error
    assert group.open()
    assert group.bind_error == ""
    assert group.state() is State.STARTING
    group.close()


def test_a_port_that_is_let_go_soon_is_not_called_held(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BIND_PATIENCE_SECONDS", 3600.0)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        group = make(options, port)
        assert group.state() is State.STARTING
        assert group.bind_error == ""
        assert group.bind_wait == module.BIND_PATIENT_RETRY_SECONDS
    assert group.open()
    group.close()


def test_stopped_by_an_operator_it_refuses_until_it_is_started(options: Options) -> None:
    port = free_port()
    group = make(options, port)
    group.transition()
    (process,) = group.active
    ended(process)
    process.administrative_stop = True
    group.transition()
    assert group.state() is State.STOPPED
    assert not listens(port)
    group.serve(group.spec)  # somebody else's facility was changed
    assert not listens(port)


def test_a_shutdown_is_no_operators_stop(options: Options) -> None:
    port = free_port()
    group = make(options, port)
    group.transition()
    options.mood = SupervisorStates.RESTARTING
    (process,) = group.active
    ended(process)
    process.administrative_stop = True
    group.transition()
    assert listens(port)
    group.close()


def test_retired_it_refuses_at_once(options: Options) -> None:
    port = free_port()
    group = make(options, port)
    group.transition()
    (process,) = group.active
    process.stop = lambda: None
    group.retire()
    assert not listens(port)
    assert group.active == []
    assert group.state() is State.STOPPING
    ended(process)
    group.transition()
    assert group.processes == {}


def test_on_demand_the_first_call_forks(options: Options) -> None:
    port = free_port()
    group = make(options, port, on_demand=True, workers=2)
    group.transition()
    assert group.state() is State.IDLE
    assert group.sock is not None
    activator = group.get_dispatchers()[group.sock.fileno()]
    assert activator.readable()
    activator.handle_read_event()
    assert group.state() is State.RUNNING
    assert all(process.pid for process in group.active)
    assert not activator.readable()
    for process in group.active:
        ended(process, ProcessStates.EXITED)
        process.exitstatus = 0
    group.transition()
    assert group.state() is State.IDLE
    assert activator.readable()
    group.close()
    assert not activator.readable()
    assert group.get_dispatchers() == {}


def test_on_demand_one_that_is_held_back_is_not_forked(options: Options) -> None:
    group = make(options, free_port(), on_demand=True)
    (process,) = group.active
    process.state, process.held_until = ProcessStates.EXITED, float("inf")
    assert group.sock is not None
    assert not group.get_dispatchers()[group.sock.fileno()].readable()
    group.close()
