"""The connection to a syslog server: TCP, TLS, and servers that go away."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noctis.audit.messages import Writer
from noctis.audit.rows import EventRow, Studies
from noctis.audit.syslog import Sender, encode
from noctis.errors import ConfigError
from noctis.sections import AuditSettings
from tests.auditing import SyslogServer, syslog_server
from tests.integration.audit.certificates import Authority
from tests.support import wait_for


def frame(action: str = "x.done") -> bytes:
    writer = Writer(source="noctis", host="h", ae_title="NOCTIS_SERVER", patients=True)
    (message,) = writer.event(EventRow(1, datetime.now(UTC), "alice", action, "", {}), Studies())
    return encode(message, "h")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def server() -> Iterator[SyslogServer]:
    with syslog_server() as made:
        yield made


def sender(server: SyslogServer, scheme: str = "tcp", host: str = "127.0.0.1", **settings: Path) -> Sender:
    return Sender(AuditSettings(syslog=f"{scheme}://{host}:{server.port}", **settings))


def test_frames_by_tcp(server: SyslogServer) -> None:
    made = sender(server)
    made.connect()
    made.connect()
    made.send([frame()] * 500)
    wait_for(lambda: len(server.received) == 500)
    assert {each.priority for each in server.received} == {85}
    wait_for(made.drained)
    assert made.alive()
    assert made.finish()
    assert not made.connected
    assert not made.alive()


def test_frames_by_tls(authority: Authority) -> None:
    with syslog_server(authority.server()) as server:
        made = sender(server, "tls", "localhost", ca=authority.certificate)
        made.connect()
        made.send([frame()] * 500)
        wait_for(lambda: len(server.received) == 500)
        assert made.alive()
        wait_for(made.drained)
        assert server.versions == ["TLSv1.3"]
        assert made.finish()


def test_a_certificate_of_our_own(authority: Authority) -> None:
    certificate, key = authority.issue("noctis")
    with syslog_server(authority.server(clients=True)) as server:
        made = sender(server, "tls", ca=authority.certificate, certificate=certificate, private_key=key)
        made.connect()
        made.send([frame()])
        wait_for(lambda: len(server.received) == 1)
        made.close()
        without = sender(server, "tls", ca=authority.certificate)
        without.connect()  # TLS 1.3 has no answer to a client's certificate: the server hangs up
        wait_for(lambda: not without.alive(), what="the server to hang up")
        without.close()


@pytest.mark.parametrize("wrong", ["name", "authority", "version"])
def test_a_server_that_is_not_the_right_one(authority: Authority, tmp_path: Path, wrong: str) -> None:
    context = authority.server("DNS:another.example" if wrong == "name" else "DNS:localhost,IP:127.0.0.1")
    ca = Authority.make(tmp_path / "other").certificate if wrong == "authority" else authority.certificate
    if wrong == "version":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with syslog_server(context) as server:
        made = sender(server, "tls", ca=ca)
        with pytest.raises(OSError):
            made.connect()
        assert not made.connected
        assert server.received == []


def test_files_that_cannot_be_used(server: SyslogServer, authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        sender(server, "tls", ca=tmp_path / "none.pem").connect()
    with pytest.raises(ConfigError, match="No such file"):
        sender(server, "tls", ca=tmp_path / "none.pem").check()
    sender(server, "tls", ca=authority.certificate).check()
    sender(server, "tcp").check()
    certificate, key = authority.issue("locked")
    locked = tmp_path / "locked.key"
    authority._openssl("pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked))
    with pytest.raises(ConfigError, match="passphrase"):
        sender(server, "tls", certificate=certificate, private_key=locked).connect()


def test_a_server_that_hangs_up_is_noticed_before_anything_is_sent(server: SyslogServer) -> None:
    made = sender(server)
    made.connect()
    wait_for(lambda: bool(server._connections))
    assert made.alive()
    server.hang_up()
    wait_for(lambda: not made.alive())
    made.close()


def test_what_the_servers_machine_has_not_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made = Sender(AuditSettings(syslog=f"tcp://127.0.0.1:{deaf.getsockname()[1]}"))
        made.connect()
        assert made._sock is not None
        made._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        made.send([b"x" * 400_000])
        assert not made.drained()
        assert not made.finish()


def test_nobody_is_there(server: SyslogServer) -> None:
    server.stop()
    with pytest.raises(OSError):
        sender(server).connect()


def test_ports_when_none_is_named() -> None:
    for url, port in (("tcp://h", 601), ("tls://h", 6514), ("tls://[::1]:7", 7)):
        assert Sender(AuditSettings(syslog=url))._address[1] == port
