"""A real listener on a real socket, in this process."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from noctis.config import Settings, load_settings
from noctis.facilities.snapshot import Device, Facility, Snapshot, write_if_changed
from noctis.listener import process
from noctis.listener.server import Listener
from noctis.observability.scoreboard import Scoreboard
from noctis.repository import slots
from tests.spooling import is_being_written
from tests.support import wait_for

CENTRAL = Facility(1, "central", "Central", "CENTRAL", 0, devices=(Device("CT1"),))


class ThreadStop:
    """What ends `process.serve` when it runs in a thread."""

    def __init__(self) -> None:
        self.received = False
        self.descriptor, self._write = os.pipe()

    def set(self) -> None:
        self.received = True
        os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._write)


class RunningListener:
    """One facility's listener and where it stores."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.paths
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self.scoreboard = Scoreboard()
        self.set_facilities(Facility(**{**CENTRAL.__dict__, "port": self.port}))
        self.listener = Listener(self.sock, settings, "CENTRAL", self.scoreboard, "central")
        self.stop = ThreadStop()
        self._closed = False
        self.thread = threading.Thread(target=process.serve, args=(self.listener, self.stop, None))
        self.thread.start()

    def set_facilities(self, *facilities: Facility) -> None:
        write_if_changed(self.home.snapshot, lambda: Snapshot(facilities))

    def spooled(self) -> list[Path]:
        """Every committed instance, oldest first; those in slots get files of their own, as the archiver does it."""
        for folder in self.home.spool.glob("*"):
            for entry in slots.waiting(self.home.spool, folder.name):
                assert slots.eject(self.home.spool, entry) is not None
        return sorted(self.home.spool.glob("*/new/*.dcm"))

    def unfinished(self) -> list[Path]:
        return sorted(path for path in self.home.spool.glob("*/tmp/*/*.dcm") if is_being_written(path))

    def quarantined(self) -> list[Path]:
        return sorted(self.home.quarantine.glob("*/*.dcm"))

    def close(self) -> None:
        """A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if not self.stop.received:
            self.stop.set()
        self.thread.join(10)
        process.drain(self.listener, 5.0)
        wait_for(lambda: not self.listener.live, what="the end of every association")
        self.listener.close_services()
        self.sock.close()
        self.stop.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningListener]]:
    """Start a listener with the settings given; ended with the test."""
    running: list[RunningListener] = []

    def starter(**sections: dict[str, object]) -> RunningListener:
        sections.setdefault("storage", {"reserve_bytes": 0})
        settings = load_settings(options={"home": str(tmp_path / "home"), **sections})
        settings.paths.create()
        running.append(RunningListener(settings))
        return running[-1]

    yield starter
    for each in running:
        each.close()


@pytest.fixture
def listener(start: Callable[..., RunningListener]) -> RunningListener:
    return start()
