"""The notifier's life: take notices out, look at what lasts, send what waits, make receipts.

Receiving needs nothing of it. What is to be told is in the database before it is sent, so a kill at any moment loses
nothing and at worst sends a batch of one address twice, with the same IDs. With the database away it waits. Of several
machines on one database one sends (`notify.lead`); each looks at its own disks, listeners and certificates.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from noctis.config import Settings
from noctis.db.engine import make_engine, reachable, reading
from noctis.db.migrate import require_current
from noctis.db.notifying import NotifierState
from noctis.errors import ExitCode, NoctisError
from noctis.notifications import TEST, Channel, Kind
from noctis.notify import observers, outbox
from noctis.notify.conditions import Conditions
from noctis.notify.dispatcher import CLOSE_SECONDS, Dispatcher
from noctis.notify.intake import Intake
from noctis.notify.lead import Lead
from noctis.notify.mail import BATCH
from noctis.notify.observers import HOST, RefusalWindow
from noctis.notify.outbox import Address, Due, Tried
from noctis.notify.rules import RECEIPTS, Rule, Rules
from noctis.notify.webhook import Signed
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.outage import Outage
from noctis.receipts.keeper import Keeper
from noctis.silence import Watch
from noctis.stop import Stop

log = structlog.get_logger()

NICENESS = 5  # it holds the database's lock for moments that the archiver waits for: not the lowest
LOOK_SECONDS = 1.0
BACKOFF_SECONDS = (0.5, 10.0)  # first and longest wait while the database is away
WEBHOOK_BATCH = 20  # deliveries of one address that are tried in one go
WAITING_SHARE = 20  # looking for what waits takes at most so small a part of the time: 1 in 20
WAITING_MAX = 10.0  # seconds; and is done so often
PRUNE_SECONDS = 3600.0
RECEIPT_SECONDS = 60.0
REFUSALS = "refusals"  # in the table notifier_state
EVERY_SECONDS = {
    Kind.LISTENER_DOWN: 5.0,
    Kind.DISK_LOW: 30.0,
    Kind.REFUSAL_BURST: 15.0,
    Kind.SILENCE: 60.0,
    Kind.CERTIFICATE_EXPIRING: 1800.0,
}

_STATE: Table = NotifierState.__table__  # type: ignore[assignment]


def run(settings: Settings, scoreboard: Scoreboard) -> int:
    """The whole life of the process, until SIGTERM or SIGINT."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with closing(Stop()) as stop:
        scoreboard.begin(os.getpid())
        with closing(Notifier(settings, scoreboard)) as notifier:
            notifier.serve(stop)
    log.info("notifier.stopped")
    return ExitCode.DONE


class Notifier:
    """One home's notifier. `turn` is one round of its loop."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._scoreboard = scoreboard
        self._clock = clock
        self._engine = make_engine(settings)
        self._rules = Rules(self._engine, settings, "notifier")
        self._intake = Intake(self._engine, settings, clock)
        self._conditions = Conditions(self._engine, settings, clock)
        self._lead = Lead(self._engine)
        self._dispatcher = Dispatcher(settings)
        self._watch = Watch(self._engine, settings)
        self._keeper = Keeper(self._engine, settings)
        self._receipts: threading.Thread | None = None
        self._window: RefusalWindow | None = None
        self._observe_at = dict.fromkeys(EVERY_SECONDS, 0.0)  # monotonic
        self._waiting: dict[Address, datetime] = {}
        self._waiting_at = 0.0
        self._prune_at = 0.0
        self._receipts_at = 0.0
        self._results: list[tuple[Address, list[Tried]]] = []  # not written down yet
        self._checked = False
        self._outage = Outage(scoreboard, "notifier.waiting", "notifier.back", BACKOFF_SECONDS)

    def close(self) -> None:
        self._keeper.stop()
        if self._receipts is not None:
            self._receipts.join(CLOSE_SECONDS)
        self._dispatcher.close()
        self._lead.give_up()
        self._engine.dispose()

    def serve(self, stop: Stop) -> None:
        """Go on until told to stop."""
        log.info("notifier.ready")
        while not stop.received:
            self._scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
            try:
                more = self.turn()
                self._outage.over()
            except (NoctisError, OSError) as error:
                self._checked = False
                stop.wait(self._outage.met(error))
                continue
            if not more:
                stop.wait(LOOK_SECONDS, self._dispatcher.descriptor)
        self._write_results()

    def turn(self) -> bool:
        """Do what is due; whether there is more to be done at once.

        Raises
        ------
        NoctisError, OSError
            The database is away. Nothing is lost.
        """
        if not self._checked:
            require_current(self._engine, self._settings.paths)
            self._checked = True
        self._write_results()
        leads = self._lead.held()
        more = self._intake.take() if leads else False
        self._observe(leads)
        if leads:
            self._send()
            self._housekeeping()
        return more

    # -- what lasts

    def _observe(self, leads: bool) -> None:
        now = self._clock()
        due = [kind for kind, at in self._observe_at.items() if now >= at]
        if not due:
            return
        ids = observers.facility_ids(self._engine)
        for kind in due:
            self._observe_at[kind] = now + EVERY_SECONDS[kind]
            if kind is Kind.REFUSAL_BURST:
                if leads:
                    self._observe_refusals()
            elif kind is Kind.SILENCE:
                if leads:
                    self._conditions.update(kind, "silence:", observers.silences(self._watch))
            elif kind is Kind.LISTENER_DOWN:
                found = observers.listeners(self._settings, ids)
                if found is not None:
                    self._conditions.update(kind, f"{HOST}:", found)
            elif kind is Kind.DISK_LOW:
                self._conditions.update(kind, f"{HOST}:", observers.disks(self._settings))
            else:
                self._conditions.update(kind, f"{HOST}:", observers.certificates(self._settings, ids))

    def _observe_refusals(self) -> None:
        with reading(self._engine) as connection:
            if self._window is None:
                self._window = RefusalWindow.of(_state(connection, REFUSALS))
            before = self._window.as_json()
            observed = list(observers.refusals(connection, self._settings, self._window, datetime.now(UTC)))
        after = self._window.as_json()
        if after != before:
            with reachable(self._engine), self._engine.begin() as connection:
                _set_state(connection, REFUSALS, after)
        self._conditions.update(Kind.REFUSAL_BURST, "refusals:", observed)

    # -- sending

    def _send(self) -> None:
        began = self._clock()
        if began >= self._waiting_at:
            self._waiting = outbox.waiting(self._engine, datetime.now(UTC))
            self._waiting_at = self._clock() + min(WAITING_SHARE * (self._clock() - began), WAITING_MAX)
            self._scoreboard.set(Counter.PENDING, len(self._waiting))
        now = datetime.now(UTC)
        ready = [each for each, at in self._waiting.items() if at <= now and each not in self._dispatcher.busy]
        if not ready or not self._dispatcher.free:
            return
        rules = {each.key: each for each in self._rules.all()}
        for address in ready[: self._dispatcher.free]:
            del self._waiting[address]
            limit = WEBHOOK_BATCH if address[0] == Channel.WEBHOOK else BATCH
            self._submit(address, outbox.due(self._engine, address, now, limit), rules)

    def _submit(self, address: Address, deliveries: list[Due], rules: dict[str, Rule]) -> None:
        batch: list[Signed] = []
        unwanted: list[Tried] = []
        for delivery in deliveries:
            rule = rule_of(delivery, rules)
            if rule is None and delivery.rule != RECEIPTS:
                unwanted.append(Tried(delivery, "no rule names this address any more", discard=True))
                continue
            try:
                secret = self._rules.secret_of(rule) if rule and address[0] == Channel.WEBHOOK else ""
            except NoctisError as error:
                unwanted.append(Tried(delivery, error.message, away=True))
                break
            batch.append(Signed(delivery, secret))
        if unwanted:
            self._results.append((address, unwanted))
            self._write_results()
        if batch:
            self._dispatcher.submit(address, batch)

    def _write_results(self) -> None:
        """What became of attempts. What cannot be written now is kept, and written when the database is back."""
        self._results += self._dispatcher.take()
        now = datetime.now(UTC)
        while self._results:
            address, tried = self._results[0]
            with reachable(self._engine), self._engine.begin() as connection:
                dead = outbox.record(connection, self._settings, tried, now)
            self._results.pop(0)
            self._waiting_at = 0.0
            sent = sum(not each.error for each in tried)
            self._scoreboard.add(Counter.INSTANCES, sent)
            if sent:
                self._scoreboard.set(Counter.LAST_INSTANCE_NS, time.time_ns())
            for each in tried:
                if each.error and not each.discard:
                    log.warning("notifier.not_delivered", channel=address[0], rule=each.delivery.rule, error=each.error)
            for each in dead:
                log.error("notifier.given_up", channel=address[0], rule=each.delivery.rule, id=each.delivery.uid)

    # -- what else is due

    def _housekeeping(self) -> None:
        now = self._clock()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            outbox.prune(self._engine, self._settings.notifications.keep_days)
        if now >= self._receipts_at and self._settings.receipts.enabled:
            self._receipts_at = now + RECEIPT_SECONDS
            if self._receipts is None or not self._receipts.is_alive():
                # beside the rest: a day of a million instances takes a while
                self._receipts = threading.Thread(target=self._make_receipts, name="receipts", daemon=True)
                self._receipts.start()

    def _make_receipts(self) -> None:
        try:
            self._keeper.look()
        except (NoctisError, OSError) as error:
            self._scoreboard.error(str(error))
            log.error("receipts.waiting", error=str(error))
        except Exception:
            log.exception("receipts.fault")


def rule_of(delivery: Due, rules: dict[str, Rule]) -> Rule | None:
    """The rule that wants this delivery: the one that it was made for, or another one that names the address."""
    test = delivery.kind == TEST
    own = rules.get(delivery.rule)
    for rule in ([own] if own else []) + list(rules.values()):
        wanted = rule.enabled and (delivery.kind in rule.kinds)
        if (delivery.channel, delivery.address) in rule.addresses and (wanted or (test and rule is own)):
            return rule
    return None


def _state(connection: Connection, key: str) -> dict[str, Any]:
    return connection.scalar(select(_STATE.c.value).where(_STATE.c.key == key)) or {}


def _set_state(connection: Connection, key: str, value: dict[str, Any]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(_STATE).values(key=key, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": value}))
