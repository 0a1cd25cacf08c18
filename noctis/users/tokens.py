"""API tokens: what a program shows in place of a password and a cookie. Rows in the database, as sessions are.

A token is `noctis_` and 256 random bits; it is told once, the table has its SHA-256. (No slow digest: nobody finds 256
bits by trying.) It may what its account may at that moment, or only look, until it expires or is removed. It is removed
with its account, and when somebody else sets the account's password; the owner's own change of the password keeps it,
so that a script need not know of it. Every change also writes its event, which has the token's name, never the token.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Select, delete, func, select
from sqlalchemy.orm import Session

from noctis.db.engine import reading
from noctis.db.models import Account, ApiToken
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.users.accounts import account_row, changing, note

PREFIX = "noctis_"  # scanners for secrets find it by this
PATTERN = re.compile(PREFIX + r"[0-9a-f]{64}")
NAME_MAX = 64
DAYS_MAX = 3650
TOKENS_MAX = 50  # of one account
ID_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class TokenRecord:
    """One token, without itself."""

    id: int
    account: str  # the user's name
    name: str  # what it is for
    read_only: bool
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None
    address: str  # from where it was used last

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    def as_json(self) -> dict[str, Any]:
        times = ("created_at", "expires_at", "last_used")
        document = {name: getattr(self, name) for name in ("id", "account", "name", "read_only", "address")}
        return document | {name: value.isoformat() if (value := getattr(self, name)) else None for name in times}


@dataclass(frozen=True)
class NewToken:
    """A token that was made in this moment."""

    record: TokenRecord
    secret: str  # the token itself: to be shown, and forgotten


def check_name(name: str) -> str:
    """What a token is for, in a few words.

    Raises
    ------
    UsageError
        It is empty, too long, or cannot be printed.
    """
    found = name.strip()
    if not 1 <= len(found) <= NAME_MAX or not found.isprintable():
        raise UsageError(
            f"{name[:NAME_MAX]!r} cannot be a token's name", fix=f"1 to {NAME_MAX} characters: what the token is for"
        )
    return found


def check_days(days: int | None) -> int | None:
    """For how many days a token is good; None: until it is removed.

    Raises
    ------
    UsageError
        It is not between 1 and `DAYS_MAX`.
    """
    if days is not None and not 1 <= days <= DAYS_MAX:
        raise UsageError(f"a token is good for 1 to {DAYS_MAX} days, or until it is removed")
    return days


class Tokens:
    """The tokens of all accounts; one object for the command line and the pages."""

    def __init__(self, engine: Engine, actor: str) -> None:
        self._engine = engine
        self._actor = actor

    def all(self, account: str | None = None) -> list[TokenRecord]:
        """By user and age; of one user, or of all.

        Raises
        ------
        NotFoundError
            There is no such user.
        """
        query = token_rows().order_by(Account.name, ApiToken.id)
        with reading(self._engine) as connection, Session(connection) as session:
            if account is not None:
                query = query.where(Account.id == account_row(session, account).id)
            return [token_of(row) for row in connection.execute(query)]

    def is_in_force(self, token: int) -> bool:
        """Whether it is there, and has not expired."""
        with reading(self._engine) as connection:
            row = connection.execute(token_rows().where(ApiToken.id == token)).first()
        return row is not None and not token_of(row).is_expired

    def add(self, account: str, name: str, *, days: int | None = None, read_only: bool = False) -> NewToken:
        """A new token of this user.

        Raises
        ------
        UsageError, ConflictError, NotFoundError
            Name or days do not do, the user has `TOKENS_MAX`, or there is no such user.
        """
        name, days = check_name(name), check_days(days)
        secret, now = PREFIX + secrets.token_hex(32), datetime.now(UTC)
        with changing(self._engine) as session:
            owner = account_row(session, account)
            own = ApiToken.account_id == owner.id
            if (session.scalar(select(func.count()).select_from(ApiToken).where(own)) or 0) >= TOKENS_MAX:
                raise ConflictError(f"{owner.name!r} has {TOKENS_MAX} tokens", fix="remove one that nobody needs")
            row = ApiToken(account_id=owner.id, name=name, digest=digest(secret), read_only=read_only, created_at=now)
            row.expires_at = None if days is None else now + timedelta(days=days)
            session.add(row)
            session.flush()
            detail = {"id": row.id, "token": name, "read_only": read_only or None, "days": days}
            note(session, self._actor, "token.added", owner.name, **detail)
            record = token_of(session.execute(token_rows().where(ApiToken.id == row.id)).one())
        return NewToken(record, secret)

    def remove(self, token: int, account: str | None = None) -> TokenRecord:
        """Take a token away, which ends it at once; `account`: only if it is this user's.

        Raises
        ------
        NotFoundError
            There is none, or it is somebody else's.
        """
        with changing(self._engine) as session:
            query = token_rows().where(ApiToken.id == token)
            if account is not None:
                query = query.where(Account.id == account_row(session, account).id)
            found = session.execute(query).first() if 0 < token <= ID_MAX else None
            if found is None:
                raise NotFoundError(f"there is no token {token}", fix="noctis user token list")
            record = token_of(found)
            session.execute(delete(ApiToken).where(ApiToken.id == token))
            note(session, self._actor, "token.removed", record.account, id=record.id, token=record.name)
        return record


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def token_columns() -> list[Any]:
    """What `token_of` reads, beside whatever else a query has."""
    names = (name for name in TokenRecord.__dataclass_fields__ if name != "account")
    return [getattr(ApiToken, name).label(f"token_{name}") for name in names]


def token_rows() -> Select[Any]:
    return select(*token_columns(), Account.name.label("token_account")).join(Account)


def token_of(row: Any) -> TokenRecord:
    return TokenRecord(**{name: getattr(row, f"token_{name}") for name in TokenRecord.__dataclass_fields__})
