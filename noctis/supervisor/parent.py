"""The parent: owns every listening socket, forks every process, runs no DICOM and touches no database.

It compares the facilities of `run/facilities.json` with the listeners that run whenever that file is another one, and
starts, stops or re-binds only those that differ. The watcher, a child, keeps the file true to the facilities table.
"""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from supervisor import supervisord
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import SupervisorStates

from noctis import __version__, locks
from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import make_engine
from noctis.db.upgrading import Progress
from noctis.errors import DatabaseError, ExitCode, SupervisorError
from noctis.facilities import watcher
from noctis.facilities.snapshot import Snapshot, SnapshotReader
from noctis.home import UMASK
from noctis.observability.boards import Boards
from noctis.observability.scoreboard import Scoreboard
from noctis.supervisor import notify, upgrade
from noctis.supervisor.activity import Activity
from noctis.supervisor.group import Group, GroupConfig, ListenerGroup, ListenerSettings
from noctis.supervisor.options import Options, Waker
from noctis.supervisor.plan import DEFAULT, FACILITY_BOARD, SERVICE_BOARD, Plan, make_plan, wanted
from noctis.supervisor.process import Restart
from noctis.supervisor.services import COUNT_BY_FACILITY, RECEIVING, services
from noctis.supervisor.sockets import Sockets

log = structlog.get_logger()

LOCK_SECONDS = 2  # for which a start from a snapshot waits for a lock of the database
SINGLE_THREAD_SECONDS = 2.0  # how long threads of the preparation may take to be gone


class Parent(supervisord.Supervisor):  # type: ignore[misc]
    """supervisord's main loop over our groups."""

    def __init__(self, options: Options, sockets: Sockets, boards: Boards, *, upgrade_first: bool = False) -> None:
        super().__init__(options)
        self._upgrade_first = upgrade_first
        self.boards = boards
        settings = options.settings
        self.settings = settings
        self.started_at = time.time()
        self.snapshot = Snapshot()
        self.activity = Activity(settings.paths)
        self._sockets = sockets
        self._reader = SnapshotReader(settings.paths.snapshot)
        self._reader_error: str | None = None
        self._retiring: set[str] = set()
        self._ready = False
        self._stopping = False
        self._watchdog = notify.watchdog_seconds()
        self._watchdog_at = 0.0

    def runforever(self) -> None:
        """The control socket is open and the signals are ours: start what shall run, then supervisor's loop."""
        self._start_services()
        self.activity.started()  # after the services' "since when": it is the first thing that an audit tells
        self.reconcile()
        self.boards.keep(self._has_board)
        self._sockets.close_leftovers()
        super().runforever()

    def _start_services(self) -> None:
        settings = self.settings
        table = services(settings)
        if self._upgrade_first:
            table[upgrade.NAME] = upgrade.run
        for priority, (name, run) in enumerate(table.items()):
            target = partial(run, settings)
            config = GroupConfig(
                self.options,
                name,
                priority,  # below the listeners' 500: these stop last
                partial(
                    _service_group,
                    target=target,
                    boards=self.boards,
                    board=f"{SERVICE_BOARD}{name}",
                    rows=name in COUNT_BY_FACILITY,
                    stop_seconds=self._stop_seconds,
                    restart=self._restart(on_success=name != upgrade.NAME),
                ),
            )
            self.add_process_group(config)

    def _has_board(self, name: str) -> bool:
        """Whether a scoreboard's name is one of ours: a facility that is disabled keeps its counts."""
        if name.startswith(FACILITY_BOARD):
            return self._reader.error is not None or name.removeprefix(FACILITY_BOARD) in self.snapshot.by_slug
        return name == DEFAULT or name.startswith(SERVICE_BOARD)

    @property
    def _stop_seconds(self) -> float:
        return self.settings.listeners.drain_seconds + 5.0

    def _restart(self, *, on_success: bool) -> Restart:
        settings = self.settings.supervisor
        return Restart(on_success, settings.crash_limit, settings.backoff_max_seconds)

    # -- reconcile

    def reconcile(self) -> Plan:
        """Make the listeners what the snapshot says; what was done."""
        before, after = self.snapshot, self._reader.current()
        plan = make_plan(before, after)
        self.snapshot = after
        self.boards.allow(len(after.facilities))
        shall = wanted(after, self.settings.server.port)
        for name, spec in shall.items():
            running = self.process_groups.get(name)
            if running is None:
                self.add_process_group(GroupConfig(self.options, name, 500, partial(self._listener_group, spec)))
            else:
                self._retiring.discard(name)
                running.serve(spec)
        for name, running in self.process_groups.items():
            if isinstance(running, ListenerGroup) and name not in shall and name not in self._retiring:
                self._retiring.add(name)
                running.retire()
        changes = {name: changed for name, changed in plan.as_json().items() if changed}
        if changes:
            log.info("supervisor.reconciled", **{name: len(changed) for name, changed in changes.items()})
        self.options.poller.wake()
        return plan

    def _listener_group(self, spec: Any, config: GroupConfig) -> ListenerGroup:
        from noctis.listener import process as listener

        settings = self.settings
        on_demand, reader = settings.listeners.on_demand, self._reader

        def serve(sock: Any, slug: str | None, scoreboard: Scoreboard) -> int:
            return listener.run(sock, settings, slug, scoreboard, on_demand=on_demand, snapshots=reader)

        told = ListenerSettings(
            sockets=self._sockets,
            boards=self.boards,
            on_demand=on_demand,
            stop_seconds=self._stop_seconds,
            restart=self._restart(on_success=not on_demand),
        )
        return ListenerGroup(config, spec, told, serve)

    # -- the loop

    def tick(self, now: float | None = None) -> None:
        super().tick(now)
        if self.options.hang_up:
            self.options.hang_up = False
            self._hang_up()
        if self.options.mood == SupervisorStates.RUNNING:
            self._follow()
        if (upgrading := self.process_groups.get(upgrade.NAME)) is not None and upgrading.is_done():
            self._retiring.add(upgrade.NAME)
            upgrading.resize(0)
        for name in list(self._retiring):
            if not self.process_groups[name].processes:
                self.remove_process_group(name)
                self._retiring.discard(name)
        self._tell_systemd()

    def _follow(self) -> None:
        """Look whether the snapshot is another one."""
        after = self._reader.current()
        if self._reader.error != self._reader_error:
            self._reader_error = self._reader.error
            if self._reader_error:
                log.error("supervisor.snapshot_unreadable", reason=self._reader_error, action="keeping the last one")
        if after is not self.snapshot:
            try:
                self.reconcile()
            except Exception:
                log.exception("supervisor.reconcile_failed")  # what runs goes on running

    # -- what supervisorctl must not take apart

    def diff_to_active(self) -> tuple[list[Any], list[Any], list[Any]]:
        """`supervisorctl update` compares with a configuration file; here the snapshot is compared, and followed."""
        self.reconcile()
        return [], [], []

    def remove_process_group(self, name: str) -> bool:
        """Only what a reconcile retires."""
        return name in self._retiring and bool(super().remove_process_group(name))

    # -- the end

    def ordered_stop_groups_phase_1(self) -> None:
        """All listeners drain at once; the archiver and the watcher follow, one after the other."""
        if not self._stopping:
            self._stopping = True
            restarting = self.options.mood == SupervisorStates.RESTARTING
            log.info("supervisor.restarting" if restarting else "supervisor.stopping")
            (notify.reloading if restarting else notify.stopping)()
            for each in self.process_groups.values():
                if not isinstance(each, ListenerGroup):
                    continue
                if restarting:
                    each.stop_all()  # callers wait in the backlog of the socket, which the next image inherits
                else:
                    each.retire()
        super().ordered_stop_groups_phase_1()

    def ordered_stop_groups_phase_2(self) -> None:
        """As supervisor's, which takes one turn of the loop for each group."""
        while self.stop_groups and not self.stop_groups[-1].get_unstopped_processes():
            self.stop_groups.pop()

    def _hang_up(self) -> None:
        """SIGHUP: the watcher looks at the table at once; its file is looked at on every pass."""
        notify.reloading()
        log.info("supervisor.reload_requested")
        for each in self.process_groups["watcher"].active:
            if each.pid:
                os.kill(each.pid, signal.SIGHUP)
        self._ready = False  # READY=1 is said again, which ends systemd's "reloading"

    def _tell_systemd(self) -> None:
        now = time.monotonic()
        if self.options.mood != SupervisorStates.RUNNING:
            return
        if not self._ready and self._receives():
            self._ready = True
            listeners = sum(isinstance(each, ListenerGroup) for each in self.process_groups.values())
            log.info("supervisor.ready", listeners=listeners, seconds=round(time.time() - self.started_at, 2))
            notify.ready(f"{listeners} listeners")
        if self._watchdog is not None and now >= self._watchdog_at:
            self._watchdog_at = now + self._watchdog
            notify.notify("WATCHDOG=1")

    def _receives(self) -> bool:
        """Whether all that receiving needs is up, or will not be for the time being."""
        needed = [self.process_groups[name] for name in RECEIVING]
        return all(each.settled() for each in (*self.listening(), *needed))

    def listening(self) -> list[ListenerGroup]:
        return [
            each
            for each in self.process_groups.values()
            if isinstance(each, ListenerGroup) and each.config.name not in self._retiring
        ]


def _service_group(config: GroupConfig, *, target: Any, **options: Any) -> Group:
    made = Group(config, target, **options)
    made.resize(1)
    return made


def preload(settings: Settings) -> None:
    """Import and build once what every child needs; their memory is shared with ours."""
    import sqlalchemy.dialects.sqlite

    import noctis.archiver.service
    import noctis.listener.process
    from noctis.listener.warmup import warm_up

    if settings.audit.syslog is not None:
        import noctis.audit.service
    assert sqlalchemy.dialects.sqlite
    assert noctis.archiver.service
    assert noctis.listener.process
    warm_up(settings)
    socket.getaddrinfo("127.0.0.1", 0)  # pynetdicom's server asks it: 2 MB of name services, loaded once here
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)  # what the imports needed for a moment goes back before it is shared
    gc.freeze()


def prepare(settings: Settings) -> bool:
    """The home, the schema and the first snapshot, before anything is forked.

    With a snapshot that can be read nobody waits for the database: an older schema is upgraded beside receiving.

    Returns
    -------
    Whether the schema is known to be this release's, or nobody shall upgrade it.

    Raises
    ------
    NoctisError
        The home cannot be used, or the database is of a newer release. One that cannot be reached is no obstacle: the
        last snapshot is in force until it is back.
    """
    settings.paths.create()
    has_snapshot = SnapshotReader(settings.paths.snapshot).is_readable()
    engine = make_engine(settings, pooled=False, lock_seconds=LOCK_SECONDS if has_snapshot else None)
    try:
        state = migrate.schema_state(engine)
        if not state.up_to_date:
            if not settings.database.migrate:
                migrate.require_current(engine)
            if has_snapshot:
                Progress(settings.paths, state.current, state.head, os.getpid())
                log.info("database.upgrade_begins", before=state.current, now=state.head, action="receiving meanwhile")
                return False
        upgrade.bring_up(settings, engine, os.getpid())
        watcher.refresh(settings, engine)
    except DatabaseError as error:
        if "newer Noctis" in error.message or not settings.paths.snapshot.exists():
            raise
        log.error("database.down", error=str(error), action="starting from the last snapshot of the facilities")
        return not settings.database.migrate
    finally:
        engine.dispose()
    return True


def supervise(settings: Settings, reexec_argv: list[str]) -> int:
    """Run until SIGTERM or SIGINT; the whole of `noctis supervise`.

    Parameters
    ----------
    reexec_argv
        The command that starts this program again, for `supervisorctl reload`: same pid, listening sockets kept.
    """
    os.umask(UMASK)
    settings.paths.create()
    lock = _only_one(settings.paths.run / "supervisor.lock")
    current = prepare(settings)
    sockets = Sockets(settings.server.bind, settings.listeners.backlog)
    sockets.adopt()
    preload(settings)
    _wait_single_thread()
    settings.paths.control_socket.unlink(missing_ok=True)  # left by one that was killed; the lock says that it is gone
    options = Options(settings)
    options.realize(args=[], doc=__doc__)
    parent = Parent(options, sockets, Boards(settings.paths.root), upgrade_first=not current)
    Waker()
    log.info("supervisor.starting", version=__version__, home=str(settings.paths.root), pid=os.getpid())
    try:
        parent.main()
    except asyncore.ExitNow:
        pass
    finally:
        options.close_httpservers()
    if options.mood == SupervisorStates.RESTARTING:
        _exec_again(parent, sockets, reexec_argv, lock)
    parent.activity.stopped()
    log.info("supervisor.stopped")
    return ExitCode.DONE


def _only_one(path: Path) -> int:
    """Hold the lock of this home, or say who does."""
    try:
        return locks.hold(path)
    except locks.HeldError as held:
        raise SupervisorError(
            f"a supervisor runs on this home already (pid {held.pid})", fix="noctis status, or stop that one first"
        ) from None


def _wait_single_thread() -> None:
    """A thread that was joined may still be on its way out, and no process is forked beside it."""
    deadline = time.monotonic() + SINGLE_THREAD_SECONDS
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)


def _exec_again(parent: Parent, sockets: Sockets, argv: list[str], lock: int) -> None:
    listeners = [each for each in parent.process_groups.values() if isinstance(each, ListenerGroup)]
    sockets.hand_over((each.spec.port, each.sock) for each in listeners if each.sock is not None)
    signal.set_wakeup_fd(-1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.close(lock)
    parent.activity.stopped(reload=True)
    os.execv(argv[0], argv)
