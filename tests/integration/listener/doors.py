"""Several listeners of one home in this process, of any family: facilities' own ports and the default one."""

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
from tests.integration.listener.conftest import ThreadStop
from tests.integration.listener.test_association import ECHO, associate_rq, p_data
from tests.support import wait_for

RELEASE = b"\5\0\0\0\0\4\0\0\0\0"


class Door:
    """One listening port and its listener."""

    def __init__(self, settings: Settings, sock: socket.socket, name: str) -> None:
        self.sock = sock
        self.port: int = sock.getsockname()[1]
        self.scoreboard = Scoreboard()
        self.listener = Listener(sock, settings, "TITLE", self.scoreboard, name)
        self.stop = ThreadStop()
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


class Caller:
    """A client that says exactly the bytes it is told to."""

    def __init__(self, door: Door, address: str = "127.0.0.1", first: bytes = b"") -> None:
        self.sock = socket.create_connection((address, door.port), timeout=20)
        if first:
            self.sock.sendall(first)

    def read(self) -> tuple[int, bytes]:
        """One PDU: its type and content; (0, b"") at the end."""
        head = self._exactly(6)
        return (head[0], self._exactly(int.from_bytes(head[2:6], "big"))) if len(head) == 6 else (0, b"")

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            try:
                piece = self.sock.recv(count - len(got))
            except ConnectionResetError:
                return got
            if not piece:
                return got
            got += piece
        return got

    def associate(self, **titles: Any) -> tuple[int, ...]:
        """The answer's type, and of a rejection its result, source and reason."""
        self.sock.sendall(associate_rq(**titles))
        kind, content = self.read()
        return (kind, *content[1:4]) if kind == 3 else (kind,)

    def echo(self) -> bool:
        self.sock.sendall(p_data(ECHO))
        kind, content = self.read()
        return kind == 4 and content[-2:] == b"\0\0"

    def release(self) -> None:
        self.sock.sendall(RELEASE)
        assert self.read()[0] == 6
        assert self.read() == (0, b"")

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
