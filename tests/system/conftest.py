"""A whole Noctis for one test: the command as it is installed, its own home, its own ports, real processes."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, text

from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.errors import SupervisorError
from noctis.facilities.records import FacilityRecord
from noctis.facilities.registry import Registry
from noctis.observability.boards import folder_of
from noctis.repository.slots import everything_waiting
from noctis.supervisor.control import Control
from tests import privacy
from tests.support import environment, free_ports, wait_for

PORTS = 40  # the default one and 39 for facilities
STOP_SECONDS = 60.0
SETTLED = ("running", "idle", "backoff")


class Noctis:
    """One home and the processes on it.

    `json`, `cli` and `run` call the installed command; `registry`, `sql` and `control` do the same without starting a
    program, for tests that change much. Nothing runs before `start`.
    """

    def __init__(self, home: Path, options: Mapping[str, Mapping[str, Any]] | None = None, ports: int = PORTS) -> None:
        self.home = home
        self.port = free_ports(ports)
        self.log = home.with_name(home.name + ".log")
        self._options: dict[str, dict[str, Any]] = {
            "server": {"port": self.port, "bind": "127.0.0.1", "advertised_host": "127.0.0.1"},
            "facilities": {"first_port": self.port + 1, "last_port": self.port + ports - 1},
            "storage": {"reserve_bytes": 0},
        }
        self._loaded: tuple[Path, Settings] | None = None
        self.set(**(options or {}))
        self.prefix: tuple[str, ...] = ()  # a command that executes the supervisor, as `ip netns exec NAME`
        self.variables: dict[str, str] = {}  # of the environment, besides
        self._parent: subprocess.Popen[bytes] | None = None

    # -- settings

    def set(self, **sections: Mapping[str, Any]) -> None:
        """Change settings, as `set(listeners={"on_demand": True})`; what is started from now on has them."""
        for section, values in sections.items():
            self._options.setdefault(section, {}).update(values)
        self._loaded = None

    @property
    def settings(self) -> Settings:
        """Loaded once: whoever waits for a state asks for them fifty times a second."""
        if self._loaded is None or self._loaded[0] != self.home:
            self._loaded = self.home, load_settings(options={"home": str(self.home), **self._options})
        return self._loaded[1]

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with these settings and no others."""
        return environment(self.home, self._options) | self.variables

    # -- the command

    def run(self, *arguments: str | Path | int, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `noctis …` to its end, whatever it returns."""
        command = [sys.executable, "-m", "noctis", *map(str, arguments)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self.environment, timeout=300, check=False
        )
        privacy.look(done.stderr, f"noctis {' '.join(map(str, arguments))}")
        if arguments[0] in ("status", "check"):
            privacy.look(done.stdout, f"noctis {arguments[0]}")
        return done

    def cli(self, *arguments: str | Path | int) -> str:
        """What `noctis …` prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"noctis {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path | int) -> Any:
        """What `noctis … --json` says; it must succeed."""
        return json.loads(self.cli(*arguments, "--json"))

    def status(self) -> Any:
        """`noctis status --json`."""
        return self.json("status")

    # -- the same without a program

    @property
    def control(self) -> Control:
        return Control(self.settings.paths)

    def control_status(self) -> dict[str, Any]:
        """What the supervisor says of itself."""
        return self.control.status()

    def listener(self, facility: str | None) -> dict[str, Any]:
        """The status of one listener, {} when there is none."""
        return self.control.listener(facility) or {}

    def wait_listener(self, facility: str | None, state: str = "running", **expected: Any) -> dict[str, Any]:
        """Wait until a listener has this state, and these other values in its status."""
        wanted = {"state": state, **expected}

        def reached() -> dict[str, Any] | None:
            found = self.listener(facility)
            return found if all(found.get(key) == value for key, value in wanted.items()) else None

        try:
            return wait_for(reached, what=f"{facility} {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.listener(facility)}") from None

    def engine(self) -> Engine:
        """Of the database; dispose of it."""
        return make_engine(self.settings, pooled=False)

    def registry(self) -> Registry:
        return Registry(self.engine(), self.settings, actor="test")

    def add(self, name: str, **values: Any) -> FacilityRecord:
        """A facility, as somebody else's program would add it: nobody is told."""
        return self.registry().add(name, **values)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement in SQLite's own words."""
        database = sqlite3.connect(self.settings.paths.sqlite, timeout=30)
        try:
            with database:
                return database.execute(statement, values).fetchall()
        finally:
            database.close()

    # -- what it has

    def query(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a SELECT, of whatever database; `:name` in it is a value."""
        engine = self.engine()
        try:
            with engine.connect().execution_options(read_only=True) as connection:
                return [tuple(row) for row in connection.execute(text(statement), values)]
        finally:
            engine.dispose()

    def indexed(self) -> Counter[str]:
        """SOP Instance UID → rows whose file is there."""
        media = self.settings.paths.media
        rows = self.query("SELECT sop_instance_uid, path FROM instance")
        return Counter(uid for uid, path in rows if (media / path).is_file())

    def settled(self) -> bool:
        """Whether nothing waits in the spool."""
        return not any(everything_waiting(self.settings.paths.spool))

    # -- its processes

    @property
    def pid(self) -> int:
        """The parent's."""
        assert self._parent is not None, "nothing was started"
        return self._parent.pid

    @property
    def is_running(self) -> bool:
        return self._parent is not None and self._parent.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Everything that lives on this home, orphans too."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("NOCTIS_HOME") == str(self.home) and process.is_running():
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def family(self) -> list[int]:
        """The pids of the parent and of all its processes."""
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    def start(self, *arguments: str, wait: bool = True) -> "Noctis":
        """`noctis supervise …` in the background; waits until every listener is up, or cannot be."""
        assert not self.is_running, "it runs already"
        with self.log.open("ab") as log:
            self._parent = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "noctis", "supervise", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        if wait:
            self.wait_started()
        return self

    def wait_started(self) -> None:
        def started() -> bool:
            assert self.is_running, f"the supervisor ended with {self._parent and self._parent.returncode}"
            if not self.control.is_running():
                return False
            status = self.control_status()
            services = status["archiver"]["state"] == status["watcher"]["state"] == "running"
            return services and all(each["state"] in SETTLED for each in status["listeners"])

        try:
            wait_for(started, seconds=60, what="the supervisor and its listeners")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def reload(self) -> None:
        """`supervisorctl reload`: the same process, executed anew; waits until all is up again."""
        before = self.control_status()["started_at"]
        self.cli("supervisorctl", "reload")
        self.wait_next_image(before)

    def wait_next_image(self, started_at: str) -> None:
        """Until the supervisor that answers is not the one that was started then."""

        def another() -> bool:
            try:
                return bool(self.control_status()["started_at"] != started_at)
            except SupervisorError:
                return False

        wait_for(another, what="the next image")
        self.wait_started()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_gone(self) -> int:
        """Until the parent has ended, of itself or by a signal sent elsewhere; its exit code."""
        assert self._parent is not None
        return self._parent.wait(STOP_SECONDS)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_gone()

    def kill(self) -> None:
        """SIGKILL to the parent alone."""
        self.signal(signal.SIGKILL)
        self.wait_gone()

    def end(self) -> None:
        """Leave nothing behind."""
        if self.is_running:
            privacy.look_at_processes(self.family())
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for process in self.processes():
            try:
                process.wait(5)
            except psutil.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder_of(self.home), ignore_errors=True)

    def log_tail(self, lines: int = 60) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        found = []
        whole, _, _ = self.log.read_bytes().rpartition(b"\n")  # the last line may be half written
        for line in whole.decode().splitlines():
            if line.startswith("{"):
                document = json.loads(line)
                if document["event"] == name:
                    found.append(document)
        return found


MakeNoctis = Callable[..., Noctis]


@pytest.fixture
def make_noctis(tmp_path: Path) -> Iterator[MakeNoctis]:
    """Makes homes with settings of their own: `make_noctis(listeners={"on_demand": True})`. Not started."""
    made: list[Noctis] = []

    def make(ports: int = PORTS, **options: Mapping[str, Any]) -> Noctis:
        number = len(made)
        made.append(Noctis(tmp_path / (f"home{number}" if number else "home"), options, ports))
        return made[-1]

    yield make
    for each in made:
        each.end()
        print(each.log_tail())  # pytest shows it with a test that failed


@pytest.fixture
def noctis(make_noctis: MakeNoctis) -> Noctis:
    """Noctis as it is by default, running."""
    return make_noctis().start()
