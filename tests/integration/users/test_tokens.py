"""API tokens: whose they are, when they end, what is kept and told of them, and wrong ones."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from noctis.db.models import ApiToken, Event
from noctis.errors import ConflictError, DatabaseError, NotFoundError, UsageError
from noctis.facilities.registry import Registry
from noctis.users import bearers as module
from noctis.users import tokens as tokens_module
from noctis.users.accounts import Accounts
from noctis.users.bearers import Bearers, WrongTokenError
from noctis.users.logins import ADDRESS_FAILURES_MAX, LockedError, Logins
from noctis.users.roles import Role
from noctis.users.tokens import PATTERN, NewToken, Tokens
from tests.integration.users.conftest import PASSWORD, events

HERE, THERE = "192.0.2.1", "192.0.2.2"
NEW = "something else entirely"


@pytest.fixture
def tokens(engine: Engine, accounts: Accounts) -> Tokens:
    for name in ("ada", "bob"):
        accounts.add(name, PASSWORD, Role.OPERATOR)
    return Tokens(engine, "tester")


@pytest.fixture
def bearers(engine: Engine) -> Bearers:
    return Bearers(engine)


def shift(engine: Engine, column: str, by: timedelta) -> None:
    """As if time had passed."""
    place = getattr(ApiToken, column)
    with engine.begin() as connection:
        for token, when in connection.execute(select(ApiToken.id, place)).all():
            connection.execute(update(ApiToken).where(ApiToken.id == token).values({column: when + by}))


def test_a_token_is_its_accounts_and_is_not_kept(tokens: Tokens, bearers: Bearers, engine: Engine) -> None:
    one, other = tokens.add("Ada", " nightly export ", days=7), tokens.add("bob", "x", read_only=True)
    assert PATTERN.fullmatch(one.secret)
    assert one.secret != other.secret
    held = bearers.holder(one.secret, HERE)
    assert (held.account.name, held.token.name, held.token.read_only) == ("ada", "nightly export", False)
    assert bearers.holder(other.secret, HERE).token.read_only
    with Session(engine) as session:
        kept = str([vars(each) for table in (ApiToken, Event) for each in session.scalars(select(table))])
    for secret in (one.secret, other.secret):
        assert secret not in kept
        assert secret.removeprefix("noctis_") not in kept
    assert [each.id for each in tokens.all()] == [one.record.id, other.record.id]
    assert [each.account for each in tokens.all("bob")] == ["bob"]
    assert events(engine, "token.added") == [
        ("tester", "token.added", "ada", {"id": one.record.id, "token": "nightly export", "days": 7}),
        ("tester", "token.added", "bob", {"id": other.record.id, "token": "x", "read_only": True}),
    ]


def is_let_in(bearers: Bearers, made: NewToken) -> bool:
    try:
        bearers.holder(made.secret, HERE)
    except WrongTokenError:
        return False
    return True


def test_it_ends_when_it_is_removed_or_expires(tokens: Tokens, bearers: Bearers, engine: Engine) -> None:
    one, other, endless = tokens.add("ada", "a", days=1), tokens.add("ada", "b"), tokens.add("ada", "c")
    tokens.remove(other.record.id)
    assert not is_let_in(bearers, other)
    assert events(engine, "token.removed") == [
        ("tester", "token.removed", "ada", {"id": other.record.id, "token": "b"})
    ]
    with engine.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(ApiToken).where(ApiToken.id == one.record.id).values(expires_at=past))
    with pytest.raises(WrongTokenError, match="'a' has expired"):
        bearers.holder(one.secret, HERE)
    assert [each.is_expired for each in tokens.all("ada")] == [True, False]
    assert is_let_in(bearers, endless)


def test_somebody_elses_token_is_not_there(tokens: Tokens, bearers: Bearers) -> None:
    made = tokens.add("ada", "a")
    for token, account in ((made.record.id, "bob"), (0, None), (-1, None), (1 << 70, None), (made.record.id, "nobody")):
        with pytest.raises(NotFoundError):
            tokens.remove(token, account)
    with pytest.raises(NotFoundError):
        tokens.all("nobody")
    with pytest.raises(NotFoundError):
        tokens.add("nobody", "x")
    assert is_let_in(bearers, made)
    tokens.remove(made.record.id, "ADA")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "\x1b[31m", "\0"])
def test_what_is_no_name(tokens: Tokens, name: str) -> None:
    with pytest.raises(UsageError, match="token's name"):
        tokens.add("ada", name)


@pytest.mark.parametrize("days", [0, -1, 3651, 1 << 70])
def test_how_long_none_is_good(tokens: Tokens, days: int) -> None:
    with pytest.raises(UsageError, match="1 to 3650 days"):
        tokens.add("ada", "x", days=days)


def test_there_is_a_limit(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "TOKENS_MAX", 2)
    for _ in range(2):
        tokens.add("ada", "the same name")
    with pytest.raises(ConflictError, match="has 2 tokens"):
        tokens.add("ada", "a third")
    tokens.add("bob", "another's")


def test_what_the_account_may_the_token_may(
    tokens: Tokens, bearers: Bearers, accounts: Accounts, registry: Registry
) -> None:
    made = tokens.add("ada", "a")
    assert registry.get("central")
    accounts.edit("ada", role=Role.FACILITY, facility="central")
    held = bearers.holder(made.secret, HERE).account
    assert (held.role, held.facility) == (Role.FACILITY, "central")


def test_a_password_set_by_another_ends_it_and_ones_own_keeps_it(
    tokens: Tokens, bearers: Bearers, accounts: Accounts, logins: Logins, engine: Engine
) -> None:
    adas, bobs = tokens.add("ada", "a"), tokens.add("bob", "b")
    logins.change_password(accounts.get("ada"), PASSWORD, NEW, HERE)
    assert is_let_in(bearers, adas)
    accounts.log_out("ada")
    accounts.unlock("ada")
    assert is_let_in(bearers, adas)
    accounts.set_password("ada", PASSWORD)
    assert not is_let_in(bearers, adas)
    assert events(engine, "user.password_set")[-1] == ("tester", "user.password_set", "ada", {"tokens": 1})
    assert is_let_in(bearers, bobs)
    accounts.remove("bob")
    assert not is_let_in(bearers, bobs)
    assert tokens.all() == []


def test_a_lock_by_wrong_passwords_stops_no_token(tokens: Tokens, bearers: Bearers, logins: Logins) -> None:
    """Else whoever knows a name stops its scripts."""
    made = tokens.add("ada", "a")
    for _ in range(6):
        with pytest.raises((UsageError, LockedError)):
            logins.log_in("ada", "wrong", THERE)
    assert is_let_in(bearers, made)


# -- what is told


def test_when_and_from_where_it_was_used(tokens: Tokens, bearers: Bearers, engine: Engine) -> None:
    made = tokens.add("ada", "a")

    def used() -> tuple[datetime | None, str]:
        (record,) = tokens.all()
        return record.last_used, record.address

    assert used() == (None, "")
    bearers.holder(made.secret, HERE)
    first, address = used()
    assert first is not None
    assert address == HERE
    bearers.holder(made.secret, THERE)  # within the minute nothing is written
    assert used() == (first, HERE)
    shift(engine, "last_used", -timedelta(minutes=2))
    bearers.holder(made.secret, THERE)
    again, address = used()
    assert again is not None
    assert again >= first
    assert address == THERE
    shift(engine, "last_used", -timedelta(minutes=2))
    bearers.holder(made.secret, THERE)
    detail = {"id": made.record.id, "token": "a"}
    assert events(engine, "token.used") == [  # of each address once a day
        ("ada", "token.used", "ada", detail | {"address": each}) for each in (HERE, THERE)
    ]


WRONG = ["noctis_", "noctis_" + "0" * 64, "noctis_" + "A" * 64, "x", "", "noctis_\udfff", "noctis_" + "0" * 9000]


def test_wrong_ones_are_counted_for_each_address(tokens: Tokens, bearers: Bearers, engine: Engine) -> None:
    made = tokens.add("ada", "a")
    for number in range(ADDRESS_FAILURES_MAX):
        wrong = WRONG[number % len(WRONG)]
        with pytest.raises(WrongTokenError, match="not valid") as error:
            bearers.holder(wrong, HERE)
        assert len(wrong) < 10 or wrong not in str(error.value)
    with pytest.raises(LockedError, match="too many wrong tokens") as locked:
        bearers.holder(WRONG[0], HERE)
    assert 0 < locked.value.seconds <= 601
    assert "Users" not in str(locked.value)
    with pytest.raises(WrongTokenError):
        bearers.holder(WRONG[0], THERE)
    assert is_let_in(bearers, made)  # a right one, from there as from here
    refused = events(engine, "token.refused", "token.address_locked")
    assert len(refused) == ADDRESS_FAILURES_MAX + 2
    assert refused[0] == ("nobody", "token.refused", "", {"address": HERE, "reason": "no such token"})
    assert refused[-2] == ("nobody", "token.address_locked", HERE, {"failures": ADDRESS_FAILURES_MAX})
    assert not [row for row in refused if "noctis_" in str(row)]


def test_wrong_tokens_lock_nobodys_login(tokens: Tokens, bearers: Bearers, logins: Logins) -> None:
    for _ in range(ADDRESS_FAILURES_MAX + 1):
        with pytest.raises((WrongTokenError, LockedError)):
            bearers.holder(WRONG[0], HERE)
    assert logins.log_in("ada", PASSWORD, HERE)


def test_an_expired_one_is_told_by_its_name(tokens: Tokens, bearers: Bearers, engine: Engine) -> None:
    made = tokens.add("ada", "a", days=1)
    shift(engine, "expires_at", -timedelta(days=2))
    assert not is_let_in(bearers, made)
    detail = {"address": HERE, "reason": "expired", "id": made.record.id, "token": "a"}
    assert events(engine, "token.refused") == [("ada", "token.refused", "ada", detail)]


# -- with the database away


def test_who_was_let_in_a_moment_ago_may_look(
    tokens: Tokens, bearers: Bearers, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(engine, "tester", bearers.forget)
    made, unknown = tokens.add("ada", "a"), tokens.add("bob", "b")
    bearers.holder(made.secret, HERE)

    def away(_: Engine) -> Any:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(module, "reading", away)
        assert bearers.holder(made.secret, HERE, looking=True).account.name == "ada"
        for secret, looking in ((made.secret, False), (unknown.secret, True)):
            with pytest.raises(DatabaseError):
                bearers.holder(secret, HERE, looking=looking)
    accounts.edit("ada", role=Role.VIEWER)
    with monkeypatch.context() as patch:
        patch.setattr(module, "reading", away)
        with pytest.raises(DatabaseError):
            bearers.holder(made.secret, HERE, looking=True)


def test_that_its_use_cannot_be_written_stops_nobody(
    tokens: Tokens, bearers: Bearers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tokens.add("ada", "a")

    def away(_: Engine) -> Any:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(module, "reachable", away)
        assert bearers.holder(made.secret, HERE).account.name == "ada"
    assert tokens.all()[0].last_used is None
