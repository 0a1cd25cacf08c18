"""Several listeners of one home in this process, of any family: facilities' own ports and the default one."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noctis.config import Settings, load_settings
from noctis.facilities.snapshot import Facility, Snapshot, write_if_changed
from noctis.listener import process
from noctis.listener.server import Listener
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.journal import take
from noctis.supervisor.sockets import listen
from tests.support import wait_for


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


class Door:
    """One listening port and its listener, in a thread."""

    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        name: str,
        title: str = "TITLE",
        scoreboard: Scoreboard | None = None,
    ) -> None:
        self.sock = sock
        self.port: int = sock.getsockname()[1]
        self.scoreboard = scoreboard or Scoreboard()
        self.listener = Listener(sock, settings, title, self.scoreboard, name)
        self.stop = ThreadStop()
        self._closed = False
        self.thread = threading.Thread(target=process.serve, args=(self.listener, self.stop, None))
        self.thread.start()

    @property
    def live(self) -> int:
        return self.listener.live

    @property
    def waiting(self) -> int:
        """Connections whose peer has to do something next."""
        return sum(each.waits() for each in self.listener.associations())

    def close(self) -> None:
        """A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if not self.stop.received:
            self.stop.set()
        self.thread.join(10)
        process.drain(self.listener, 5.0)
        wait_for(lambda: not self.live, what="the end of every association")
        self.listener.close_services()
        self.sock.close()
        self.stop.close()


class House:
    """A home, its facilities `a` and `b`, each with a door of its own, and the default door."""

    def __init__(self, home: Path, bind: str, facilities: dict[str, dict[str, Any]], listeners: dict[str, Any]) -> None:
        sockets = {name: listen(bind, 0, 128) for name in ("default", *facilities)}
        self.settings = load_settings(
            options={
                "home": str(home),
                "server": {"port": sockets["default"].getsockname()[1]},
                "storage": {"reserve_bytes": 0},
                "listeners": listeners,
            }
        )
        self.settings.paths.create()
        self.facilities = tuple(
            Facility(
                **{
                    "id": number,
                    "slug": name,
                    "name": name.upper(),
                    "ae_title": name.upper(),
                    "port": sockets[name].getsockname()[1],
                    **values,
                }
            )
            for number, (name, values) in enumerate(facilities.items(), 1)
        )
        write_if_changed(self.settings.paths.snapshot, lambda: Snapshot(self.facilities))
        self.doors = {name: Door(self.settings, sock, name) for name, sock in sockets.items()}
        self._refusals: list[dict[str, Any]] = []

    def __getitem__(self, name: str) -> Door:
        return self.doors[name]

    def refusals(self) -> list[dict[str, Any]]:
        """Every line of the ledger of refusals, oldest first."""
        for path, lines in take(self.settings.paths.journal):
            self._refusals += [line for line in lines if line["kind"] == "refusal"]
            path.unlink()
        return self._refusals

    def refusal(self, word: str) -> dict[str, Any]:
        """The first refusal with `word` in its reason, waited for: a caller is told before it is written down."""

        def look() -> dict[str, Any] | None:
            return next((each for each in self.refusals() if word in each["reason"]), None)

        return wait_for(look, what=f"a refusal with {word!r}")

    def close(self) -> None:
        for door in self.doors.values():
            door.close()


@contextmanager
def house(home: Path, bind: str = "127.0.0.1", **listeners: Any) -> Iterator[House]:
    """Facilities A and B without devices; see `House` for others."""
    made = House(home, bind, {"a": {}, "b": {}}, listeners)
    try:
        yield made
    finally:
        made.close()
