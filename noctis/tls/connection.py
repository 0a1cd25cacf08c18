"""TLS over a socket that stays a plain, blocking one: OpenSSL sees bytes in memory, never the socket.

Python's own TLS socket waits inside one call until a whole record has come, however slowly, and its `shutdown` takes
TLS away under a thread that reads. Here each `recv` of the socket is one call of ours: SO_RCVTIMEO and SO_SNDTIMEO tick
as without TLS (`listener.pdu`), deadlines hold however a peer drips, and another thread may wake the reader by
`shutdown`. A record is 16 KiB, so that one `recv` of the socket brings several.
"""

import contextlib
import hashlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

RECEIVE_BYTES = 64 << 10  # of one recv: four records


class HandshakeFailed(Exception):
    """The peer was told by a TLS alert; `error` says why."""

    def __init__(self, error: ssl.SSLError) -> None:
        super().__init__(str(error))
        self.error = error


class HandshakeEnded(Exception):
    """The peer closed the connection before the handshake was over."""


class HandshakeTimedOut(Exception):
    """It was begun and not finished in time."""


@dataclass(frozen=True)
class PeerCertificate:
    """A client certificate that was verified."""

    fingerprint: str  # SHA-256 of the DER form, hex
    subject: str  # RFC 4514
    issuer: str


class TlsConnection:
    """What of a socket the receiving side uses, over TLS. Reading and writing are one thread's."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._raw = bytearray(RECEIVE_BYTES)
        self._raw_view = memoryview(self._raw)
        self._ahead = b""  # read by `has_input`
        self._ended = False  # the peer has said that it sends no more
        self._closing = False

    # -- the handshake

    def handshake(self, deadline: float) -> None:
        """Wait for it until `deadline` (monotonic); SO_RCVTIMEO says how often that is looked at.

        Raises
        ------
        HandshakeFailed, HandshakeEnded, HandshakeTimedOut
        OSError
            The connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError as error:
                self._closing = True
                with contextlib.suppress(OSError):
                    self._flush()  # the alert
                raise HandshakeFailed(error) from error
            while not self._receive():
                if time.monotonic() >= deadline:
                    raise HandshakeTimedOut
                if self._ended:
                    raise HandshakeEnded
            if time.monotonic() >= deadline:  # however steadily it drips
                raise HandshakeTimedOut

    def peer(self) -> PeerCertificate | None:
        """The client's certificate, where one was asked for and shown."""
        der = self._tls.getpeercert(binary_form=True)
        if not der:
            return None
        read = self._tls.getpeercert() or {}
        return PeerCertificate(
            hashlib.sha256(der).hexdigest(), _name(read.get("subject", ())), _name(read.get("issuer", ()))
        )

    @property
    def version(self) -> str:
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        found = self._tls.cipher()
        return found[0] if found else ""

    # -- reading

    def recv_into(self, view: memoryview) -> int:
        """At most one recv of the socket; as much as it brought and `view` takes. 0: the peer has ended.

        Raises
        ------
        BlockingIOError
            A tick passed, or what came is not a whole record yet.
        OSError
            The connection, or TLS on it, broke.
        """
        if self._ahead:
            count = min(len(view), len(self._ahead))
            view[:count], self._ahead = self._ahead[:count], self._ahead[count:]
            return count
        count = self._decrypt(view)
        if count or self._ended:
            return count
        if not self._receive() and not self._ended:
            raise BlockingIOError
        count = self._decrypt(view)
        if not count and not self._ended:
            raise BlockingIOError
        return count

    def has_input(self) -> bool:
        """Whether data, or the end, has come. Does not wait."""
        if self._ahead or self._ended:
            return True
        try:
            self._receive(socket.MSG_DONTWAIT)
            piece = bytearray(RECEIVE_BYTES)
            self._ahead = bytes(piece[: self._decrypt(memoryview(piece))])
        except OSError:
            return True  # `recv_into` finds it too
        return bool(self._ahead) or self._ended

    def recv(self, size: int) -> bytes:
        """Bytes of the socket itself: what still comes after our last word is thrown away, not decrypted."""
        return self._socket.recv(size)

    def _receive(self, flags: int = 0) -> bool:
        """One recv of the socket; False: a tick without a byte, or the end."""
        try:
            count = self._socket.recv_into(self._raw, 0, flags)
        except BlockingIOError:
            return False
        if not count:
            self._ended = True
            return False
        self._incoming.write(self._raw_view[:count])
        return True

    def _decrypt(self, view: memoryview) -> int:
        got = 0
        try:
            while got < len(view):
                count = self._tls.read(len(view) - got, view[got:])
                if not count:
                    self._ended = True
                    break
                got += int(count)
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        except ssl.SSLError as error:
            self._closing = True
            with contextlib.suppress(OSError):
                self._flush()
            raise ConnectionResetError(0, f"TLS broke: {(error.reason or str(error)).lower()}") from None
        if self._outgoing.pending:
            self._answer()
        return got

    def _answer(self) -> None:
        """What TLS has to say of its own while we read (a key update)."""
        try:
            self._flush()
        except BlockingIOError:
            raise ConnectionResetError(0, "the peer does not read what TLS answers") from None

    # -- writing

    def sendall(self, data: bytes) -> None:
        """Raises BlockingIOError when the peer has not read for SO_SNDTIMEO."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        self._flush()

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())

    def _say_goodbye(self) -> None:
        """close_notify, where it can be sent at once: nobody waits for it."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(OSError, ValueError):
            try:
                self._tls.unwrap()
            except ssl.SSLWantReadError:
                pass  # of the peer's own, which is not waited for
            self._socket.send(self._outgoing.read(), socket.MSG_DONTWAIT)

    # -- the socket's own

    def shutdown(self, how: int) -> None:
        """SHUT_WR, from the association's own thread, ends TLS in order before; the others only wake who reads."""
        if how == socket.SHUT_WR:
            self._say_goodbye()
        self._socket.shutdown(how)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._say_goodbye()
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def setsockopt(self) -> Callable[[int, int, int | bytes], None]:
        return self._socket.setsockopt


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "domainComponent": "DC",
}


def _name(parts: object) -> str:
    """A name of `getpeercert` on one line, the last part first, as RFC 4514 has it."""
    pairs = [pair for group in parts for pair in group] if isinstance(parts, tuple) else []
    text = ",".join(f"{_SHORT.get(key, key)}={value}" for key, value in reversed(pairs))
    return "".join(each if each.isprintable() else "?" for each in text)
