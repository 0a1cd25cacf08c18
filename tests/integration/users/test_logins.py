"""Logging in: guessing is stopped, whoever guesses what, and every try leaves its event."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from noctis.db.models import Account
from noctis.users import logins as module
from noctis.users.accounts import Accounts
from noctis.users.logins import LockedError, Logins, RefusedError
from noctis.users.roles import Role
from noctis.users.sessions import Sessions
from noctis.users.throttle import FAILURES_MAX, Throttle
from tests.integration.users.conftest import PASSWORD, events
from tests.integration.users.test_accounts import at_once

HERE, THERE = "10.0.0.1", "10.0.0.2"


@pytest.fixture(autouse=True)
def _ada(accounts: Accounts) -> None:
    accounts.add("ada", PASSWORD, Role.OPERATOR)


def guess(logins: Logins, name: str, address: str = HERE, password: str = "wrong") -> type[Exception]:
    with pytest.raises((RefusedError, LockedError)) as caught:
        logins.log_in(name, password, address)
    return caught.type


def later(engine: Engine, seconds: float) -> None:
    """As if so much time had passed for the locks."""
    with engine.begin() as connection:
        connection.execute(update(Account).values(locked_until=datetime.now(UTC) + timedelta(seconds=60 - seconds)))


def test_log_in_and_out_leave_events(logins: Logins, sessions: Sessions, accounts: Accounts, engine: Engine) -> None:
    user = logins.log_in("Ada", PASSWORD, HERE)
    assert user.account.name == "ada"
    assert user.account.last_login is not None
    assert sessions.account(user.secret) == user.account == accounts.get("ada")
    logins.log_out(user.secret)
    logins.log_out(user.secret)  # which is nobody's any more
    assert sessions.account(user.secret) is None
    assert events(engine, "session.login", "session.logout") == [
        ("ada", "session.login", "ada", {"address": HERE}),
        ("ada", "session.logout", "ada", {}),
    ]


def test_wrong_ones_lock_the_account_which_a_restart_does_not_forget(
    logins: Logins, sessions: Sessions, engine: Engine, accounts: Accounts
) -> None:
    assert [guess(logins, "ada") for _ in range(FAILURES_MAX)] == [RefusedError] * FAILURES_MAX
    assert guess(logins, "ada", password=PASSWORD) is LockedError
    assert guess(Logins(engine, sessions), "ADA", THERE, PASSWORD) is LockedError  # another process, another address
    assert accounts.get("ada").locked_until is not None
    refused = events(engine, "session.refused", "user.locked")
    assert [action for _, action, _, _ in refused].count("session.refused") == FAILURES_MAX + 2
    assert ("ada", "user.locked", "ada", {"failures": FAILURES_MAX, "seconds": 60}) in refused
    assert refused[-1] == ("ada", "session.refused", "ada", {"address": THERE, "reason": "locked"})
    later(engine, 61)
    assert logins.log_in("ada", PASSWORD, HERE).account.locked_until is None
    assert guess(logins, "ada") is RefusedError  # and it begins anew
    assert accounts.get("ada").locked_until is None


def test_the_next_lock_is_twice_as_long(logins: Logins, engine: Engine) -> None:
    for _ in range(FAILURES_MAX):
        guess(logins, "ada")
    later(engine, 61)
    guess(logins, "ada")
    assert [detail["seconds"] for *_, detail in events(engine, "user.locked")] == [60, 120]


def test_an_admin_unlocks(logins: Logins, accounts: Accounts) -> None:
    for _ in range(FAILURES_MAX):
        guess(logins, "ada")
    accounts.unlock("ada")
    assert logins.log_in("ada", PASSWORD, HERE)


def test_guesses_at_the_same_moment_are_counted_one_by_one(logins: Logins, accounts: Accounts, engine: Engine) -> None:
    failed = at_once(*[lambda: logins.log_in("ada", "wrong", HERE) for _ in range(9)])
    assert len(failed) == 9
    assert accounts.get("ada").locked_until is not None
    later(engine, 0)
    assert guess(logins, "ada", password=PASSWORD) is LockedError


def test_a_name_that_nobody_has_is_answered_like_anothers(logins: Logins, engine: Engine) -> None:
    def tries(name: str, address: str) -> list[tuple[type[Exception], str]]:
        found = []
        for _ in range(FAILURES_MAX + 2):
            with pytest.raises((RefusedError, LockedError)) as caught:
                logins.log_in(name, "wrong", address)
            found.append((caught.type, str(caught.value)))
        return found

    assert tries("nobody-of-ours", THERE) == tries("ada", HERE)
    told = [event for event in events(engine, "session.refused") if event[3]["address"] == THERE]
    assert {event[:3] for event in told} == {("nobody", "session.refused", "")}
    assert "nobody-of-ours" not in repr(events(engine))  # it may be a password in the wrong place


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "x" * 5000, "' OR 1=1 --", "<script>", "a\nb", "%"])
def test_names_that_are_none(logins: Logins, name: str) -> None:
    assert guess(logins, name, password=PASSWORD) is RefusedError


@pytest.mark.parametrize("password", ["", "\0", "\ud800" * 12, "x" * 5000, PASSWORD + " ", PASSWORD.upper()])
def test_passwords_that_are_not_it(logins: Logins, password: str) -> None:
    assert guess(logins, "ada", password=password) is RefusedError


def test_one_address_that_tries_many_names(logins: Logins, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_addresses", Throttle(4, 600))
    assert [guess(logins, f"user{number}") for number in range(6)] == [RefusedError] * 4 + [LockedError] * 2
    assert guess(logins, "ada", password=PASSWORD) is LockedError  # not even the right one
    assert logins.log_in("ada", PASSWORD, THERE)  # from elsewhere
    assert events(engine, "session.address_locked") == [("nobody", "session.address_locked", HERE, {"failures": 4})]
    assert len(events(engine, "session.refused")) == 4  # what is turned away unseen is not written down


def test_who_is_right_is_not_counted(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_addresses", Throttle(2, 600))
    for _ in range(5):
        assert logins.log_in("ada", PASSWORD, HERE)


def test_a_flood_does_not_fill_the_events(logins: Logins, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_events", Throttle(3, 60))
    for number in range(6):
        guess(logins, "nobody", f"10.0.1.{number}")
    assert len(events(engine, "session.refused")) == 3


def test_a_password_that_was_changed_meanwhile_is_worth_nothing(
    logins: Logins, accounts: Accounts, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.passwords.matches

    def matches(password: str, known: str | None) -> bool:
        found = real(password, known)
        accounts.set_password("ada", "another one that nobody stole")
        return found

    monkeypatch.setattr(module.passwords, "matches", matches)
    assert guess(logins, "ada", password=PASSWORD) is RefusedError
    assert sessions.of(accounts.get("ada")) == []


def test_ones_own_password_wants_the_old_one(logins: Logins, sessions: Sessions, engine: Engine) -> None:
    user, elsewhere = logins.log_in("ada", PASSWORD, HERE), logins.log_in("ada", PASSWORD, THERE)
    new = "something else entirely"
    with pytest.raises(RefusedError, match="current password"):
        logins.change_password(user.account, "wrong", new, HERE)
    assert sessions.account(elsewhere.secret)
    secret = logins.change_password(user.account, PASSWORD, new, HERE)
    assert secret not in (user.secret, elsewhere.secret)
    assert sessions.account(secret)
    assert sessions.account(user.secret) is None
    assert sessions.account(elsewhere.secret) is None
    assert guess(logins, "ada", password=PASSWORD) is RefusedError
    assert logins.log_in("ada", new, HERE)
    assert ("ada", "user.password_set", "ada", {}) in events(engine)


def test_guessing_the_old_one_locks_too(logins: Logins) -> None:
    user = logins.log_in("ada", PASSWORD, HERE)
    for _ in range(FAILURES_MAX):
        with pytest.raises(RefusedError):
            logins.change_password(user.account, "wrong", "something else entirely", HERE)
    with pytest.raises(LockedError):
        logins.change_password(user.account, PASSWORD, "something else entirely", HERE)


def test_ones_own_sessions_alone_can_be_ended(logins: Logins, accounts: Accounts, sessions: Sessions) -> None:
    accounts.add("bob", PASSWORD, Role.VIEWER)
    ada, bob = logins.log_in("ada", PASSWORD, HERE), logins.log_in("bob", PASSWORD, HERE)
    (of_bob,) = sessions.of(bob.account)
    for token in (of_bob.token, "", "x", "\0"):
        logins.end(ada.account, token)
    assert sessions.account(bob.secret)
    logins.end(bob.account, of_bob.token)
    assert sessions.account(bob.secret) is None
