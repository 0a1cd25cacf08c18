"""A real listener on a real socket, in this process."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from noctis.config import Settings, load_settings
from noctis.facilities.snapshot import Device, Facility, Snapshot, write_if_changed
from noctis.repository import slots
from tests import tls
from tests.integration.listener.doors import Door
from tests.spooling import is_being_written

CENTRAL = Facility(1, "central", "Central", "CENTRAL", 0, devices=(Device("CT1"),))


class RunningListener(Door):
    """One facility's listener and where it stores."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.paths
        sock = socket.create_server(("127.0.0.1", 0))
        self.set_facilities(Facility(**{**CENTRAL.__dict__, "port": sock.getsockname()[1]}))
        super().__init__(settings, sock, "central", "CENTRAL")

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


Start = Callable[..., RunningListener]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
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
def listener(start: Start) -> RunningListener:
    return start()


@pytest.fixture
def sender(tmp_path: Path) -> tls.Files:
    """The certificate of a client that every listener here trusts."""
    return tls.write(tls.client(), tmp_path, "sender")
