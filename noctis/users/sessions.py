"""Sessions: who is logged in. Rows in the database, so that a logout is one, everywhere and at once.

The browser has a secret of 256 random bits in a cookie; the table has its SHA-256. A login always makes a new secret,
so one that somebody planted beforehand is worth nothing. A session ends after `web.session_hours`, and when nothing was
asked for `web.idle_minutes`. With the database away, who was logged in a moment ago may go on looking, and no more.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from noctis.db.engine import reachable, reading
from noctis.db.models import WebSession
from noctis.errors import DatabaseError
from noctis.sections import WebSettings
from noctis.users.accounts import AccountRecord, record_of, records
from noctis.users.believed import Believed

SEEN_SECONDS = 60.0  # how exact `last_seen` is: not every request writes
SESSIONS_MAX = 20  # of one account: a further login ends the one that was seen longest ago
SECRET_MAX = 200  # characters of a cookie that is looked at


@dataclass(frozen=True)
class SessionRecord:
    """One login that is in force, for whoever logged in."""

    token: str  # which one it is: the digest of its secret, of no use to log in with
    address: str
    created_at: datetime
    last_seen: datetime
    expires_at: datetime


class Sessions:
    """The sessions of one database."""

    def __init__(self, engine: Engine, settings: WebSettings) -> None:
        self._engine = engine
        self._lasts = timedelta(hours=settings.session_hours)
        self._idle = timedelta(minutes=settings.idle_minutes)
        self._exact = min(SEEN_SECONDS, self._idle.total_seconds() / 4)
        self._believed: Believed[AccountRecord] = Believed()

    def start(self, account: AccountRecord, address: str) -> str:
        """A new session; what the cookie shall hold."""
        with reachable(self._engine), self._engine.begin() as connection:
            return self.insert(connection, account.id, address)

    def insert(self, connection: Connection, account_id: int, address: str) -> str:
        """The same, in somebody else's transaction."""
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        own = WebSession.account_id == account_id
        last = select(WebSession.token).where(own).order_by(WebSession.last_seen.desc()).limit(SESSIONS_MAX - 1)
        connection.execute(delete(WebSession).where(self._ended(now)))
        kept = list(connection.scalars(last))
        connection.execute(delete(WebSession).where(own, WebSession.token.not_in(kept)))
        row = {"token": _digest(secret), "account_id": account_id, "address": address}
        times = {"created_at": now, "last_seen": now, "expires_at": now + self._lasts}
        connection.execute(insert(WebSession).values(row | times))
        return secret

    def account(self, secret: str, *, touch: bool = True, looking: bool = False) -> AccountRecord | None:
        """Whose session this is; None: nobody's, or it has ended.

        Parameters
        ----------
        touch
            Whether somebody is there: a page that asks again by itself keeps no session alive.
        looking
            Nothing is to be changed: with the database away it is enough to have been logged in `OUTAGE_SECONDS` ago.

        Raises
        ------
        DatabaseError
            It is away, and nobody is believed in.
        """
        if len(secret) > SECRET_MAX:
            return None
        token, now = _digest(secret), datetime.now(UTC)
        known = self._believed.of(token) if looking else None
        if known is not None and self._believed.is_away:
            return known
        query = (
            records()
            .add_columns(WebSession.last_seen, WebSession.token, WebSession.expires_at)
            .join(WebSession)
            .where(WebSession.token == token, ~self._ended(now))
        )
        try:
            with reading(self._engine) as connection:
                row = connection.execute(query).first()
        except DatabaseError:
            self._believed.went_away()
            if known is None:
                raise
            return known
        self._believed.came_back()
        if row is None:
            self._believed.drop(token)
            return None
        account = record_of(row)
        self._believed.remember(token, account, account.id, row.expires_at)
        if touch and (now - row.last_seen).total_seconds() > self._exact:
            with reachable(self._engine), self._engine.begin() as connection:
                connection.execute(update(WebSession).where(WebSession.token == row.token).values(last_seen=now))
        return account

    def forget(self, account_id: int) -> None:
        """The account's sessions have ended: they are not believed in either while the database is away."""
        self._believed.forget(account_id)

    def of(self, account: AccountRecord) -> list[SessionRecord]:
        """Where somebody is logged in, the one seen last first."""
        columns = [getattr(WebSession, name) for name in SessionRecord.__dataclass_fields__]
        query = (
            select(*columns)
            .where(WebSession.account_id == account.id, ~self._ended(datetime.now(UTC)))
            .order_by(WebSession.last_seen.desc(), WebSession.token)
        )
        with reading(self._engine) as connection:
            return [SessionRecord(*row) for row in connection.execute(query)]

    def end(self, secret: str) -> None:
        """Log out."""
        self._believed.drop(_digest(secret))
        with reachable(self._engine), self._engine.begin() as connection:
            connection.execute(delete(WebSession).where(WebSession.token == _digest(secret)))

    def _ended(self, now: datetime) -> Any:
        return (WebSession.expires_at <= now) | (WebSession.last_seen <= now - self._idle)


def token_of(secret: str) -> str:
    """Which of `Sessions.of` a cookie's is."""
    return _digest(secret)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
