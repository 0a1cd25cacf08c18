"""The other end of audit messages: the standard's schema, frames taken apart, and a syslog server on a real socket."""

import base64
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

SCHEMA = Path(__file__).parent / "unit" / "audit" / "audit_message.rng"
_HEAD = re.compile(rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) - \xef\xbb\xbf")  # RFC 5424 §6


@dataclass(frozen=True)
class Received:
    """One frame: its header's fields and its message, which is valid by the schema."""

    priority: int
    at: str
    host: str
    app_name: str
    message_id: str
    root: etree._Element

    def code(self, path: str) -> str | None:
        found = self.root.find(path)
        return None if found is None else found.get("csd-code")

    @property
    def id(self) -> str | None:
        return self.code("EventIdentification/EventID")

    @property
    def type(self) -> str | None:
        return self.code("EventIdentification/EventTypeCode")

    @property
    def outcome(self) -> str | None:
        return self.root.find("EventIdentification").get("EventOutcomeIndicator")

    @property
    def action(self) -> str | None:
        return self.root.find("EventIdentification").get("EventActionCode")

    @property
    def text(self) -> str:
        return self.root.findtext("EventIdentification/EventOutcomeDescription") or ""

    @property
    def users(self) -> list[str]:
        return [each.get("UserID") for each in self.root.findall("ActiveParticipant")]

    @property
    def requestors(self) -> list[str]:
        return [
            each.get("UserID")
            for each in self.root.findall("ActiveParticipant")
            if each.get("UserIsRequestor") == "true"
        ]

    def objects(self, kind: str) -> list[str]:
        """IDs of the participant objects whose ID is of this kind (its code)."""
        return [
            each.get("ParticipantObjectID")
            for each in self.root.findall("ParticipantObjectIdentification")
            if each.find("ParticipantObjectIDTypeCode").get("csd-code") == kind
        ]

    @property
    def details(self) -> list[str]:
        found = self.root.iter("ParticipantObjectDetail")
        return [base64.b64decode(each.get("value")).decode() for each in found]

    @property
    def query(self) -> str:
        return base64.b64decode(self.root.findtext(".//ParticipantObjectQuery") or "").decode()

    @property
    def classes(self) -> dict[str, int]:
        return {each.get("UID"): int(each.get("NumberOfInstances")) for each in self.root.iter("SOPClass")}


def validate(xml: str | bytes) -> etree._Element:
    """The message's root.

    Raises
    ------
    AssertionError
        It is not as PS3.15 A.5.1 has it.
    """
    root = etree.fromstring(xml.encode() if isinstance(xml, str) else xml)
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    assert schema.validate(root), f"{schema.error_log}\n{etree.tostring(root, pretty_print=True).decode()}"
    requestors = [each for each in root.findall("ActiveParticipant") if each.get("UserIsRequestor") == "true"]
    assert len(requestors) <= 1  # PS3.15 A.5.2, User Is Requestor
    return root


def parse(message: bytes) -> Received:
    """A syslog message without its octet count."""
    head = _HEAD.match(message)
    assert head is not None, message[:200]
    priority, at, host, app_name, _, message_id = (each.decode() for each in head.groups())
    return Received(int(priority), at, host, app_name, message_id, validate(message[head.end() :]))


class Frames:
    """Bytes as they come, taken apart by their octet counts (RFC 6587 §3.4.1)."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while True:
            count, space, rest = self._buffer.partition(b" ")
            if not space:
                return
            assert count.isdigit(), self._buffer[:100]
            if len(rest) < int(count):
                return
            self._buffer = rest[int(count) :]
            yield rest[: int(count)]


class SyslogServer:
    """Listens on 127.0.0.1 and keeps what it reads. `stop` closes all, `start` listens on the same port again."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.versions: list[str | None] = []  # of TLS
        self.on_frame: Callable[[], bool] | None = None  # whether to keep the frame and go on
        self._context = context
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.add(connection)
                self._spawn(self._serve, connection)

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(raw, server_side=True)
                self._connections.add(connection)
                self.versions.append(connection.version())
            frames = Frames()
            while data := connection.recv(65536):
                for frame in frames.feed(data):
                    if self.on_frame is not None and not self.on_frame():
                        return
                    self.received.append(parse(frame))
            if isinstance(connection, ssl.SSLSocket):
                connection.unwrap().close()
        except (OSError, ValueError):  # a connection that was closed under it
            pass
        finally:
            raw.close()
            connection.close()

    def stop(self) -> None:
        """As a server that is killed: every connection breaks."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                connection.close()
        self._connections.clear()

    def ids(self) -> list[str | None]:
        return [each.id for each in list(self.received)]


@contextlib.contextmanager
def syslog_server(context: ssl.SSLContext | None = None) -> Iterator[SyslogServer]:
    server = SyslogServer(context)
    try:
        yield server
    finally:
        server.stop()
