"""Whose a client's certificate is, and certificates that change while a listener runs."""

import contextlib
import socket
import ssl
from pathlib import Path

from noctis.facilities.snapshot import ClientCertificate
from noctis.tls.issuing import issue_to_ourselves
from tests import tls
from tests.integration.listener.conftest import Start
from tests.integration.listener.peers import STORE, Peer, p_data
from tests.integration.listener.tls_peers import TlsPeer, configure, is_refused, refusals, refused, serve, served


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
