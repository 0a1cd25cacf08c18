"""What we rely on in `supervisor` beyond its documentation. It fails after an upgrade? Read the new code first."""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from supervisor import events, http, options, poller, process, rpcinterface, states, supervisord
from supervisor.medusa import asyncore_25 as asyncore

from noctis.supervisor.process import ForkedConfig


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (supervisord.Supervisor.tick, ["self", "now"]),
        (supervisord.Supervisor.runforever, ["self"]),
        (supervisord.Supervisor.diff_to_active, ["self"]),
        (supervisord.Supervisor.add_process_group, ["self", "config"]),
        (supervisord.Supervisor.remove_process_group, ["self", "name"]),
        (supervisord.Supervisor.ordered_stop_groups_phase_1, ["self"]),
        (supervisord.Supervisor.ordered_stop_groups_phase_2, ["self"]),
        (process.Subprocess.spawn, ["self"]),
        (process.Subprocess.stop, ["self"]),
        (process.Subprocess.transition, ["self"]),
        (process.Subprocess.finish, ["self", "pid", "sts"]),
        (process.Subprocess.change_state, ["self", "new_state", "expected"]),
        (process.Subprocess.record_spawnerr, ["self", "msg"]),
        (process.Subprocess._spawn_as_child, ["self", "filename", "argv"]),
        (process.Subprocess._check_and_adjust_for_system_clock_rollback, ["self", "test_time"]),
        (process.ProcessGroup.transition, ["self"]),
        (process.ProcessGroup.get_dispatchers, ["self"]),
        (process.ProcessGroup.before_remove, ["self"]),
        (process.ProcessGroup.stop_all, ["self"]),
        (process.ProcessGroup.get_unstopped_processes, ["self"]),
        (options.ServerOptions.read_config, ["self", "fp"]),
        (options.ServerOptions.make_logger, ["self"]),
        (options.ServerOptions.get_signal, ["self"]),
        (options.ServerOptions.usage, ["self", "msg"]),
        (options.ProcessConfig.make_dispatchers, ["self", "proc"]),
        (options.ProcessConfig.make_process, ["self", "group"]),
        (options.ProcessGroupConfig.__init__, ["self", "options", "name", "priority", "process_configs"]),
        (options.ProcessGroupConfig.after_setuid, ["self"]),
        (poller.PollPoller.poll, ["self", "timeout"]),
        (http.make_http_servers, ["options", "supervisord"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_we_override_or_call(function: Callable[..., Any], expected: list[str]) -> None:
    assert parameters(function) == expected


def test_the_release_is_one_that_was_tried() -> None:
    assert (4, 2, 5) <= tuple(int(part) for part in version("supervisor").split(".")) < (4, 5)


def test_the_attributes_of_a_process() -> None:
    for name in ("pid", "state", "delay", "killing", "administrative_stop", "laststart", "exitstatus", "backoff"):
        assert hasattr(process.Subprocess, name), name


def test_the_values_that_a_process_config_wants() -> None:
    known = set(options.ProcessConfig.req_param_names) | set(options.ProcessConfig.optional_param_names)
    source = inspect.getsource(ForkedConfig.__init__)
    ours = {name for name in known if f'"{name}":' in source}
    assert {"name", "command", "priority", "autostart", "autorestart", "startsecs", "startretries"} <= ours
    assert {"stopsignal", "stopwaitsecs", "stopasgroup", "killasgroup", "exitcodes", "environment"} <= ours


def test_moods_are_ordered() -> None:
    moods = states.SupervisorStates
    assert moods.SHUTDOWN < moods.RESTARTING < moods.RUNNING


def test_a_stopped_process_may_be_forgotten() -> None:
    stopped = set(states.STOPPED_STATES)
    assert {states.ProcessStates.STOPPED, states.ProcessStates.EXITED, states.ProcessStates.FATAL} <= stopped
    assert not stopped & {states.ProcessStates.RUNNING, states.ProcessStates.STOPPING, states.ProcessStates.BACKOFF}


def test_the_socket_map_is_what_the_main_loop_polls() -> None:
    assert options.ServerOptions.get_socket_map(object.__new__(options.ServerOptions)) is asyncore.socket_map


def test_update_of_supervisorctl_asks_what_we_override() -> None:
    source = inspect.getsource(rpcinterface.SupervisorNamespaceRPCInterface.reloadConfig)
    assert "diff_to_active" in source
    assert "remove_process_group" in inspect.getsource(rpcinterface.SupervisorNamespaceRPCInterface.removeProcessGroup)


def test_ticks_are_events_that_nobody_needs() -> None:
    assert events.TICK_EVENTS
