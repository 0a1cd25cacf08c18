"""Where notifications go in tests: a real web server that answers as told, a real SMTP server, and a verifier of
signatures that shares nothing with ours."""

import base64
import email
import email.policy
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-eight bytes").decode()


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["data"]
        return found


def is_signed(posted: Posted, secret: str = SECRET) -> bool:
    """As standardwebhooks.com/spec says: one of the signatures is that of id.timestamp.body."""
    key = base64.b64decode(secret.split("_", 1)[-1])
    content = b".".join([posted.id.encode(), posted.headers["webhook-timestamp"].encode(), posted.body])
    expected = "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    fresh = abs(time.time() - int(posted.headers["webhook-timestamp"])) < 300
    return fresh and expected in posted.headers["webhook-signature"].split(" ")


class Receiver:
    """A web server. `answers` decides: a status, or something that does what it likes with the handler."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.posted: list[Posted] = []
        self.answer: int | Callable[[BaseHTTPRequestHandler, Posted], None] = 204
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                posted = Posted(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                receiver.posted.append(posted)
                if callable(receiver.answer):
                    receiver.answer(self, posted)
                    return
                self.send_response(receiver.answer)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "https" if context else "http"
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, kind: str) -> list[Posted]:
        return [each for each in self.posted if each.document["type"] == kind]


@contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    made = Receiver(context)
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Letter:
    """One message as the server got it."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    tls: bool
    user: str | None


@dataclass
class MailServer:
    """aiosmtpd; `refuse` is what it answers to recipients instead of taking them."""

    tls: ssl.SSLContext | None = None  # with STARTTLS
    implicit_tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    refuse: str | None = None
    letters: list[Letter] = field(default_factory=list)
    _controller: Any = None

    def start(self) -> None:
        outer = self

        class Hooks:
            async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
                self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
            ) -> str:
                if outer.refuse is not None:
                    return outer.refuse
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
                content = envelope.content
                assert isinstance(content, bytes)
                message = email.message_from_bytes(content, policy=email.policy.default)
                assert isinstance(message, EmailMessage)
                user = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else None
                secure = session.ssl is not None or outer.implicit_tls is not None
                outer.letters.append(Letter(str(envelope.mail_from), list(envelope.rcpt_tos), message, secure, user))
                return "250 OK"

        def authenticate(
            server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
        ) -> AuthResult:
            right = outer.login == (data.login.decode(), data.password.decode())
            return AuthResult(success=right, handled=right, auth_data=data if right else None)

        self._controller = Controller(
            Hooks(),
            hostname="127.0.0.1",
            port=_free_port(),
            ssl_context=self.implicit_tls,
            tls_context=self.tls,
            require_starttls=self.tls is not None,
            auth_required=self.login is not None,
            auth_require_tls=self.tls is not None,
            authenticator=authenticate if self.login else None,
        )
        self._controller.start()

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def stop(self) -> None:
        self._controller.stop()


def _free_port() -> int:
    from tests.support import free_port

    return free_port()


@contextmanager
def mail_server(**how: Any) -> Iterator[MailServer]:
    made = MailServer(**how)
    made.start()
    try:
        yield made
    finally:
        made.stop()
