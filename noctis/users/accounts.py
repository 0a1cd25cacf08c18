"""Accounts in the database: who may log in, and as what. Every change also writes its event.

A user's name is kept in one form, lower case and composed: `Ada` logs in as `ada`. There is always an admin once there
was one. Whatever changes what an account may do ends its sessions; its tokens (users/tokens.py) may what it may, from
then on.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal

from sqlalchemy import Engine, Select, delete, func, select
from sqlalchemy.orm import Session

from noctis.db.engine import lock_registry, reachable, reading
from noctis.db.models import Account, ApiToken, Event, Facility, WebSession
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.facilities.naming import is_slug
from noctis.users import passwords
from noctis.users.roles import Role

NAME_MAX = 64
EMAIL_MAX = 254  # RFC 5321 §4.5.3.1.3, without the brackets
_NAME = re.compile(r"\w[\w.@+-]*")
_EMAIL = re.compile(r"[^\s@<>\"(),:;\\]+@[^\s@<>\"(),:;\\]+")


class Keep(Enum):
    """What an edit leaves as it is."""

    KEEP = 0


KEEP: Final = Keep.KEEP


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


def canonical(name: str) -> str:
    """A user's name in the one form that it is kept in, whatever was typed."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().lower())


def check_name(name: str) -> str:
    """A name to log in with, in the form that it is kept in.

    Raises
    ------
    UsageError
        It is empty, too long, or has other characters than letters, digits and `. _ @ + -`.
    """
    found = canonical(name)
    if len(found) > NAME_MAX or not _NAME.fullmatch(found):
        raise UsageError(
            f"{name[:NAME_MAX]!r} cannot be a user's name",
            fix=f"1 to {NAME_MAX} letters, digits and . _ @ + - in any order, a letter or digit first",
        )
    return found


def check_email(email: str | None) -> str | None:
    """An e-mail address; None and "" are none.

    Raises
    ------
    UsageError
        It cannot be one.
    """
    email = (email or "").strip()
    if not email:
        return None
    if len(email) > EMAIL_MAX or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise UsageError(f"{email[:EMAIL_MAX]!r} is no e-mail address", fix="name@example.org")
    return email


class Accounts:
    """The accounts; one object for the command line and the pages.

    Parameters
    ----------
    ended
        Is told the id of an account whose sessions have ended.
    """

    def __init__(self, engine: Engine, actor: str, ended: Callable[[int], None] = lambda _: None) -> None:
        self._engine = engine
        self._actor = actor
        self._ended = ended

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
        known = canonical(name)
        found = self._fetch(records().where(Account.name == known)) if _NAME.fullmatch(known) else []
        if not found:
            raise _unknown(name)
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
        name, email, digest = check_name(name), check_email(email), passwords.digest(password)
        with changing(self._engine) as session:
            return self._add(session, name, digest, role, facility, email)

    def add_first(self, name: str, password: str) -> AccountRecord:
        """The first account of all, an admin; of several that come at once one is made.

        Raises
        ------
        UsageError, ConflictError
            Name or password do not do, or there is an account already.
        """
        name, digest = check_name(name), passwords.digest(password)
        with changing(self._engine) as session:
            if session.scalar(select(Account.id).limit(1)) is not None:
                raise ConflictError("there is a user already", fix="log in, or ask an admin for an account")
            return self._add(session, name, digest, Role.ADMIN, None, None)

    def _add(
        self, session: Session, name: str, digest: str, role: Role, facility: str | None, email: str | None
    ) -> AccountRecord:
        if session.scalar(select(Account.id).where(Account.name == name)) is not None:
            raise ConflictError(f"there is a user {name!r} already", fix=f"noctis user passwd {name}")
        facility_id = _facility_id(session, role, facility)
        session.add(Account(name=name, role=str(role), facility_id=facility_id, password=digest, email=email))
        self._note(session, "user.added", name, role=str(role), facility=facility)
        return _record(session, name)

    def set_password(self, name: str, password: str) -> None:
        """A new password, set by another than the owner; ends the account's sessions, tokens and lock.

        Raises
        ------
        UsageError, NotFoundError
            It does not do, or there is no such account.
        """
        digest = passwords.digest(password)
        with changing(self._engine) as session:
            account = account_row(session, name)
            account.password, account.failures, account.locked_until = digest, 0, None
            end_sessions(session, account)
            self._note(session, "user.password_set", account.name, tokens=end_tokens(session, account) or None)
        self._ended(account.id)

    def edit(
        self,
        name: str,
        *,
        role: Role | None = None,
        facility: str | Literal[Keep.KEEP] | None = KEEP,
        email: str | Literal[Keep.KEEP] | None = KEEP,
    ) -> AccountRecord:
        """Another role, facility or address; ends the account's sessions when what it may do is another thing.

        Parameters
        ----------
        facility
            The slug. Another role than `facility` has none, so it need not be said then.

        Raises
        ------
        UsageError, ConflictError, NotFoundError
            There is no such account or facility, or it is the last admin.
        """
        address = email if isinstance(email, Keep) else check_email(email)
        with changing(self._engine) as session:
            account = account_row(session, name)
            before = (account.role, account.facility_id)
            role = role or Role(account.role)
            if role != Role.ADMIN:
                _refuse_last_admin(session, account)
            if isinstance(facility, Keep):
                kept = account.facility_id is not None and role == Role.FACILITY
                account.facility_id = account.facility_id if kept else _facility_id(session, role, None)
            else:
                account.facility_id = _facility_id(session, role, facility)
            account.role = str(role)
            if not isinstance(address, Keep):
                account.email = address
            if before != (account.role, account.facility_id):
                end_sessions(session, account)
            session.flush()
            record = _record(session, account.name)
            self._note(session, "user.edited", account.name, role=str(role), facility=record.facility)
        self._ended(record.id)
        return record

    def unlock(self, name: str) -> None:
        """Forget the wrong passwords.

        Raises
        ------
        NotFoundError
            There is no such account.
        """
        with changing(self._engine) as session:
            account = account_row(session, name)
            account.failures, account.locked_until = 0, None
            self._note(session, "user.unlocked", account.name)

    def log_out(self, name: str) -> int:
        """End every session of an account; how many there were.

        Raises
        ------
        NotFoundError
            There is no such account.
        """
        with changing(self._engine) as session:
            account = account_row(session, name)
            count = end_sessions(session, account)
            self._note(session, "user.logged_out", account.name, sessions=count)
        self._ended(account.id)
        return count

    def remove(self, name: str) -> None:
        """Take an account away, with its sessions and tokens.

        Raises
        ------
        ConflictError, NotFoundError
            It is the last admin, or there is no such account.
        """
        with changing(self._engine) as session:
            account = account_row(session, name)
            _refuse_last_admin(session, account)
            end_sessions(session, account)
            end_tokens(session, account)
            session.delete(account)
            self._note(session, "user.removed", account.name)
        self._ended(account.id)

    def _note(self, session: Session, action: str, name: str, **detail: Any) -> None:
        note(session, self._actor, action, name, **detail)


@contextmanager
def changing(engine: Engine) -> Iterator[Session]:
    """A transaction that no other change of accounts, facilities or devices runs beside."""
    with reachable(engine), Session(engine, expire_on_commit=False) as session, session.begin():
        lock_registry(session.connection())
        yield session


def note(session: Session, actor: str, action: str, name: str, **detail: Any) -> None:
    """An event, written with the change itself."""
    kept = {key: value for key, value in detail.items() if value is not None}
    session.add(Event(actor=actor, action=action, subject=name, detail=kept))


def records() -> Select[Any]:
    columns = [getattr(Account, each) for each in AccountRecord.__dataclass_fields__ if each != "facility"]
    return select(*columns, Facility.slug.label("facility")).outerjoin(Facility, Facility.id == Account.facility_id)


def record_of(row: Any) -> AccountRecord:
    fields = {name: getattr(row, name) for name in AccountRecord.__dataclass_fields__}
    return AccountRecord(**{**fields, "role": Role(row.role)})


def _record(session: Session, name: str) -> AccountRecord:
    session.flush()
    return record_of(session.execute(records().where(Account.name == name)).one())


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no user {name[:NAME_MAX]!r}", fix="noctis user list")


def account_row(session: Session, name: str) -> Account:
    """The account of this name, for one who changes it.

    Raises
    ------
    NotFoundError
        There is none.
    """
    known = canonical(name)
    account = session.scalar(select(Account).where(Account.name == known)) if _NAME.fullmatch(known) else None
    if account is None:
        raise _unknown(name)
    return account


def _facility_id(session: Session, role: Role, slug: str | None) -> int | None:
    if (role == Role.FACILITY) != (slug is not None):
        raise UsageError("the role 'facility', and no other, has a facility", fix="--role facility --facility NAME")
    if slug is None:
        return None
    known = Facility.slug == slug
    found = session.scalar(select(Facility.id).where(known, Facility.removed_at.is_(None))) if is_slug(slug) else None
    if found is None:
        raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
    return found


def _refuse_last_admin(session: Session, account: Account) -> None:
    if account.role != Role.ADMIN:
        return
    admins = session.scalar(select(func.count()).select_from(Account).where(Account.role == Role.ADMIN))
    if admins == 1:
        raise ConflictError(f"{account.name!r} is the last admin", fix="make another one first")


def end_sessions(session: Session, account: Account) -> int:
    """Log somebody out everywhere; how many sessions that were."""
    ended = session.execute(delete(WebSession).where(WebSession.account_id == account.id))
    return int(getattr(ended, "rowcount", 0))


def end_tokens(session: Session, account: Account) -> int:
    """Take every token of an account away; how many there were."""
    ended = session.execute(delete(ApiToken).where(ApiToken.account_id == account.id))
    return int(getattr(ended, "rowcount", 0))
