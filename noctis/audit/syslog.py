"""Syslog (RFC 5424) over TCP with octet counting (RFC 6587 §3.4.1) or over TLS (RFC 5425, PS3.15 A.6).

Syslog has no acknowledgement. What can be known is looked at: `alive` sees that the server has closed its end or is
gone, `drained` that its machine has acknowledged every byte, `finish` that it has read to the end. Raises `OSError`
(TLS's errors are) when something cannot be sent; what was not sent whole must be sent again.
"""

import contextlib
import fcntl
import os
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from urllib.parse import urlsplit

from noctis.audit.xml import Message, Outcome
from noctis.errors import ConfigError
from noctis.sections import AuditSettings

PORTS = {"tcp": 601, "tls": 6514}  # RFC 3195 §9.2 (syslog-conn), RFC 5425 §4.1
FACILITY = 10  # security/authorization messages, PS3.15 A.6
NOTICE, WARNING = 5, 4  # severities, PS3.15 A.6
APP_NAME, MESSAGE_ID = "noctis", "DICOM+RFC3881"
BOM = b"\xef\xbb\xbf"  # RFC 5424 §6.4: what follows is UTF-8
CONNECT_SECONDS = 10.0
SEND_SECONDS = 20.0  # without any progress
FINISH_SECONDS = 2.0
_PIECE = 64 << 10  # bytes handed over at once
_READS_MAX = 16  # a server has nothing to say


def encode(message: Message, host: str) -> bytes:
    """The message as one frame. The time is the event's, not that of sending."""
    priority = FACILITY * 8 + (NOTICE if message.outcome is Outcome.SUCCESS else WARNING)
    at = message.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f"<{priority}>1 {at} {_printable(host)} {APP_NAME} {os.getpid()} {MESSAGE_ID} - ".encode("ascii")
    text = head + BOM + message.xml.encode("utf-8", "replace")
    return b"%d " % len(text) + text


def _printable(host: str) -> str:
    """HOSTNAME: 1 to 255 characters of printable US-ASCII."""
    return "".join(each if "!" <= each <= "~" else "?" for each in host)[:255] or "-"


class Sender:
    """A connection to `audit.syslog`, made when it is needed."""

    def __init__(self, settings: AuditSettings) -> None:
        assert settings.syslog is not None
        self._settings = settings
        parts = urlsplit(settings.syslog)
        self._tls = parts.scheme == "tls"
        self._address = (parts.hostname or "", parts.port or PORTS[parts.scheme])
        self._sock: socket.socket | None = None

    @property
    def connected(self) -> bool:
        return self._sock is not None

    def connect(self) -> None:
        """Does nothing when there is a connection.

        Raises
        ------
        OSError
            Nobody answers, or (TLS) it is not the server that it should be.
        ConfigError
            A file of `audit.ca`, `audit.certificate`, `audit.private_key` cannot be used.
        """
        if self._sock is not None:
            return
        context = self._context() if self._tls else None
        sock = socket.create_connection(self._address, CONNECT_SECONDS)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=self._address[0])
            sock.settimeout(SEND_SECONDS)
        except BaseException:
            sock.close()
            raise
        self._sock = sock

    def check(self) -> None:
        """Whether the files of TLS can be used; connects nobody.

        Raises
        ------
        ConfigError
            They cannot.
        """
        if self._tls:
            self._context()

    def _context(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=_path(settings.ca))  # verifies chain and host name
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if (certificate := _path(settings.certificate)) is not None:
                context.load_cert_chain(certificate, _path(settings.private_key), password=_no_password)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or str(error)
            raise ConfigError(
                f"the audit server's TLS cannot be set up: {reason}",
                fix="audit.ca, audit.certificate and audit.private_key must name PEM files that can be read; a key "
                "without a passphrase",
            ) from error
        return context

    def alive(self) -> bool:
        """Whether the server has neither closed its end nor gone, as far as is known here."""
        sock = self._sock
        if sock is None:
            return False
        sock.setblocking(False)
        try:
            for _ in range(_READS_MAX):
                if not sock.recv(4096):
                    return False
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            return False
        finally:
            sock.settimeout(SEND_SECONDS)
        return True

    def send(self, frames: Iterable[bytes]) -> None:
        """Hand all over to the kernel.

        Raises
        ------
        OSError
            Not all; how much is not known.
        """
        assert self._sock is not None
        pieces: list[bytes] = []
        size = 0
        for frame in frames:
            pieces.append(frame)
            size += len(frame)
            if size >= _PIECE:
                self._sock.sendall(b"".join(pieces))
                pieces, size = [], 0
        if pieces:
            self._sock.sendall(b"".join(pieces))

    def drained(self) -> bool:
        """Whether the server's machine has acknowledged every byte (SIOCOUTQ, tcp(7)); true without a connection."""
        if self._sock is None:
            return True
        unsent: int = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        return unsent == 0

    def finish(self) -> bool:
        """End the connection in order; whether the server has read all of it: it closed its end after ours."""
        sock = self._sock
        if sock is None:
            return False
        try:
            sock.settimeout(FINISH_SECONDS)
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap()  # close_notify, answered by one
                return True
            sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + FINISH_SECONDS
            while time.monotonic() < deadline:
                if not sock.recv(4096):
                    return True
        except OSError:
            pass
        finally:
            self.close()
        return False

    def close(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser())


def _no_password() -> str:
    """A key with a passphrase would ask for it on a terminal."""
    raise OSError("the private key has a passphrase")
