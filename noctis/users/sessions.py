"""Sessions: who is logged in. Rows in the database, so that a logout is one, everywhere and at once.

The browser has a secret of 256 random bits in a cookie; the table has its SHA-256. A login always makes a new secret,
so one that somebody planted beforehand is worth nothing.
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, delete, insert, update

from noctis.db.engine import reachable, reading
from noctis.db.models import WebSession
from noctis.sections import WebSettings
from noctis.users.accounts import AccountRecord, record_of, records

SEEN_SECONDS = 60  # how exact `last_seen` is: not every request writes


class Sessions:
    """The sessions of one database."""

    def __init__(self, engine: Engine, settings: WebSettings) -> None:
        self._engine = engine
        self._lasts = timedelta(hours=settings.session_hours)
        self._idle = timedelta(minutes=settings.idle_minutes)

    def start(self, account: AccountRecord, address: str) -> str:
        """A new session; what the cookie shall hold."""
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        row = {"token": _digest(secret), "account_id": account.id, "address": address}
        times = {"created_at": now, "last_seen": now, "expires_at": now + self._lasts}
        with reachable(self._engine), self._engine.begin() as connection:
            connection.execute(delete(WebSession).where(WebSession.expires_at < now))
            connection.execute(insert(WebSession).values(row | times))
        return secret

    def account(self, secret: str) -> AccountRecord | None:
        """Whose session this is; None: nobody's, or it has ended."""
        now = datetime.now(UTC)
        query = (
            records()
            .add_columns(WebSession.last_seen, WebSession.token)
            .join(WebSession)
            .where(WebSession.token == _digest(secret), WebSession.expires_at > now)
            .where(WebSession.last_seen > now - self._idle)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        if (now - row.last_seen).total_seconds() > SEEN_SECONDS:
            with reachable(self._engine), self._engine.begin() as connection:
                connection.execute(update(WebSession).where(WebSession.token == row.token).values(last_seen=now))
        return record_of(row)

    def end(self, secret: str) -> None:
        """Log out."""
        with reachable(self._engine), self._engine.begin() as connection:
            connection.execute(delete(WebSession).where(WebSession.token == _digest(secret)))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
