"""Clients and listeners that speak TLS, with Python's ssl, and what the ledger says of who is refused."""

import contextlib
import ssl
from typing import Any

from noctis.facilities.snapshot import Facility
from noctis.repository.journal import take
from tests import tls
from tests.integration.listener.conftest import CENTRAL, RunningListener, Start
from tests.integration.listener.peers import Peer, associate_rq
from tests.support import wait_for


class TlsPeer(Peer):
    """A client that says exactly the bytes it is told to, over TLS."""

    def __init__(self, listener: RunningListener, sender: tls.Files | None = None, **limits: Any) -> None:
        super().__init__(listener)
        try:
            context = client_context(listener, sender, **limits)
            self.sock = context.wrap_socket(self.sock, suppress_ragged_eofs=False)  # an end without close_notify fails
        except BaseException:
            self.sock.close()
            raise


def client_context(
    listener: RunningListener, sender: tls.Files | None = None, ciphers: str = "", version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(listener.home.tls / "ca.pem")
    if sender is not None:
        context.load_cert_chain(sender.certificate, sender.key)
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def serve(start: Start, sections: dict[str, dict[str, Any]] | None = None, **values: Any) -> RunningListener:
    """A listener of a facility whose port speaks TLS, with a server's certificate and a CA."""
    listener = start(**(sections or {}))
    tls.write(tls.server(), listener.home.tls, "server")
    (listener.home.tls / "ca.pem").write_bytes(tls.authority(tls.CA).certificate_pem)
    configure(listener, **values)
    return listener


def configure(listener: RunningListener, **values: Any) -> None:
    facility = {**CENTRAL.__dict__, "port": listener.port, "tls": "on", **values}
    listener.set_facilities(Facility(**facility))


def refusals(listener: RunningListener, count: int = 0) -> list[dict[str, Any]]:
    """What the ledger got since it was last asked, `count` at least."""
    found: list[dict[str, Any]] = []

    def taken() -> bool:
        for path, lines in take(listener.home.journal):
            found.extend(line for line in lines if line["kind"] == "refusal")
            path.unlink()
        return len(found) >= count and not listener.listener.live

    wait_for(taken, what=f"{count} refusals, and the connections' ends")
    return found


def refused(listener: RunningListener) -> dict[str, Any]:
    (record,) = refusals(listener, 1)
    return record


def is_refused(listener: RunningListener, sender: tls.Files | None = None, **limits: Any) -> bool:
    """Whether the handshake fails; in TLS 1.3 a client finds that out when it reads."""
    try:
        with TlsPeer(listener, sender, **limits) as peer:
            peer.sock.sendall(associate_rq())
            return peer.sock.recv(1) == b""
    except OSError:
        return True


def handshake_bytes(listener: RunningListener) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wanting = client_context(listener).wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        wanting.do_handshake()
    return outgoing.read()


def served(listener: RunningListener, sender: tls.Files) -> str:
    """The common name of the certificate that is served."""
    with TlsPeer(listener, sender) as peer:
        found = dict(pair for group in peer.sock.getpeercert()["subject"] for pair in group)
        assert peer.associate()[0] == 2
        return str(found["commonName"])
