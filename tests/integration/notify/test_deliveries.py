"""Receivers that are away, slow, wrong or dead: what is tried again, what is given up, and that nobody else notices."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from noctis.config import Settings
from noctis.db.models import Event
from noctis.db.notifying import Delivery, DeliveryTarget
from noctis.errors import ConflictError, NotFoundError
from noctis.notify import outbox, webhook
from noctis.notify.outbox import News
from noctis.notify.rules import Draft, Rules
from tests.books import rows
from tests.integration.notify.conftest import (
    Turned,
    ca_file,
    deliveries,
    notifications,
    ordered,
    rule,
    server_context,
    with_options,
)
from tests.notifying import SECRET, Posted, Receiver, is_signed, receiver
from tests.support import free_port, wait_for

Turn = Callable[..., Turned]


def tell(engine: Engine, rules: Rules, count: int = 1, kind: str = "silence") -> None:
    """Something happens."""
    with engine.begin() as connection:
        now = datetime.now(UTC)
        news = [News(kind, now, f"it is silent ({number})", {"number": number}) for number in range(count)]
        outbox.enqueue(connection, rules.read(connection), news)


def now_due(engine: Engine) -> None:
    """All waits are over."""
    with engine.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(Delivery).where(Delivery.state == "pending").values(next_attempt_at=past))
        connection.execute(update(DeliveryTarget).values(paused_until=None))


def states(engine: Engine) -> list[str]:
    return [each["state"] for each in deliveries(engine)]


def test_they_come_in_order(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules, 50)
    turned = turn()
    turned.until(lambda: len(hook.posted) == 50)
    assert [each.data["number"] for each in hook.posted] == list(range(50))
    assert all(map(is_signed, hook.posted))
    turned.until(lambda: set(states(engine)) == {"sent"})


@pytest.mark.parametrize("status", [500, 503, 429, 404, 302])
def test_what_is_not_taken_is_tried_again_with_the_same_id(
    status: int, engine: Engine, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules)
    hook.answer = status
    hook.headers = {"location": hook.url("/elsewhere")} if status == 302 else {}
    turned = turn()
    turned.until(lambda: deliveries(engine)[0]["last_error"])
    found = deliveries(engine)[0]
    assert (found["state"], found["attempts"]) == ("pending", 1)
    assert str(status) in found["last_error"]
    assert found["next_attempt_at"] > datetime.now(UTC)
    assert [each.path for each in hook.posted] == ["/hook"]  # no redirect was followed
    hook.answer = 200
    now_due(engine)
    turned.until(lambda: states(engine) == ["sent"])
    assert hook.posted[0].id == hook.posted[1].id
    assert hook.posted[0].body == hook.posted[1].body


def test_waits_grow_and_end_in_a_dead_letter(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules)
    hook.answer = 404
    turned = turn()
    waits = []
    for attempt in range(1, 6):
        turned.until(lambda attempt=attempt: deliveries(engine)[0]["attempts"] == attempt)  # type: ignore[misc]
        waits.append((deliveries(engine)[0]["next_attempt_at"] - datetime.now(UTC)).total_seconds())
        now_due(engine)
    assert waits == sorted(waits)
    with engine.begin() as connection:
        connection.execute(update(Delivery).values(first_failed_at=datetime.now(UTC) - timedelta(hours=25)))
    turned.until(lambda: states(engine) == ["dead"])
    assert deliveries(engine)[0]["last_error"] == "answered 404"


def test_gone_is_given_up_at_once(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules)
    hook.answer = 410
    turn().until(lambda: states(engine) == ["dead"])


def test_a_dead_letter_is_tried_again_or_discarded_by_an_operator(
    engine: Engine, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules, 2)
    hook.answer = 410
    turned = turn()
    turned.until(lambda: states(engine) == ["dead", "dead"])
    first, second = (each["id"] for each in deliveries(engine))
    hook.answer = 204
    outbox.retry(engine, first, "ada")
    outbox.discard(engine, second, "ada")
    turned.until(lambda: states(engine) == ["sent", "discarded"])
    with pytest.raises(ConflictError):
        outbox.retry(engine, first, "ada")
    with pytest.raises(NotFoundError):
        outbox.discard(engine, 1 << 70, "ada")
    actions = [(each["actor"], each["action"]) for each in ordered(engine, Event)]
    assert actions[-2:] == [("ada", "delivery.retried"), ("ada", "delivery.discarded")]


def test_one_that_is_away_is_tried_once_and_its_whole_queue_waits(engine: Engine, rules: Rules, turn: Turn) -> None:
    rules.add(Draft("away", ("silence",), url=f"http://127.0.0.1:{free_port()}/", secret=SECRET))
    tell(engine, rules, 30)
    turned = turn()
    turned.until(lambda: rows(engine, DeliveryTarget))
    turned.settle()
    assert sum(each["attempts"] for each in deliveries(engine)) == 1
    target = rows(engine, DeliveryTarget)[0]
    assert target["failures"] == 1
    assert "nobody listens there" in target["last_error"]
    assert target["paused_until"] > datetime.now(UTC)


def test_when_it_is_back_nobody_waits_for_the_end_of_a_back_off(
    engine: Engine, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules, 10)
    hook.answer = 500
    turned = turn()
    turned.until(lambda: sum(each["attempts"] for each in deliveries(engine)) == 1)
    turned.settle()
    hook.answer = 204
    with engine.begin() as connection:
        connection.execute(update(DeliveryTarget).values(paused_until=None))  # only the pause is over
    turned.until(lambda: set(states(engine)) == {"sent"})


def test_a_dead_receiver_holds_up_nobody_else(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    never = threading.Event()

    def hang(_handler: BaseHTTPRequestHandler, _posted: Posted) -> None:
        never.wait(60)

    with receiver() as slow:
        slow.answer = hang
        rules.add(Draft("slow", ("silence",), url=slow.url(), secret=SECRET))
        rule(rules, hook, "silence")
        tell(engine, rules, 40)
        turn().until(lambda: len(hook.posted) == 40 and slow.posted)
        never.set()


def test_one_that_never_answers_is_cut_off(
    engine: Engine, rules: Rules, hook: Receiver, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ATTEMPT_SECONDS", 0.5)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, _posted: Posted) -> None:
        """A byte from time to time: no single read ever takes long."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while not over.wait(0.05):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return

    hook.answer = drip
    rule(rules, hook, "silence")
    tell(engine, rules)
    turn().until(lambda: deliveries(engine)[0]["attempts"])
    over.set()
    assert "no answer" in deliveries(engine)[0]["last_error"]


def test_a_retry_after_is_obeyed(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules)
    hook.answer, hook.headers = 503, {"retry-after": "1800"}
    turn().until(lambda: deliveries(engine)[0]["attempts"])
    wait = deliveries(engine)[0]["next_attempt_at"] - datetime.now(UTC)
    assert timedelta(minutes=25) < wait <= timedelta(minutes=30)


def test_tls_is_verified(tmp_path: Path, engine: Engine, settings: Settings, rules: Rules, turn: Turn) -> None:
    with receiver(server_context(tmp_path)) as secure:
        rules.add(Draft("tls", ("silence",), url=secure.url(host="localhost"), secret=SECRET))
        tell(engine, rules)
        turned = turn()
        turned.until(lambda: deliveries(engine)[0]["attempts"])
        assert "certificate is not accepted" in deliveries(engine)[0]["last_error"]
        assert secure.posted == []
        turned.close()
        trusting = with_options(settings, notifications={"webhook_ca": str(ca_file(tmp_path)), "disk_percent": 0.0})
        now_due(engine)
        turn(trusting).until(lambda: states(engine) == ["sent"])
        assert secure.posted[0].headers["host"] == f"localhost:{secure.port}"


def test_a_certificate_of_another_name_is_not_accepted(
    tmp_path: Path, engine: Engine, settings: Settings, rules: Rules, turn: Turn
) -> None:
    with receiver(server_context(tmp_path)) as secure:  # its certificate is localhost's
        rules.add(Draft("tls", ("silence",), url=secure.url(host="127.0.0.1"), secret=SECRET))
        tell(engine, rules)
        trusting = with_options(settings, notifications={"webhook_ca": str(ca_file(tmp_path)), "disk_percent": 0.0})
        turn(trusting).until(lambda: deliveries(engine)[0]["attempts"])
        assert "certificate is not accepted" in deliveries(engine)[0]["last_error"]
        assert secure.posted == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200"])
def test_metadata_addresses_are_not_called(host: str, engine: Engine, rules: Rules, turn: Turn) -> None:
    rules.add(Draft("cloud", ("silence",), url=f"http://{host}/latest", secret=SECRET))
    tell(engine, rules)
    turn().until(lambda: deliveries(engine)[0]["attempts"])
    assert "link-local" in deliveries(engine)[0]["last_error"]


def test_a_changed_url_takes_along_what_waits(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    wrong = rules.add(Draft("all", ("silence",), url=f"http://127.0.0.1:{free_port()}/", secret=SECRET))[0]
    tell(engine, rules, 3)
    turned = turn()
    turned.until(lambda: rows(engine, DeliveryTarget))
    turned.settle()
    assert wrong.id is not None
    rules.edit(wrong.id, Draft("all", ("silence",), url=hook.url()))
    now_due(engine)
    turned.until(lambda: len(hook.posted) == 3)
    assert all(map(is_signed, hook.posted))  # the secret was not given, and is still the one


@pytest.mark.parametrize("how", ["removed", "disabled", "other kinds"])
def test_what_no_rule_wants_any_more_is_discarded(
    how: str, engine: Engine, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    made = rule(rules, hook, "silence")
    tell(engine, rules)
    if how == "removed":
        rules.remove(made.id)
    else:
        kinds = ("silence",) if how == "disabled" else ("quarantine",)
        rules.edit(made.id, Draft("all", kinds, url=hook.url(), enabled=how != "disabled"))
    turn().until(lambda: states(engine) == ["discarded"])
    assert hook.posted == []


def test_with_the_secret_file_away_it_waits(
    tmp_path: Path, engine: Engine, settings: Settings, hook: Receiver, turn: Turn
) -> None:
    file = tmp_path / "secret"
    given = {"name": "c", "kinds": ["silence"], "url": hook.url(), "secret_file": str(file)}
    configured = with_options(settings, notifications={"rules": [given], "disk_percent": 0.0})
    tell(engine, Rules(engine, configured, "test"))
    turned = turn(configured)
    turned.until(lambda: deliveries(engine)[0]["attempts"])
    assert "secret_file" in deliveries(engine)[0]["last_error"]
    file.write_text(SECRET)
    now_due(engine)
    turned.until(lambda: states(engine) == ["sent"])
    assert is_signed(hook.posted[0])


def test_after_a_day_without_an_answer_all_that_is_as_old_is_given_up(engine: Engine, rules: Rules, turn: Turn) -> None:
    rules.add(Draft("away", ("silence",), url=f"http://127.0.0.1:{free_port()}/", secret=SECRET))
    tell(engine, rules, 20)
    old = datetime.now(UTC) - timedelta(hours=25)
    with engine.begin() as connection:
        connection.execute(update(Delivery).values(created_at=old))
    tell(engine, rules, 1)
    turned = turn()
    turned.until(lambda: rows(engine, DeliveryTarget))
    turned.settle()
    assert set(states(engine)) == {"pending"}
    with engine.begin() as connection:
        connection.execute(update(DeliveryTarget).values(failing_since=old))
    now_due(engine)
    turned.until(lambda: states(engine).count("dead") == 20)
    assert states(engine).count("pending") == 1


def test_old_ones_are_forgotten_and_what_waits_is_not(engine: Engine, rules: Rules, hook: Receiver, turn: Turn) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules, 3)
    with engine.begin() as connection:
        connection.execute(update(outbox.Notification).values(at=datetime.now(UTC) - timedelta(days=31)))
        connection.execute(update(Delivery).where(Delivery.id != 2).values(state="sent"))
    assert outbox.prune(engine, 30) == 2
    assert len(notifications(engine)) == len(deliveries(engine)) == 1


def test_with_the_database_away_results_are_kept(
    engine: Engine, rules: Rules, hook: Receiver, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(rules, hook, "silence")
    tell(engine, rules)
    turned = turn()
    turned.turn(1)
    wait_for(lambda: hook.posted)  # its result is not taken yet
    real: Any = outbox.record

    def fail(*_: Any) -> None:
        from noctis.errors import DatabaseError

        raise DatabaseError("away")

    monkeypatch.setattr(outbox, "record", fail)

    def failed() -> bool:
        try:
            turned.notifier.turn()
        except Exception:  # noqa: BLE001
            return True
        return False

    wait_for(failed)
    monkeypatch.setattr(outbox, "record", real)
    turned.until(lambda: states(engine) == ["sent"])
    assert len(hook.posted) == 1
