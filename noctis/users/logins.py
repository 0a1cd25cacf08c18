"""Logging in: the one place where a password is looked at.

Somebody who guesses is stopped twice: after `throttle.FAILURES_MAX` wrong passwords in a row an account is locked for a
while, each time for twice as long, which is kept in the database; and an address may be wrong `ADDRESS_FAILURES_MAX`
times in `ADDRESS_SECONDS`, whatever names it tries, which is kept in this process. A name that nobody has is answered
like one that somebody has: as late, and it is locked as well. Log-ins, refusals and locks are events; of a name that
nobody has it is not written which (it may be a password in the wrong place).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from noctis.db.engine import reachable
from noctis.db.models import Account, WebSession
from noctis.errors import UsageError
from noctis.users import passwords
from noctis.users.accounts import (
    NAME_MAX,
    AccountRecord,
    canonical,
    changing,
    end_sessions,
    note,
    record_of,
    records,
)
from noctis.users.sessions import Sessions
from noctis.users.throttle import Strangers, Throttle, lock_seconds, network

ADDRESS_FAILURES_MAX, ADDRESS_SECONDS = 20, 600
EVENTS_MAX, EVENTS_SECONDS = 60, 60  # refusals that are written down: a flood shall not fill the table
NOBODY = "nobody"  # who is named as the actor of what somebody unknown did


class RefusedError(UsageError):
    """The name or the password is wrong; which of them is not told."""


class LockedError(UsageError):
    """Too many wrong passwords; the message says until when."""

    def __init__(self, message: str, seconds: float, *, fix: str | None = None) -> None:
        self.seconds = int(seconds) + 1
        wait = f"wait {self.seconds} seconds; an admin can unlock an account on the page Users"
        super().__init__(message, fix=fix or wait)


@dataclass(frozen=True)
class LoggedInAs:
    """Whose session began, and what the cookie shall hold."""

    account: AccountRecord
    secret: str


class Logins:
    """The log-ins of one process. Safe from several threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions
        self._addresses = Throttle(ADDRESS_FAILURES_MAX, ADDRESS_SECONDS)
        self._events = Throttle(EVENTS_MAX, EVENTS_SECONDS)
        self._strangers = Strangers()

    def log_in(self, name: str, password: str, address: str) -> LoggedInAs:
        """A new session for whoever has this name and password.

        Raises
        ------
        RefusedError, LockedError, BusyError
            See there.
        """
        digest = self._check(name, password, address)
        now = datetime.now(UTC)
        with changing(self._engine) as session:
            account = self._still(session, name, digest, now)
            account.failures, account.locked_until, account.last_login = 0, None, now
            secret = self._sessions.insert(session.connection(), account.id, address)
            note(session, account.name, "session.login", account.name, address=address)
            session.flush()
            record = record_of(session.execute(records().where(Account.id == account.id)).one())
        return LoggedInAs(record, secret)

    def change_password(self, account: AccountRecord, current: str, password: str, address: str) -> str:
        """Set one's own password, which takes the current one; ends all sessions and begins one, whose secret it is.

        Raises
        ------
        UsageError, RefusedError, LockedError, BusyError
            The new password does not do, or the current one is wrong, which counts as at a log-in.
        """
        digest = passwords.digest(password)
        known = self.confirm(account, current, address)
        with changing(self._engine) as session:
            row = self._still(session, account.name, known, datetime.now(UTC))
            row.password, row.failures, row.locked_until = digest, 0, None
            end_sessions(session, row)
            note(session, row.name, "user.password_set", row.name)
            session.flush()
            secret = self._sessions.insert(session.connection(), row.id, address)
        self._sessions.forget(row.id)
        return secret

    def confirm(self, account: AccountRecord, current: str, address: str) -> str:
        """Somebody who is logged in shows that it is them, by the current password; its digest.

        Raises
        ------
        RefusedError, LockedError, BusyError
            It is wrong, which counts as at a log-in.
        """
        try:
            return self._check(account.name, current, address)
        except RefusedError:
            raise RefusedError("the current password is wrong") from None

    def end(self, account: AccountRecord, token: str) -> None:
        """End one of somebody's own sessions, by its `SessionRecord.token`."""
        with changing(self._engine) as session:
            found = session.get(WebSession, token) if token.isalnum() else None
            if found is not None and found.account_id == account.id:
                session.delete(found)
                note(session, account.name, "session.logout", account.name)
        self._sessions.forget(account.id)

    def log_out(self, secret: str) -> None:
        """End one session."""
        account = self._sessions.account(secret, touch=False)
        self._sessions.end(secret)
        if account is not None:
            with changing(self._engine) as session:
                note(session, account.name, "session.logout", account.name)

    # -- how

    def _check(self, name: str, password: str, address: str) -> str:
        """The digest that this password is of, if it is the account's."""
        known, where = canonical(name)[: NAME_MAX + 1], network(address)
        if seconds := self._addresses.take(where):
            raise LockedError("too many wrong passwords from your address", seconds)
        account = self._find(known)
        now = datetime.now(UTC)
        if account is None:
            locked = self._strangers.locked(known)
        else:
            locked = (account.locked_until - now).total_seconds() if account.locked_until else 0.0
        if locked > 0:
            self._refuse(account, address, "locked", locked=locked)
        try:  # no transaction is open while this takes its time
            right = passwords.matches(password, account.password if account else None)
        except passwords.BusyError:
            self._addresses.give_back(where)
            raise
        if not right:
            if account is None:
                self._strangers.failed(known)
            self._refuse(account, address, "wrong password" if account else "no such user", counts=True)
        assert account is not None
        self._addresses.give_back(where)
        return account.password

    def _find(self, known: str) -> Account | None:
        if not known.isprintable() or len(known) > NAME_MAX:
            return None
        with reachable(self._engine), Session(self._engine, expire_on_commit=False) as session:
            return session.scalar(select(Account).where(Account.name == known))

    def _still(self, session: Session, name: str, digest: str, now: datetime) -> Account:
        """The account, now that nobody else changes it: what was found before may have changed."""
        account = session.scalar(select(Account).where(Account.name == canonical(name)))
        if account is None or account.password != digest:
            raise RefusedError("the name or the password is wrong")
        if account.locked_until is not None and account.locked_until > now:
            raise LockedError("too many wrong passwords", (account.locked_until - now).total_seconds())
        return account

    def _refuse(
        self, account: Account | None, address: str, reason: str, *, locked: float = 0.0, counts: bool = False
    ) -> NoReturn:
        """Write down that somebody was refused, and say so."""
        with changing(self._engine) as session:
            row = session.get(Account, account.id) if account else None
            actor = row.name if row else NOBODY
            if counts and row is not None:
                row.failures += 1
                if seconds := lock_seconds(row.failures):
                    row.locked_until = datetime.now(UTC) + timedelta(seconds=seconds)
                    note(session, actor, "user.locked", row.name, failures=row.failures, seconds=seconds)
            if not self._events.take(""):
                note(session, actor, "session.refused", row.name if row else "", address=address, reason=reason)
            if counts and self._addresses.is_used_up(network(address)):
                note(session, NOBODY, "session.address_locked", address, failures=self._addresses.limit)
        if locked:
            raise LockedError("too many wrong passwords", locked)
        raise RefusedError("the name or the password is wrong")
