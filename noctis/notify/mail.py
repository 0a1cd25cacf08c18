"""E-mail: one message for all that one recipient is to be told of, by the SMTP server of the settings.

Headers are made of lines without control characters, and `email` refuses what is none. Each recipient gets a message
of its own, and sees no other. Receipts go each in a message of its own, with the receipt's files.
"""

import hashlib
import os
import smtplib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from noctis.config import Settings
from noctis.errors import ConfigError, NoctisError, StorageError
from noctis.notifications import Kind
from noctis.notify import messages
from noctis.notify.outbox import Due, Tried
from noctis.notify.webhook import client_context
from noctis.receipts.document import path_of

SECONDS = 30.0  # for each step of the conversation
PORTS = {"starttls": 587, "tls": 465, "none": 25}
ATTACHED_MAX = 5 << 20  # bytes of a receipt; a larger one is on the server, and is named
BATCH = 500  # notifications in one turn


class Mailer:
    """Sends e-mail. One thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = os.uname().nodename or "localhost"
        web = settings.web
        self._page = f"{web.url}/notifications" if web.enabled and web.url else None

    def send(self, address: str, batch: Sequence[Due]) -> list[Tried]:
        """Send what one recipient is to get; what became of each."""
        done: list[Tried] = []
        left = _groups(batch)
        try:
            with self._connect() as server:
                while left:
                    server.send_message(self.compose(address, left[0]))
                    done += [Tried(each) for each in left.pop(0)]
        except (OSError, smtplib.SMTPException, ValueError) as error:
            text = reason(error)
        except NoctisError as error:
            text = error.message
        if left:  # its goodbye may fail when everything was said
            done += [Tried(each, text, away=True) for each in left[0]]
        return done

    def compose(self, address: str, group: Sequence[Due]) -> EmailMessage:
        """One message.

        Raises
        ------
        ValueError
            The address cannot stand in a header.
        """
        message = EmailMessage()
        message["From"] = sender(self._settings)
        message["To"] = address
        message["Subject"] = messages.subject(group)
        message["Date"] = format_datetime(datetime.now(UTC))
        uids = [each.uid for each in group]
        mark = uids[0] if len(uids) == 1 else hashlib.sha256(" ".join(uids).encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{mark}@{_domain(self._host)}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Noctis-ID"] = " ".join(uids[:20])
        source = self._settings.server.ae_title
        message.set_content(messages.body(group, source, self._page))
        if group[0].kind == Kind.RECEIPT:
            _attach(message, self._settings, group[0])
        return message

    def check(self) -> None:
        """Connect, log in, and leave.

        Raises
        ------
        StorageError, ConfigError
            It cannot be done.
        """
        try:
            with self._connect() as server:
                server.noop()
        except (OSError, smtplib.SMTPException) as error:
            raise StorageError(
                f"the mail server cannot be used: {reason(error)}", fix="look at smtp in the settings"
            ) from error

    def _connect(self) -> smtplib.SMTP:
        smtp = self._settings.smtp
        if smtp.host is None:
            raise ConfigError("no mail server is configured", fix="set smtp.host")
        port = smtp.port or PORTS[smtp.security]
        if smtp.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                smtp.host, port, timeout=SECONDS, context=client_context(smtp.ca), local_hostname=self._host
            )
        else:
            server = smtplib.SMTP(smtp.host, port, timeout=SECONDS, local_hostname=self._host)
        try:
            if smtp.security == "starttls":
                server.starttls(context=client_context(smtp.ca))
            if smtp.user is not None:
                server.login(smtp.user, password(self._settings))
        except BaseException:
            server.close()
            raise
        return server


def sender(settings: Settings) -> str:
    """Whom the mail is from."""
    return settings.smtp.sender or f"noctis@{_domain(os.uname().nodename)}"


def _domain(host: str) -> str:
    """A name that may stand behind an @."""
    return (
        "".join(each for each in host if each.isascii() and (each.isalnum() or each in ".-")).strip(".-") or "localhost"
    )


def password(settings: Settings) -> str:
    """The mail server's password.

    Raises
    ------
    ConfigError
        There is none, or its file cannot be read.
    """
    smtp = settings.smtp
    if smtp.password is not None:
        return smtp.password.get_secret_value()
    if smtp.password_file is None:
        raise ConfigError("smtp.user is set, but no password", fix="set smtp.password_file")
    try:
        return smtp.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("smtp.password_file cannot be read", fix=f"chmod 600 {smtp.password_file}") from error


def reason(error: BaseException) -> str:
    """Why a mail could not be sent."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the mail server refuses the login ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
        return f"the mail server refuses the recipient: {code} {_said(said)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answers {error.smtp_code} {_said(error.smtp_error)}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"the mail server cannot do what was asked: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the mail server's certificate is not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the mail server does not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens at the mail server's port"
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return f"the mail server cannot be reached: {text[:200]}"


def _said(text: bytes | str) -> str:
    return messages.one_line(text.decode("utf-8", "replace") if isinstance(text, bytes) else text, 200)


def _groups(batch: Sequence[Due]) -> list[list[Due]]:
    """What goes into one message: all but receipts together."""
    together = [each for each in batch if each.kind != Kind.RECEIPT]
    receipts = [[each] for each in batch if each.kind == Kind.RECEIPT]
    return ([together] if together else []) + receipts


def _attach(message: EmailMessage, settings: Settings, receipt: Due) -> None:
    """The receipt itself, where it is not too large."""
    path = path_of(settings, str(receipt.facility), str(receipt.data.get("day")))
    try:
        if path.is_file() and path.stat().st_size <= ATTACHED_MAX:
            name = f"{receipt.facility}-{path.name}"
            message.add_attachment(path.read_bytes(), maintype="application", subtype="json", filename=name)
    except OSError:
        pass  # the message itself has the totals
