"""A journal to write into, a syslog server to read from, and an audit service that is turned by hand."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.archiver.ledger import write_ledgers
from noctis.audit import service as services
from noctis.audit.service import Service
from noctis.config import Settings, load_settings
from noctis.facilities.registry import Registry
from noctis.observability.scoreboard import Scoreboard
from noctis.repository.filemeta import Origin
from noctis.repository.journal import Journal
from tests.auditing import SyslogServer, syslog_server
from tests.spooling import Intake
from tests.support import wait_for

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Ledgers:
    """What listeners, operators and the archiver leave behind."""

    def __init__(self, settings: Settings, engine: Engine, intake: Intake) -> None:
        self.settings = settings
        self.engine = engine
        self.intake = intake
        self._journal = Journal(settings.paths.journal, "test")

    def write(self) -> None:
        """The archiver takes the journal."""
        write_ledgers(self.engine, self.settings.paths.journal)

    def file(self) -> None:
        """The archiver files what is in the spool."""
        file_spool_once(self.settings, engine=self.engine)

    def event(self, action: str, *, at: datetime | None = None, write: bool = True, **detail: Any) -> None:
        line = {"at": (at or datetime.now(UTC)).isoformat(), "actor": "alice", "action": action, "subject": "it"}
        self._journal.append("event", **line, slug="central", detail=detail)
        if write:
            self.write()

    def refusal(self, *, calling: str = "STRANGER", at: datetime | None = None) -> None:
        self._journal.append(
            "refusal",
            at=(at or datetime.now(UTC)).isoformat(),
            port=11113,
            called="CENTRAL",
            calling=calling,
            address="192.0.2.9",
            reason="not known",
            fix="",
        )
        self.write()

    def receive(
        self, name: str, *instances: dict[str, Any], slug: str = "central", calling: str = "CT1", failures: int = 0
    ) -> Callable[[], None]:
        """An association has spooled these instances; what it returns ends it."""
        begun = datetime.now(UTC)
        for attributes in instances:
            self.intake.instance(slug=slug, origin=Origin(calling, "CENTRAL", "192.0.2.7", 11113, name), **attributes)

        def end() -> None:
            self._journal.append(
                "association",
                association_id=name,
                slug=slug,
                port=11113,
                called="CENTRAL",
                calling=calling,
                address="192.0.2.7",
                started_at=begun.isoformat(),
                ended_at=datetime.now(UTC).isoformat(),
                outcome="released",
                instances=len(instances),
                bytes=1,
                failures=failures,
                echoes=0,
            )
            self.write()

        return end


class Auditor:
    """The service, turned by hand; `restart` is a process that was killed and comes back."""

    def __init__(self, settings: Settings, server: SyslogServer) -> None:
        url = f"tcp://127.0.0.1:{server.port}"
        options = {
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "audit": {"syslog": url, "source_id": "noctis-test"},
        }
        self.settings = load_settings(options=options)
        self.server = server
        self.service: Service | None = None
        self.scoreboard = Scoreboard()
        self.restart()

    def restart(self, since: datetime = LONG_AGO) -> None:
        if self.service is not None:
            self.service.close()
        self.service = Service(self.settings, self.scoreboard, since)

    def turn(self) -> None:
        """Until there is no more to tell at once."""
        assert self.service is not None
        while self.service.turn():
            pass

    def told(self, count: int) -> None:
        """Turn, and wait until the server has so many messages in all."""
        self.turn()
        wait_for(lambda: len(self.server.received) >= count, what=f"{count} messages")
        assert len(self.server.received) == count


@pytest.fixture
def ledgers(settings: Settings, engine: Engine, intake: Intake) -> Ledgers:
    return Ledgers(settings, engine, intake)


@pytest.fixture
def server() -> Iterator[SyslogServer]:
    with syslog_server() as made:
        yield made


@pytest.fixture
def auditor(
    registry: Registry, settings: Settings, server: SyslogServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Auditor]:
    """Confirms what it has sent at the next turn, and begins behind the registry's own events."""
    monkeypatch.setattr(services, "CONFIRM_SECONDS", 0.0)
    monkeypatch.setattr("noctis.audit.feed.AGAIN_SECONDS", 0.0)
    made = Auditor(settings, server)
    assert made.service is not None
    made.turn()
    wait_for(lambda: len(server.received) == 2, what="the registry's events")
    server.received.clear()
    made.turn()  # confirmed
    yield made
    made.service.close()
