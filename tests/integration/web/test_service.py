"""The server as it runs: real connections, slow peers, TLS, proxies, SIGTERM's half of it."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from noctis.config import Settings
from noctis.errors import ConfigError, SupervisorError
from noctis.observability.scoreboard import Scoreboard
from noctis.web import protocol, service
from noctis.web.site import Site
from tests import tls
from tests.support import free_port, wait_for


@pytest.fixture
def backend() -> str:
    return "sqlite"


def with_web(settings: Settings, **values: object) -> Settings:
    return settings.model_copy(update={"web": settings.web.model_copy(update={"port": free_port(), **values})})


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[uvicorn.Server]:
    """The pages on a port of their own, in a thread of this process."""
    site = Site(settings)
    server = service.make_server(site)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # which are the main thread's
    sock = service.bind(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        wait_for(lambda: server.started, what="the server")
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        sock.close()
        assert not thread.is_alive()


def connect(settings: Settings) -> socket.socket:
    return socket.create_connection(("127.0.0.1", settings.web.port), timeout=30)


def read_all(sock: socket.socket) -> bytes:
    """What comes until the other side ends the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            found += part
    return found


# -- slow peers


@pytest.mark.parametrize("sent", [b"", b"GET /login HT", b"GET /login HTTP/1.1\r\nHost: noctis\r\nX-A: b"])
def test_a_request_that_does_not_come_to_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.3)
    settings = with_web(settings)
    with serving(settings) as server, connect(settings) as sock:
        sock.sendall(sent)
        assert read_all(sock) == b""
        wait_for(lambda: not server.server_state.connections, what="the connection to be forgotten")


def test_a_header_a_while_does_not_prolong_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.5)
    settings = with_web(settings)
    with serving(settings), connect(settings) as sock:
        sock.sendall(b"GET /login HTTP/1.1\r\nHost: noctis\r\n")
        sock.settimeout(0.05)

        def cut_off() -> bool:
            try:
                sock.sendall(b"X-A: b\r\n")
                return sock.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_for(cut_off, seconds=10, what="the end of the connection")


def test_a_body_that_does_not_come_to_its_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.3)
    settings = with_web(settings)
    with serving(settings), connect(settings) as sock:
        sock.sendall(b"POST /login HTTP/1.1\r\nHost: noctis\r\nContent-Length: 100\r\n")
        sock.sendall(b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=a")
        assert read_all(sock) == b""


def test_somebody_who_takes_no_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS", 0.3)
    settings = with_web(settings)
    with serving(settings) as server, connect(settings) as sock:
        asked = b"GET /static/vendor/swagger-ui-bundle.js HTTP/1.1\r\nHost: noctis\r\n\r\n"
        sock.sendall(asked * 40)  # more than any buffer on the way takes
        wait_for(lambda: not server.server_state.connections, what="the connection to be given up")


def test_requests_on_one_connection_one_after_the_other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 5.0)
    settings = with_web(settings)
    with serving(settings), httpx2.Client(base_url=f"http://127.0.0.1:{settings.web.port}", timeout=60) as client:
        for _ in range(3):
            assert client.get("/login", timeout=60).status_code == 200
            assert client.post("/login", data={"name": "a"}).status_code in (401, 429)
    with serving(settings), connect(settings) as sock:  # and all at once
        sock.sendall(b"GET /login HTTP/1.1\r\nHost: noctis\r\n\r\n" * 2)
        sock.sendall(b"GET /login HTTP/1.1\r\nHost: noctis\r\nConnection: close\r\n\r\n")
        assert read_all(sock).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /login HT",
        b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 9\r\n\r\n",
    ],
    ids=["nothing", "a head", "a body"],
)
def test_whoever_holds_connections_makes_room(settings: Settings, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 3)
    settings = with_web(settings)
    with serving(settings) as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(settings)) for _ in range(3)]
        for each in held:
            each.sendall(sent)
        wait_for(lambda: len(server.server_state.connections) == 3, what="three connections")
        assert httpx2.get(f"http://127.0.0.1:{settings.web.port}/login", timeout=60).status_code == 200
        assert read_all(held[0]) == b""
        assert len(server.server_state.connections) <= 3


def test_whoever_takes_no_answer_makes_room(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 3)
    settings = with_web(settings)
    with serving(settings) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(connect(settings))
            sock.sendall(b"GET /static/vendor/swagger-ui-bundle.js HTTP/1.1\r\nHost: noctis\r\n\r\n" * 40)
        connections = server.server_state.connections
        wait_for(lambda: sum(each.flow.write_paused for each in connections) == 3, what="three that take nothing")
        assert httpx2.get(f"http://127.0.0.1:{settings.web.port}/login", timeout=60).status_code == 200


def test_handshakes_that_do_not_come_to_their_end_make_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 3)
    files = tls.write(tls.server(), tmp_path, "web")
    settings = with_web(settings, certificate=files.certificate, private_key=files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with serving(settings), contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(settings)) for _ in range(3)]
        held[2].sendall(b"\x16\x03\x01")
        for _ in range(3):
            assert _version(settings, context) in ("TLSv1.2", "TLSv1.3")
        assert read_all(held[0]) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * protocol.HEAD_MAX * 2 + b"\r\n\r\n",
        b"GET http://evil.test/login HTTP/1.1\r\nHost: \r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nname=",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS where there is none
        b"\r\n\r\n\r\n",
    ],
)
def test_what_is_no_request(settings: Settings, sent: bytes) -> None:
    settings = with_web(settings)
    with serving(settings), connect(settings) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        assert httpx2.get(f"http://127.0.0.1:{settings.web.port}/login", timeout=60).status_code == 200


def test_no_request_hides_in_anothers_body(settings: Settings) -> None:
    settings = with_web(settings)
    hidden = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(settings), connect(settings) as sock:
        sock.sendall(
            b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            + hidden
        )
        answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1") == 1


def test_a_stop_does_not_wait_for_idle_connections(settings: Settings) -> None:
    settings = with_web(settings)
    with contextlib.ExitStack() as stack:
        with serving(settings):
            idle = stack.enter_context(connect(settings))
            idle.sendall(b"GET /login HTTP/1.1\r\nHost: noctis\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            begun = stack.enter_context(connect(settings))
            begun.sendall(b"GET /login HT")
        read_all(idle)  # `serving` has seen the end of the server
        read_all(begun)


# -- TLS


def test_https(settings: Settings, tmp_path: Path) -> None:
    files = tls.write(tls.server(), tmp_path, "web")
    settings = with_web(settings, certificate=files.certificate, private_key=files.key)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(tls.authority(tls.CA).certificate_pem)
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with serving(settings), httpx2.Client(verify=context, timeout=60) as client:
        answer = client.get(f"https://localhost:{settings.web.port}/login")
        assert answer.status_code == 200
        assert "strict-transport-security" in answer.headers
        with connect(settings) as plain:
            plain.sendall(b"GET /login HTTP/1.1\r\nHost: noctis\r\n\r\n")
            assert b"200" not in read_all(plain)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        assert _version(settings, old) in ("TLSv1.2", "TLSv1.3")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            _version(settings, old)


def _version(settings: Settings, context: ssl.SSLContext) -> str | None:
    with connect(settings) as sock, context.wrap_socket(sock) as wrapped:
        return wrapped.version()


def test_certificates_that_do_not_do(settings: Settings, tmp_path: Path) -> None:
    files, other = tls.write(tls.server(), tmp_path, "web"), tls.write(tls.server("other"), tmp_path, "other")
    wrong = [(files.certificate, None), (files.certificate, other.key), (tmp_path / "none.pem", files.key)]
    for certificate, key in wrong:
        with pytest.raises(ConfigError) as caught:
            service.run(with_web(settings, certificate=certificate, private_key=key), Scoreboard())
        assert caught.value.fix


def test_a_port_that_is_taken(settings: Settings) -> None:
    settings = with_web(settings)
    with service.bind(settings), pytest.raises(SupervisorError, match="held by pid") as caught:
        service.run(settings, Scoreboard())
    assert "web.port" in str(caught.value.fix)
