"""A notifier that is turned by hand, and places for it to send to."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from noctis.archiver.filing import Filer
from noctis.config import Settings, load_settings
from noctis.db.models import Facility
from noctis.db.notifying import Delivery, Notification
from noctis.facilities.snapshot import write_if_changed
from noctis.notify.rules import Draft, Rules
from noctis.notify.service import Notifier
from noctis.observability.scoreboard import Scoreboard
from tests import tls
from tests.notifying import SECRET, MailServer, Receiver, mail_server, receiver
from tests.support import wait_for


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as made:
        yield made


@pytest.fixture
def rules(engine: Engine, settings: Settings) -> Rules:
    return Rules(engine, settings, "ada")


def with_options(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """The same settings with others besides."""
    given = {
        "home": str(settings.home),
        "database": {"url": settings.database_url},
        "storage": {"reserve_bytes": 0},
        **sections,
    }
    return load_settings(options=given)


def to_mail(settings: Settings, mail: MailServer, **notifications: Any) -> Settings:
    smtp = {"host": "127.0.0.1", "port": mail.port, "security": "none", "sender": "noctis@images.example"}
    told = {"group_seconds": 0, "disk_percent": 0.0, **notifications}
    return with_options(settings, smtp=smtp, notifications=told)


class Turned:
    """A notifier, turned until something has come about."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.closed = False
        self.now = 0.0  # seconds that the notifier's clock is ahead
        self.notifier = self._make()

    def _make(self) -> Notifier:
        import time

        return Notifier(self.settings, Scoreboard(), clock=lambda: time.monotonic() + self.now)

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        def turned() -> Any:
            self.notifier.turn()
            return condition()

        return wait_for(turned, what=what)

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            self.notifier.turn()

    def settle(self) -> None:
        """Until nothing is in flight and its results are written."""
        self.notifier.turn()
        self.until(lambda: not self.notifier._dispatcher.busy and not self.notifier._results)

    def again(self) -> None:
        """Another process; the one before was killed, and wrote nothing more."""
        self.notifier.close()
        self.notifier = self._make()

    def close(self) -> None:
        self.closed = True
        self.notifier.close()


@pytest.fixture
def turn(settings: Settings) -> Iterator[Callable[..., Turned]]:
    """`turn()`, `turn(settings)`: a notifier of these settings."""
    made: list[Turned] = []

    def make(given: Settings | None = None) -> Turned:
        made.append(Turned(given or with_options(settings, notifications={"disk_percent": 0.0})))
        return made[-1]

    yield make
    for each in made:
        if not each.closed:
            each.close()


def rule(rules: Rules, hook: Receiver | None = None, *kinds: str, **more: Any) -> Any:
    """A rule for these kinds, to this web server or to recipients."""
    url = hook.url() if hook else ""
    values = {"name": "all", "url": url, "secret": SECRET if hook else None, **more}
    return rules.add(Draft(kinds=kinds, **values))[0]


def ordered(engine: Engine, model: Any) -> list[dict[str, Any]]:
    """All rows as they were made."""
    table = model.__table__
    with engine.connect().execution_options(read_only=True) as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]


def deliveries(engine: Engine) -> list[dict[str, Any]]:
    return ordered(engine, Delivery)


def notifications(engine: Engine) -> list[dict[str, Any]]:
    return ordered(engine, Notification)


def facility_id(engine: Engine, slug: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalars(select(Facility.id).where(Facility.slug == slug)).one())


def tell_listeners(settings: Settings, registry: Any) -> None:
    write_if_changed(settings.paths.snapshot, registry.snapshot)


def server_context(folder: Path, name: str = "localhost") -> ssl.SSLContext:
    files = tls.write(tls.server(name), folder, name)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files.certificate, files.key)
    return made


def ca_file(folder: Path) -> Path:
    return tls.write(tls.authority(tls.CA), folder, "ca").certificate


@pytest.fixture
def filer(engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)
