"""TLS at a listener, with clients of Python's ssl: who gets in, who does not and what the ledger says of it."""

import contextlib
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests import tls
from tests.integration.listener.conftest import RunningListener, Start
from tests.integration.listener.peers import ECHO, RELEASE, STORE, Peer, associate_rq, bytewise, p_data
from tests.integration.listener.tls_peers import TlsPeer, configure, is_refused, refusals, refused, serve

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
        for byte in bytewise(associate_rq() + p_data(ECHO)):
            peer.sock.sendall(byte)
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
