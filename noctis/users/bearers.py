"""Whoever comes with a token: the one place where a token is looked at.

It is looked up by its digest, at every request, so that one that was removed is worth nothing at once; with the
database away those that were right a moment ago may go on looking, as sessions may. Wrong ones are counted for each
address as wrong passwords are, apart from those: a forgotten script locks nobody out of the pages. A right one is let
in even from an address that is locked: there is nothing to be guessed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from noctis.db.engine import reachable, reading
from noctis.db.models import Account, ApiToken
from noctis.errors import DatabaseError, NoctisError
from noctis.users.accounts import AccountRecord, note, record_of, records
from noctis.users.believed import Believed
from noctis.users.logins import (
    ADDRESS_FAILURES_MAX,
    ADDRESS_SECONDS,
    EVENTS_MAX,
    EVENTS_SECONDS,
    NOBODY,
    LockedError,
)
from noctis.users.throttle import Throttle, network
from noctis.users.tokens import PATTERN, TokenRecord, digest, token_columns, token_of

log = structlog.get_logger()

USED_SECONDS = 60.0  # how exact `last_used` is: not every request writes
TOLD_SECONDS = 86400.0  # how often it is an event that a token is used from an address


class WrongTokenError(NoctisError):
    """The token is nobody's, or has expired."""


@dataclass(frozen=True)
class Holder:
    """Who comes, and with which token."""

    account: AccountRecord
    token: TokenRecord


class Bearers:
    """The tokens that come to one process. Safe from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses = Throttle(ADDRESS_FAILURES_MAX, ADDRESS_SECONDS)
        self._events = Throttle(EVENTS_MAX, EVENTS_SECONDS)
        self._told = Throttle(1, TOLD_SECONDS)
        self._believed: Believed[Holder] = Believed()

    def holder(self, secret: str, address: str, *, looking: bool = False) -> Holder:
        """Whose token this is.

        Parameters
        ----------
        looking
            Nothing is to be changed; see `Sessions.account`.

        Raises
        ------
        WrongTokenError, LockedError
            It is wrong, and there were not, or were, too many wrong ones from this address.
        DatabaseError
            It is away, and this one is not believed in.
        """
        found = self._find(secret, looking) if PATTERN.fullmatch(secret) else None
        if found is None or found.token.is_expired:
            self._refuse(found, address)
        self._used(found, address)
        return found

    def forget(self, account_id: int) -> None:
        """The account, or what it may do, is another now."""
        self._believed.forget(account_id)

    # -- how

    def _find(self, secret: str, looking: bool) -> Holder | None:
        known_as = digest(secret)
        known = self._believed.of(known_as) if looking else None
        if known is not None and self._believed.is_away:
            return known
        query = (
            records()
            .add_columns(*token_columns(), Account.name.label("token_account"))
            .join(ApiToken, ApiToken.account_id == Account.id)
            .where(ApiToken.digest == known_as)
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
            self._believed.drop(known_as)
            return None
        holder = Holder(record_of(row), token_of(row))
        self._believed.remember(known_as, holder, holder.account.id, holder.token.expires_at)
        return holder

    def _used(self, holder: Holder, address: str) -> None:
        """A token was let in: keep when and from where, to a minute; once a day for each address it is an event."""
        token, now = holder.token, datetime.now(UTC)
        if token.last_used is not None and (now - token.last_used).total_seconds() < USED_SECONDS:
            return
        key = f"{token.id} {network(address)}"
        news = not self._told.take(key)
        try:
            with reachable(self._engine), Session(self._engine) as session, session.begin():
                values = {"last_used": now, "address": address}
                session.execute(update(ApiToken).where(ApiToken.id == token.id).values(values))
                if news:
                    name = holder.account.name
                    note(session, name, "token.used", name, id=token.id, token=token.name, address=address)
        except DatabaseError as error:  # it stops nobody from looking
            if news:
                self._told.give_back(key)
            log.warning("web.token_use_not_written", error=error.message)

    def _refuse(self, found: Holder | None, address: str) -> NoReturn:
        """Count it, write it down, and say so."""
        where = network(address)
        if seconds := self._addresses.take(where):
            fix = "wait; then give it a token that is in force: noctis user token list"
            raise LockedError("too many wrong tokens from your address", seconds, fix=fix)
        if not self._events.take(""):
            self._note_refused(found, address, locked=self._addresses.is_used_up(where))
        if found is not None:
            raise WrongTokenError(f"the token {found.token.name!r} has expired", fix="make another one")
        raise WrongTokenError("the token is not valid (any more)", fix="noctis user token list   has those that are")

    def _note_refused(self, found: Holder | None, address: str, *, locked: bool) -> None:
        with reachable(self._engine), Session(self._engine) as session, session.begin():
            detail: dict[str, Any] = {"address": address, "reason": "expired" if found else "no such token"}
            actor, subject = NOBODY, ""
            if found is not None:
                actor = subject = found.account.name
                detail |= {"id": found.token.id, "token": found.token.name}
            note(session, actor, "token.refused", subject, **detail)
            if locked:
                note(session, NOBODY, "token.address_locked", address, failures=self._addresses.limit)
