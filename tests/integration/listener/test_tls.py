"""TLS at a listener, with clients of Python's ssl: who gets in, who does not and what the ledger says of it, limits."""

import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noctis.facilities.snapshot import ClientCertificate, Facility
from noctis.listener import process
from noctis.repository.journal import take
from noctis.tls.issuing import issue_to_ourselves
from tests import tls
from tests.integration.listener.conftest import CENTRAL, RunningListener
from tests.integration.listener.peers import ECHO, RELEASE, STORE, Peer, associate_rq, p_data
from tests.support import wait_for

Start = Callable[..., RunningListener]


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


@pytest.fixture
def sender(tmp_path: Path) -> tls.Files:
    return tls.write(tls.client(), tmp_path, "sender")


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


# -- who gets in


def test_an_association_over_tls(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender) as peer:
        assert peer.associate()[0] == 2
        assert peer.echo()[0] == 4
        peer.sock.sendall(RELEASE)
        assert peer.read()[0] == 6
        assert peer.read() == (0, b"")  # and close_notify: a ragged end would be an error here
    assert refusals(listener) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_echo_byte_by_byte(start: Start, sender: tls.Files, version: ssl.TLSVersion) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender, version=version) as peer:
        assert peer.sock.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
        for byte in associate_rq() + p_data(ECHO):
            peer.sock.sendall(bytes((byte,)))
        assert peer.read()[0] == 2
        assert peer.read()[0] == 4


def test_pdus_of_many_records_and_many_pdus_in_one(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender) as peer:
        assert peer.associate()[0] == 2
        peer.sock.sendall(p_data(ECHO) * 50)
        assert [peer.read()[0] for _ in range(50)] == [4] * 50
        body = os.urandom(300_000)
        pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        peer.sock.sendall(p_data(STORE, context=3))
        for number, piece in enumerate(pieces):
            peer.sock.sendall(p_data(piece, control=2 if number == 2 else 0, context=3))
        assert peer.read()[0] == 4
    (kept,) = listener.quarantined()  # random bytes are no data set: kept whole
    assert kept.read_bytes().endswith(body)


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_cipher_suites_that_are_allowed(start: Start, sender: tls.Files, cipher: str) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender, ciphers=cipher) as peer:
        assert peer.sock.cipher()[0] == cipher
        assert peer.associate()[0] == 2


def test_certificates_off_and_optional(start: Start, tmp_path: Path, sender: tls.Files) -> None:
    listener = serve(start, client_certificates="off")
    with TlsPeer(listener) as peer:
        assert peer.associate()[0] == 2
    configure(listener, client_certificates="optional")
    for shown in (None, sender):
        with TlsPeer(listener, shown) as peer:
            assert peer.associate()[0] == 2
    assert refusals(listener) == []
    strange = tls.write(tls.client("Strange", "Other CA"), tmp_path, "strange")
    assert is_refused(listener, strange)
    assert "unknown CA" in refused(listener)["reason"]


# -- who does not


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("made", "reason", "fix"),
    [
        (None, "shows no client certificate", "edit central --client-certificates off"),
        (lambda: tls.client("Strange", "Other CA"), "unknown CA", "tls.client_ca"),
        (lambda: tls.client("Old", days=-0.5, begins=-3), "has expired", "noctis tls issue central"),
        (lambda: tls.client("Early", begins=2), "not valid yet", "clocks"),
        (lambda: tls.authority("Alone"), "self-signed", "tls.client_ca"),
        (lambda: tls.server("A server"), "not made for TLS clients", "noctis tls issue central"),
        (lambda: tls.signed_by(tls.client("Signer"), "Forged"), "unknown CA", "tls.client_ca"),
    ],
)
def test_a_certificate_that_will_not_do(
    start: Start, tmp_path: Path, version: ssl.TLSVersion, made: Any, reason: str, fix: str
) -> None:
    listener = serve(start)
    shown = None if made is None else tls.write(made(), tmp_path, "shown")
    assert is_refused(listener, shown, version=version)
    record = refused(listener)
    assert reason in record["reason"]
    assert fix in record["fix"]
    assert record["address"] == "127.0.0.1"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_and_weak_suites(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    assert is_refused(listener, sender, ciphers="ECDHE+SHA256:!AESGCM")
    assert "no cipher suite that is allowed" in refused(listener)["reason"]
    with contextlib.suppress(OSError):
        TlsPeer(listener, sender, ciphers="ALL:@SECLEVEL=0", version=ssl.TLSVersion.TLSv1_1).sock.close()
    assert "old version of TLS" in refused(listener)["reason"]


def test_a_client_that_does_not_trust_us(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(sender.certificate, sender.key)
    with socket.create_connection(("127.0.0.1", listener.port)) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock, server_hostname="localhost")
    assert "does not accept the server's certificate" in refused(listener)["reason"]


def test_plain_dicom_at_a_tls_port(start: Start) -> None:
    listener = serve(start)
    with Peer(listener) as peer:
        kind, content = peer.associate(called="CENTRAL", calling="OLD_CT")
        assert (kind, tuple(content[1:4])) == (3, (1, 1, 1))
        assert peer.read() == (0, b"")
    record = refused(listener)
    assert (record["called"], record["calling"]) == ("CENTRAL", "OLD_CT")
    assert record["reason"] == "a plain DICOM connection at a TLS port"
    assert "noctis facility edit central --tls off" in record["fix"]


def test_tls_at_a_plain_port(listener: RunningListener, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", listener.port)) as sock, pytest.raises(OSError):
        context.wrap_socket(sock)
    record = refused(listener)
    assert record["reason"] == "a TLS connection at a port without TLS"
    assert "noctis facility edit central --tls on" in record["fix"]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 64, b"\xc5\xd9" + b"x" * 90])
def test_neither_tls_nor_dicom(start: Start, data: bytes) -> None:
    listener = serve(start)
    with Peer(listener) as peer:
        peer.sock.sendall(data)
        with contextlib.suppress(ConnectionError):
            while peer.sock.recv(4096):
                pass
    assert refused(listener)["reason"]


def test_a_connection_without_a_word_is_no_refusal(start: Start) -> None:
    listener = serve(start)
    Peer(listener).sock.close()
    assert refusals(listener) == []


# -- whose certificate it is


def test_a_bound_certificate(start: Start, tmp_path: Path, sender: tls.Files) -> None:
    listener = serve(start, certificates=(ClientCertificate(sender.fingerprint, "CT1"),))
    other = tls.write(tls.client("Other"), tmp_path, "other")
    with TlsPeer(listener, sender) as peer:
        assert peer.associate(calling="CT1")[0] == 2
    with TlsPeer(listener, sender) as peer:
        kind, content = peer.associate(calling="MR1")
        assert (kind, tuple(content[1:4])) == (3, (1, 1, 3))
    with TlsPeer(listener, other) as peer:
        assert peer.associate(calling="CT1")[0] == 3
    records = refusals(listener, 2)
    assert "for the calling AE title 'CT1' alone, not for 'MR1'" in records[0]["reason"]
    assert "takes bound ones alone" in records[1]["reason"]
    assert f"noctis tls bind central {other.fingerprint}" in records[1]["fix"]


def test_our_own_certificate_may_ask_for_an_echo_and_sign_nothing(start: Start, tmp_path: Path) -> None:
    bound = tls.client("Bound")
    listener = serve(start, certificates=(ClientCertificate(tls.write(bound, tmp_path, "b").fingerprint),))
    made = issue_to_ourselves()
    (listener.home.tls / "self.pem").write_bytes(made.key_pem + made.certificate_pem)
    with TlsPeer(listener, tls.write(made, tmp_path, "self")) as peer:
        assert peer.associate()[0] == 2
        assert peer.echo()[0] == 4
        peer.sock.sendall(p_data(STORE, context=3))  # the context of storage was not accepted
        assert peer.read()[0] == 7
    assert is_refused(listener, tls.write(tls.signed_by(made, "Forged"), tmp_path, "forged"))
    assert is_refused(listener, tls.write(issue_to_ourselves(), tmp_path, "another"))
    assert len(refusals(listener, 2)) == 2


# -- certificates that change


def test_tls_is_switched_on_without_a_restart_and_what_is_missing_is_said(start: Start, sender: tls.Files) -> None:
    listener = start()
    with Peer(listener) as peer:
        assert peer.associate()[0] == 2
    configure(listener)
    with Peer(listener) as peer:
        peer.sock.sendall(b"\x16\3\1\0\5hello")
        assert peer.sock.recv(100)[:3] == b"\x15\3\3"
    record = refused(listener)
    assert "no server certificate" in record["reason"]
    assert record["fix"] == "noctis tls issue --server"
    with Peer(listener) as peer:
        assert peer.associate(calling="CT1")[0] == 3
    assert refused(listener)["calling"] == "CT1"
    tls.write(tls.server(), listener.home.tls, "server")
    with Peer(listener) as peer:
        peer.sock.sendall(b"\x16\3\1\0\5hello")
        peer.sock.recv(100)
    assert "noctis tls make-ca" in refused(listener)["fix"]
    (listener.home.tls / "ca.pem").write_bytes(tls.authority(tls.CA).certificate_pem)
    with TlsPeer(listener, sender) as peer:
        assert peer.associate()[0] == 2


def served(listener: RunningListener, sender: tls.Files) -> str:
    """The common name of the certificate that is served."""
    with TlsPeer(listener, sender) as peer:
        found = dict(pair for group in peer.sock.getpeercert()["subject"] for pair in group)
        assert peer.associate()[0] == 2
        return str(found["commonName"])


def test_certificates_are_read_again_and_broken_ones_leave_the_last_good(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    folder = listener.home.tls
    assert served(listener, sender) == "localhost"
    tls.write(tls.server("renewed"), folder, "server")
    assert served(listener, sender) == "renewed"
    (folder / "server.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken\n")
    assert served(listener, sender) == "renewed"
    assert "stays in force" in listener.scoreboard.read().last_error
    (folder / "server.pem").unlink()
    assert served(listener, sender) == "renewed"
    tls.write(tls.server("third"), folder, "server")
    assert served(listener, sender) == "third"
    tls.write(tls.server("its own"), folder / "facilities", "central")
    assert served(listener, sender) == "its own"
    assert refusals(listener) == []


def test_a_ca_that_is_taken_away_from_the_file_lets_nobody_in_any_more(
    start: Start, tmp_path: Path, sender: tls.Files
) -> None:
    listener = serve(start)
    assert served(listener, sender) == "localhost"
    (listener.home.tls / "ca.pem").write_bytes(tls.authority("Other CA").certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(sender.certificate, sender.key)
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", listener.port)) as sock,
        context.wrap_socket(sock) as wrapped,
    ):
        assert wrapped.recv(1) == b""
    assert "unknown CA" in refused(listener)["reason"]


def test_the_last_good_context_is_never_weaker_than_what_is_asked_for(start: Start, sender: tls.Files) -> None:
    listener = serve(start, client_certificates="off")
    with TlsPeer(listener) as peer:
        assert peer.associate()[0] == 2
    (listener.home.tls / "server.pem").write_bytes(b"broken")
    configure(listener, client_certificates="required")
    assert is_refused(listener, None)
    assert "cannot be used" in refused(listener)["reason"]


# -- limits


def test_a_handshake_that_drips_is_cut_off(start: Start, sender: tls.Files) -> None:
    listener = serve(start, {"listeners": {"association_request_seconds": 0.5}})
    hello = handshake_bytes(listener)
    with Peer(listener) as peer, Peer(listener) as silent:
        stopped = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                for byte in hello:
                    peer.sock.sendall(bytes((byte,)))
                    if stopped.wait(0.02):
                        return

        dripper = threading.Thread(target=drip)
        dripper.start()
        with TlsPeer(listener, sender) as quick:  # and holds up nobody
            assert quick.associate()[0] == 2
        with contextlib.suppress(ConnectionError):
            assert peer.sock.recv(100) == b""
        assert silent.sock.recv(100) == b""
        stopped.set()
        dripper.join()
    assert "not finished in time" in refused(listener)["reason"]


def handshake_bytes(listener: RunningListener) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wanting = client_context(listener).wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        wanting.do_handshake()
    return outgoing.read()


def test_a_request_that_does_not_follow_the_handshake(start: Start, sender: tls.Files) -> None:
    listener = serve(start, {"listeners": {"association_request_seconds": 0.5}})
    with TlsPeer(listener, sender) as peer:
        assert peer.read()[0] == 7
        assert peer.read() == (0, b"")


def test_time_limits_hold_inside_an_association(start: Start, sender: tls.Files) -> None:
    listener = serve(start, {"listeners": {"idle_association_seconds": 0.3, "pdu_seconds": 0.3}})
    with TlsPeer(listener, sender) as idle:
        assert idle.associate()[0] == 2
        assert idle.read()[0] == 7
    with TlsPeer(listener, sender) as slow:
        assert slow.associate()[0] == 2
        stopped = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                for byte in p_data(ECHO + b"\0" * 5000):
                    slow.sock.sendall(bytes((byte,)))
                    if stopped.wait(0.02):
                        return

        dripper = threading.Thread(target=drip)
        dripper.start()
        assert slow.read()[0] == 7
        stopped.set()
        dripper.join()


def test_half_a_record_is_no_data(start: Start, sender: tls.Files) -> None:
    """A peer that drips the bytes of one TLS record is cut off too."""
    listener = serve(start, {"listeners": {"idle_association_seconds": 0.4}})
    raw = socket.create_connection(("127.0.0.1", listener.port), timeout=10)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wanting = client_context(listener, sender).wrap_bio(incoming, outgoing)
    while True:
        try:
            wanting.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(65536))
    wanting.write(associate_rq())
    raw.sendall(outgoing.read())
    assert raw.recv(65536)
    wanting.write(p_data(ECHO + b"\0" * 10_000))
    record = outgoing.read()
    stopped = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in record[:-1]:
                raw.sendall(bytes((byte,)))
                if stopped.wait(0.02):
                    return

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        assert raw.recv(65536)  # the A-ABORT
        assert dripper.is_alive()
        wait_for(lambda: not listener.listener.live, what="the association's end")
    finally:
        stopped.set()
        dripper.join()
        raw.close()


def test_draining_over_tls(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender) as idle, TlsPeer(listener, sender) as busy, Peer(listener) as unfinished:
        assert idle.associate()[0] == 2
        busy.associate()
        busy.sock.sendall(p_data(STORE, context=3) + p_data(b"x" * 100, control=0, context=3))
        wait_for(listener.unfinished, what="the instance in flight")
        unfinished.sock.sendall(handshake_bytes(listener)[:20])
        listener.stop.set()
        drainer = threading.Thread(target=process.drain, args=(listener.listener, 10.0))
        drainer.start()
        assert idle.read()[0] == 7
        busy.sock.sendall(p_data(b"x" * 100, control=2, context=3))
        kind, content = busy.read()
        assert kind == 4
        assert struct.pack("<HHIH", 0, 0x100, 2, 0x8001) in content
        assert busy.read()[0] == 7
        assert unfinished.sock.recv(10) == b""
        drainer.join()
    assert refusals(listener) == []


def test_renegotiation_is_refused_and_resumption_too(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    context = client_context(listener, sender, version=ssl.TLSVersion.TLSv1_3)
    with socket.create_connection(("127.0.0.1", listener.port)) as raw, context.wrap_socket(raw) as first:
        first.sendall(associate_rq())
        assert first.recv(1)
        assert first.session is None or not first.session.has_ticket


def test_failed_handshakes_leave_nothing(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender) as peer:
        assert peer.associate()[0] == 2
    wait_for(lambda: not listener.listener.live, what="its end")
    held = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(30):
        assert is_refused(listener)
        with Peer(listener) as peer:
            peer.sock.sendall(handshake_bytes(listener)[:30])
    wait_for(lambda: not listener.listener.live, what="their ends")
    wait_for(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) == held, what="nothing that is left")
    assert len(refusals(listener, 60)) == 60
