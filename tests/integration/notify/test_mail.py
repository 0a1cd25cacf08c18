"""E-mail by a real SMTP server: TLS, logins, grouping, and nothing that a sender made up gets into a header."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.errors import NoctisError
from noctis.notify import outbox
from noctis.notify.mail import Mailer
from noctis.notify.outbox import News
from noctis.notify.queries import receivers
from noctis.notify.rules import Rules
from noctis.notify.testing import send_test
from tests.integration.notify.conftest import (
    Turned,
    ca_file,
    deliveries,
    rule,
    server_context,
    to_mail,
    with_options,
)
from tests.integration.notify.test_deliveries import now_due, states, tell
from tests.notifying import MailServer, mail_server

Turn = Callable[..., Turned]


def test_each_recipient_gets_a_letter_of_its_own(
    engine: Engine, settings: Settings, rules: Rules, mail: MailServer, turn: Turn
) -> None:
    rule(rules, None, "silence", recipients=("a@x.example", "b@y.example"))
    tell(engine, rules)
    turned = turn(to_mail(settings, mail))
    turned.until(lambda: states(engine) == ["sent", "sent"])
    assert sorted(each.recipients for each in mail.letters) == [["a@x.example"], ["b@y.example"]]
    letter = next(each for each in mail.letters if each.recipients == ["a@x.example"])
    assert letter.sender == "noctis@images.example"
    assert letter.message["To"] == "a@x.example"
    assert letter.message["Subject"] == "[Noctis] it is silent (0)"
    assert "it is silent (0)" in letter.message.get_content()
    assert letter.message["Auto-Submitted"] == "auto-generated"
    assert letter.message["X-Noctis-ID"] == outbox_uid(engine)


def outbox_uid(engine: Engine) -> str:
    from tests.integration.notify.conftest import notifications

    return str(notifications(engine)[0]["uid"])


def test_what_comes_soon_after_is_put_together(
    engine: Engine, settings: Settings, rules: Rules, mail: MailServer, turn: Turn
) -> None:
    rule(rules, None, "silence", "quarantine", recipients=("a@x.example",))
    turned = turn(to_mail(settings, mail, group_seconds=300))
    tell(engine, rules)
    turned.until(lambda: states(engine) == ["sent"])
    tell(engine, rules, 5)
    tell(engine, rules, 2, "quarantine")
    turned.settle()
    assert len(mail.letters) == 1
    now_due(engine)
    turned.until(lambda: set(states(engine)) == {"sent"})
    assert len(mail.letters) == 2
    assert mail.letters[1].message["Subject"] == "[Noctis] 7: 5 silence, 2 quarantine"
    assert mail.letters[1].message.get_content().count("it is silent") == 7


def test_a_test_does_not_wait_and_takes_nothing_away(
    engine: Engine, settings: Settings, rules: Rules, mail: MailServer, turn: Turn
) -> None:
    rule(rules, None, "silence", recipients=("a@x.example",))
    turned = turn(to_mail(settings, mail, group_seconds=300))
    tell(engine, rules)
    turned.until(lambda: states(engine) == ["sent"])
    with engine.connect() as connection:
        (wanted,) = rules.read(connection)
    send_test(engine, wanted, "ada")
    (receiver,) = receivers(engine)
    assert receiver["last_success_at"] is not None
    turned.until(lambda: states(engine) == ["sent", "sent"])


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # aiosmtpd does not see that all of it is TLS
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_with_tls_and_a_login(
    security: str, tmp_path: Path, engine: Engine, settings: Settings, rules: Rules, turn: Turn
) -> None:
    context = server_context(tmp_path)
    how: dict[str, Any] = {"tls": context} if security == "starttls" else {"implicit_tls": context}
    (tmp_path / "password").write_text("open sesame\n")
    rule(rules, None, "silence", recipients=("a@x.example",))
    tell(engine, rules)
    with mail_server(login=("ali", "open sesame"), **how) as server:
        smtp = {
            "host": "localhost",
            "port": server.port,
            "security": security,
            "ca": str(ca_file(tmp_path)),
            "user": "ali",
            "password_file": str(tmp_path / "password"),
        }
        right = with_options(settings, smtp=smtp, notifications={"group_seconds": 0, "disk_percent": 0.0})
        Mailer(right).check()
        turn(right).until(lambda: states(engine) == ["sent"])
        assert (server.letters[0].tls, server.letters[0].user) == (True, "ali")
        with pytest.raises(NoctisError, match="certificate is not accepted"):
            Mailer(with_options(settings, smtp=smtp | {"ca": None})).check()
        wrong = with_options(settings, smtp={**smtp, "password_file": None, "password": "wrong horse"})
        with pytest.raises(NoctisError, match="refuses the login") as told:
            Mailer(wrong).check()
        assert "wrong horse" not in str(told.value)


def test_a_server_without_starttls_gets_nothing(
    engine: Engine, settings: Settings, rules: Rules, mail: MailServer, turn: Turn
) -> None:
    rule(rules, None, "silence", recipients=("a@x.example",))
    tell(engine, rules)
    smtp = {"host": "127.0.0.1", "port": mail.port}
    turn(with_options(settings, smtp=smtp)).until(lambda: deliveries(engine)[0]["attempts"])
    assert "cannot do what was asked" in deliveries(engine)[0]["last_error"]
    assert mail.letters == []


def test_a_recipient_that_is_refused_stops_no_other(
    engine: Engine, settings: Settings, rules: Rules, mail: MailServer, turn: Turn
) -> None:
    rule(rules, None, "silence", recipients=("a@x.example",))
    tell(engine, rules)
    mail.refuse = "550 no such user"
    turned = turn(to_mail(settings, mail))
    turned.until(lambda: deliveries(engine)[0]["attempts"])
    assert deliveries(engine)[0]["last_error"] == "the mail server refuses the recipient: 550 no such user"
    mail.refuse = None
    rule(rules, None, "silence", name="b", recipients=("b@y.example",))
    tell(engine, rules)
    turned.until(lambda: mail.letters)
    assert mail.letters[0].recipients == ["b@y.example"]


def test_without_a_mail_server_the_letter_waits_and_says_why(
    engine: Engine, settings: Settings, rules: Rules, turn: Turn
) -> None:
    rule(rules, None, "silence", recipients=("a@x.example",))
    tell(engine, rules)
    turn().until(lambda: deliveries(engine)[0]["attempts"])
    assert deliveries(engine)[0]["last_error"] == "no mail server is configured"


NASTY = (
    "x\r\nBcc: victim@z.example\r\n\r\n<script>",
    "x\nTo: victim@z.example",
    "x\u2028Subject: no\x00\x1b[31m",
    "ü" * 300,
    "\ud800 half a character",
)


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_was_made_up_gets_into_a_header(
    text: str, engine: Engine, settings: Settings, rules: Rules, mail: MailServer, turn: Turn
) -> None:
    rule(rules, None, "silence", recipients=("a@x.example",))
    clean = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # as a database has it
    with engine.begin() as connection:
        news = News("silence", datetime.now(UTC), clean, {"calling": clean})
        outbox.enqueue(connection, rules.read(connection), [news])
    turn(to_mail(settings, mail)).until(lambda: states(engine) == ["sent"])
    message = mail.letters[0].message
    assert mail.letters[0].recipients == ["a@x.example"]
    assert message["Bcc"] is None
    assert message.get_all("To") == ["a@x.example"]
    assert len(message.get_all("Subject") or []) == 1
    assert len(message["Subject"]) <= 160
