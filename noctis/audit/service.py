"""The audit service's life: look what has happened, tell the syslog server, remember how far it got.

At least once: the cursor is saved only when the bytes were handed over, the server's machine has acknowledged them, and
the connection has stood for `CONFIRM_SECONDS` more (a server whose program died with something unread has closed it by
then). When the connection breaks, all behind the saved cursor is sent again. So a message may come twice, and none is
lost but what a server acknowledged, held unread for longer, and lost. With the server or the database away it waits:
the database holds everything. The first start begins at `since`.
"""

import os
import time
from contextlib import closing
from datetime import datetime

import structlog

from noctis.audit import cursor as cursors
from noctis.audit.cursor import Cursor
from noctis.audit.feed import Feed
from noctis.audit.messages import Writer
from noctis.audit.syslog import Sender, encode
from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.db.migrate import require_current
from noctis.errors import ExitCode, NoctisError, UpgradingError
from noctis.observability.scoreboard import Counter, Scoreboard
from noctis.outage import Outage
from noctis.stop import Stop

log = structlog.get_logger()

LOOK_SECONDS = 1.0
CONFIRM_SECONDS = 2.0
BACKOFF_SECONDS = (0.5, 10.0)  # first and longest wait while the server or the database is away
CURSOR = "audit.json"  # in run/


def run(settings: Settings, scoreboard: Scoreboard, *, since: datetime) -> int:
    """The whole life of the process, until SIGTERM or SIGINT."""
    with closing(Stop()) as stop:
        scoreboard.begin(os.getpid())
        with closing(Service(settings, scoreboard, since)) as service:
            service.serve(stop)
    log.info("audit.stopped")
    return ExitCode.DONE


class Service:
    """One home's audit service. `turn` is one round of its loop."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard, since: datetime) -> None:
        self._settings = settings
        self._scoreboard = scoreboard
        self._since = since
        self._path = settings.paths.run / CURSOR
        self._host = os.uname().nodename
        self._engine = make_engine(settings)
        writer = Writer(
            source=settings.audit.source_id,
            host=self._host,
            ae_title=settings.server.ae_title,
            patients=settings.audit.patients,
        )
        self._feed = Feed(self._engine, settings.paths, writer)
        self._sender = Sender(settings.audit)
        self._saved: Cursor | None = None  # what is on disk
        self._sent = Cursor()  # what was handed over
        self._mark: tuple[float, Cursor] | None = None  # handed over then (monotonic), not confirmed yet
        self._outage = Outage(scoreboard, "audit.waiting", "audit.back", BACKOFF_SECONDS)

    def serve(self, stop: Stop) -> None:
        """Go on until told to stop."""
        log.info("audit.ready", server=self._settings.audit.syslog)
        while not stop.received:
            self._scoreboard.set(Counter.HEARTBEAT_NS, time.time_ns())
            try:
                more = self.turn()
            except (NoctisError, OSError) as error:
                stop.wait(self._away(error))
                continue
            if not more:
                stop.wait(LOOK_SECONDS)
        self.finish()

    def turn(self) -> bool:
        """Tell what there is; whether there is more.

        Raises
        ------
        NoctisError, OSError
            The database or the server is away. Nothing is lost.
        """
        if self._saved is None:
            self._begin()
        self._look_at_connection()
        turn = self._feed.read(self._sent)
        if turn.messages:
            self._sender.connect()
            self._sender.send(encode(message, self._host) for message in turn.messages)
            self._scoreboard.add(Counter.INSTANCES, len(turn.messages))
            self._scoreboard.set(Counter.LAST_INSTANCE_NS, time.time_ns())
        self._sent = turn.cursor
        self._confirm()
        self._scoreboard.set(Counter.PENDING, self._feed.waiting(self._sent))
        return turn.more

    def _begin(self) -> None:
        require_current(self._engine, self._settings.paths)
        found = cursors.load(self._path)
        self._saved = self._sent = self._feed.begin(self._since) if found is None else self._feed.checked(found)
        if self._saved is not found:
            self._saved.save(self._path)

    def _confirm(self) -> None:
        """Save what is as sure to have arrived as can be known."""
        now = time.monotonic()
        if self._mark is not None and now - self._mark[0] >= CONFIRM_SECONDS:
            if not self._sender.drained():
                return
            self._look_at_connection()
            self._save(self._mark[1])
            self._mark = None
        if self._sent == self._saved:
            self._back()
        elif self._mark is None:
            self._mark = (now, self._sent)

    def _look_at_connection(self) -> None:
        """A server may close a connection that is idle; one that goes with something unconfirmed is an outage."""
        if self._sender.connected and not self._sender.alive():
            self._sender.close()
            if self._sent != self._saved:
                raise ConnectionError("the server closed the connection soon after it was sent something")

    def _save(self, cursor: Cursor) -> None:
        if cursor != self._saved:
            cursor.save(self._path)
            self._saved = cursor
            self._back()

    def _rewind(self) -> None:
        """The connection is no more: what was not confirmed is sent again."""
        self._sender.close()
        self._mark = None
        if self._saved is not None and self._sent != self._saved:
            self._sent = self._saved
            self._feed.rewind()

    def finish(self) -> None:
        """The end: a server that closes its end after ours has read everything."""
        try:
            if self._saved is not None and self._sent != self._saved and self._sender.finish():
                self._save(self._sent)
        except OSError as error:
            log.warning("audit.cursor_not_saved", error=str(error))

    def close(self) -> None:
        self._sender.close()
        self._engine.dispose()

    # -- outages

    def _away(self, error: Exception) -> float:
        """Seconds until the next attempt."""
        self._rewind()
        if isinstance(error, UpgradingError):
            return self._outage.met(error)
        if not self._scoreboard.get(Counter.OLDEST_NS):
            self._scoreboard.set(Counter.OLDEST_NS, time.time_ns())
        try:
            self._scoreboard.set(Counter.PENDING, self._feed.waiting(self._sent))
        except NoctisError:
            pass  # the database is what is away
        known = isinstance(error, NoctisError)
        return self._outage.met(error, None if known else f"{self._settings.audit.syslog}: {_reason(error)}")

    def _back(self) -> None:
        self._scoreboard.set(Counter.OLDEST_NS, 0)
        self._outage.over()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
