"""Accounts in the database: who may log in, as what, and with which password.

Passwords are kept as Argon2id digests. A wrong one takes as long as a right one, also for a name that there is not.
After `FAILURES_MAX` wrong ones in a row an account is locked for a while, each time for twice as long.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from pwdlib import PasswordHash
from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from noctis.db.engine import lock_registry, reachable, reading
from noctis.db.models import Account, Event, Facility, WebSession
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.users.roles import Role

PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters
NAME_MAX = 64
FAILURES_MAX = 5
LOCK_SECONDS, LOCK_SECONDS_MAX = 60, 3600


@dataclass(frozen=True)
class AccountRecord:
    """One account, without its password."""

    id: int
    name: str
    role: Role
    facility: str | None  # slug; of the role `facility` alone
    facility_id: int | None
    email: str | None
    locked_until: datetime | None
    last_login: datetime | None
    created_at: datetime

    def as_json(self) -> dict[str, Any]:
        times = ("locked_until", "last_login", "created_at")
        document = {name: getattr(self, name) for name in ("name", "role", "facility", "email")}
        return document | {name: value.isoformat() if (value := getattr(self, name)) else None for name in times}


class LockedError(UsageError):
    """Too many wrong passwords; the message says until when."""


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobody() -> str:
    return _hasher().hash("nobody's")


def check_password(password: str) -> str:
    """A password that may be set.

    Raises
    ------
    UsageError
        It is too short or too long.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise UsageError(f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters, this one {len(password)}")
    return password


def check_name(name: str) -> str:
    """A name to log in with.

    Raises
    ------
    UsageError
        It is empty, too long, or has spaces or control characters.
    """
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable() or any(each.isspace() for each in name):
        raise UsageError(f"a user's name has 1 to {NAME_MAX} characters and no spaces, unlike {name!r}")
    return name


class Accounts:
    """The accounts; one object for the command line and the pages. Every change also writes its event."""

    def __init__(self, engine: Engine, actor: str) -> None:
        self._engine = engine
        self._actor = actor

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        with reachable(self._engine), Session(self._engine, expire_on_commit=False) as session, session.begin():
            lock_registry(session.connection())
            yield session

    # -- looking

    def all(self) -> list[AccountRecord]:
        """By name."""
        return self._fetch(records().order_by(Account.name))

    def get(self, name: str) -> AccountRecord:
        """One account.

        Raises
        ------
        NotFoundError
            There is none of this name.
        """
        found = self._fetch(records().where(func.lower(Account.name) == name.lower()))
        if not found:
            raise NotFoundError(f"there is no user {name!r}", fix="noctis user list")
        return found[0]

    def is_empty(self) -> bool:
        """Whether nobody can log in yet."""
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).select_from(Account)) == 0

    def _fetch(self, query: Select[Any]) -> list[AccountRecord]:
        with reading(self._engine) as connection:
            return [record_of(row) for row in connection.execute(query)]

    # -- changing

    def add(
        self, name: str, password: str, role: Role, *, facility: str | None = None, email: str | None = None
    ) -> AccountRecord:
        """A new account; `facility` is the slug, of the role `facility` alone.

        Raises
        ------
        UsageError, ConflictError, NotFoundError
            The name is taken or malformed, the password too short, or the facility is missing or unknown.
        """
        name, digest = check_name(name), _hasher().hash(check_password(password))
        with self._changing() as session:
            if session.scalar(select(Account.id).where(func.lower(Account.name) == name.lower())) is not None:
                raise ConflictError(f"there is a user {name!r} already", fix=f"noctis user passwd {name}")
            facility_id = _facility_id(session, role, facility)
            account = Account(name=name, role=str(role), facility_id=facility_id, password=digest, email=email)
            session.add(account)
            self._note(session, "user.added", name, role=str(role), facility=facility)
        return self.get(name)

    def set_password(self, name: str, password: str) -> None:
        """A new password; ends the account's sessions and its lock.

        Raises
        ------
        UsageError, NotFoundError
            It is too short, or there is no such account.
        """
        digest = _hasher().hash(check_password(password))
        with self._changing() as session:
            account = _find(session, name)
            account.password, account.failures, account.locked_until = digest, 0, None
            _end_sessions(session, account)
            self._note(session, "user.password_set", account.name)

    def edit(self, name: str, role: Role, *, facility: str | None = None, email: str | None = None) -> AccountRecord:
        """Another role, facility or address; ends the account's sessions when what it may do is another thing.

        Raises
        ------
        UsageError, ConflictError, NotFoundError
            There is no such account or facility, or it is the last admin.
        """
        with self._changing() as session:
            account = _find(session, name)
            before = (account.role, account.facility_id)
            if role != Role.ADMIN:
                _refuse_last_admin(session, account)
            account.role, account.facility_id = str(role), _facility_id(session, role, facility)
            account.email = email
            if before != (account.role, account.facility_id):
                _end_sessions(session, account)
            self._note(session, "user.edited", account.name, role=str(role), facility=facility)
        return self.get(name)

    def remove(self, name: str) -> None:
        """Take an account away, with its sessions.

        Raises
        ------
        ConflictError, NotFoundError
            It is the last admin, or there is no such account.
        """
        with self._changing() as session:
            account = _find(session, name)
            _refuse_last_admin(session, account)
            _end_sessions(session, account)
            session.delete(account)
            self._note(session, "user.removed", account.name)

    # -- logging in

    def verify(self, name: str, password: str) -> AccountRecord | None:
        """The account, if this is its password. Counts what was wrong.

        Raises
        ------
        LockedError
            Too many wrong ones; not even the right one is looked at.
        """
        now = datetime.now(UTC)
        with reachable(self._engine), Session(self._engine) as session:
            account = session.scalar(select(Account).where(func.lower(Account.name) == name.lower()))
            digest = account.password if account else _nobody()
            locked = account.locked_until if account else None
        right = _hasher().verify(password[:PASSWORD_MAX], digest)  # no transaction is open while this takes its time
        if locked is not None and locked > now:
            seconds = round((locked - now).total_seconds()) + 1
            raise LockedError(
                "too many wrong passwords", fix=f"wait {seconds} seconds, or an admin: noctis user passwd {name}"
            )
        if account is None:
            return None
        with reachable(self._engine), Session(self._engine) as session, session.begin():
            lock_registry(session.connection())
            account = session.scalar(select(Account).where(Account.name == account.name))
            if account is None:
                return None
            if right:
                account.failures, account.locked_until, account.last_login = 0, None, now
            else:
                account.failures += 1
                if account.failures >= FAILURES_MAX:
                    seconds = LOCK_SECONDS << min(account.failures - FAILURES_MAX, 16)
                    account.locked_until = now + timedelta(seconds=min(seconds, LOCK_SECONDS_MAX))
                    self._note(session, "user.locked", account.name, failures=account.failures)
            name = account.name
        return self.get(name) if right else None

    def _note(self, session: Session, action: str, name: str, **detail: Any) -> None:
        kept = {key: value for key, value in detail.items() if value is not None}
        session.add(Event(actor=self._actor, action=action, subject=name, detail=kept))


def records() -> Select[Any]:
    columns = [getattr(Account, each) for each in AccountRecord.__dataclass_fields__ if each != "facility"]
    return select(*columns, Facility.slug.label("facility")).outerjoin(Facility, Facility.id == Account.facility_id)


def record_of(row: Any) -> AccountRecord:
    fields = {name: getattr(row, name) for name in AccountRecord.__dataclass_fields__}
    return AccountRecord(**{**fields, "role": Role(row.role)})


def _find(session: Session, name: str) -> Account:
    account = session.scalar(select(Account).where(func.lower(Account.name) == name.lower()))
    if account is None:
        raise NotFoundError(f"there is no user {name!r}", fix="noctis user list")
    return account


def _facility_id(session: Session, role: Role, slug: str | None) -> int | None:
    if (role == Role.FACILITY) != (slug is not None):
        raise UsageError("the role 'facility', and no other, has a facility", fix="--role facility --facility NAME")
    if slug is None:
        return None
    found = session.scalar(select(Facility.id).where(Facility.slug == slug))
    if found is None:
        raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
    return found


def _refuse_last_admin(session: Session, account: Account) -> None:
    if account.role != Role.ADMIN:
        return
    admins = session.scalar(select(func.count()).select_from(Account).where(Account.role == Role.ADMIN))
    if admins == 1:
        raise ConflictError(f"{account.name!r} is the last admin", fix="make another one first")


def _end_sessions(session: Session, account: Account) -> None:
    for each in session.scalars(select(WebSession).where(WebSession.account_id == account.id)):
        session.delete(each)
