"""Sessions: when they end, and what is kept of them."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, update

from noctis.config import Settings
from noctis.db.models import WebSession
from noctis.errors import DatabaseError
from noctis.sections import WebSettings
from noctis.users import sessions as module
from noctis.users.accounts import AccountRecord, Accounts
from noctis.users.logins import Logins
from noctis.users.roles import Role
from noctis.users.sessions import SESSIONS_MAX, Sessions, token_of
from tests.integration.users.conftest import PASSWORD


@pytest.fixture
def ada(accounts: Accounts) -> AccountRecord:
    return accounts.add("ada", PASSWORD, Role.VIEWER)


def shift(engine: Engine, column: str, by: timedelta) -> None:
    """As if time had passed."""
    place = getattr(WebSession, column)
    with engine.begin() as connection:
        for token, when in connection.execute(select(WebSession.token, place)).all():
            connection.execute(update(WebSession).where(WebSession.token == token).values({column: when + by}))


def test_a_secret_is_its_own_account_and_is_not_kept(sessions: Sessions, ada: AccountRecord, engine: Engine) -> None:
    one, other = sessions.start(ada, "10.0.0.1"), sessions.start(ada, "10.0.0.2")
    assert one != other
    assert len(one) >= 43  # 256 bits
    assert sessions.account(one) == ada
    with engine.connect() as connection:
        kept = connection.execute(select(WebSession.token)).scalars().all()
    assert one not in kept
    assert token_of(one) in kept
    for wrong in ("", "x", one[:-1], one + "x", token_of(one), "x" * 10_000, "\ud800", "\0"):
        assert sessions.account(wrong) is None
    sessions.end(one)
    assert sessions.account(one) is None
    assert sessions.account(other) == ada


def test_it_ends_when_nobody_asks(sessions: Sessions, ada: AccountRecord, engine: Engine, settings: Settings) -> None:
    secret = sessions.start(ada, "")
    shift(engine, "last_seen", -timedelta(minutes=settings.web.idle_minutes - 1))
    assert sessions.account(secret, touch=False) == ada  # a page that asks by itself
    shift(engine, "last_seen", -timedelta(minutes=2))
    assert sessions.account(secret) is None
    assert sessions.of(ada) == []


def test_who_asks_stays(sessions: Sessions, ada: AccountRecord, engine: Engine, settings: Settings) -> None:
    secret = sessions.start(ada, "")
    for _ in range(3):
        shift(engine, "last_seen", -timedelta(minutes=settings.web.idle_minutes - 1))
        assert sessions.account(secret) == ada


def test_it_ends_in_the_end_whoever_asks(
    sessions: Sessions, ada: AccountRecord, engine: Engine, settings: Settings
) -> None:
    secret = sessions.start(ada, "")
    shift(engine, "expires_at", -timedelta(hours=settings.web.session_hours - 0.1))
    assert sessions.account(secret) == ada
    shift(engine, "expires_at", -timedelta(hours=0.2))
    assert sessions.account(secret) is None


def test_a_short_idle_time_is_kept_to(engine: Engine, ada: AccountRecord) -> None:
    sessions = Sessions(engine, WebSettings(idle_minutes=0.5))
    secret = sessions.start(ada, "")
    for _ in range(3):  # a request every 20 s, though `last_seen` is exact to 60 s otherwise
        shift(engine, "last_seen", -timedelta(seconds=20))
        assert sessions.account(secret) == ada


def test_not_every_request_writes(sessions: Sessions, ada: AccountRecord) -> None:
    secret = sessions.start(ada, "")
    (before,) = sessions.of(ada)
    sessions.account(secret)
    assert sessions.of(ada) == [before]


def test_an_account_has_so_many_and_ended_ones_go(sessions: Sessions, ada: AccountRecord, engine: Engine) -> None:
    secrets = [sessions.start(ada, str(number)) for number in range(SESSIONS_MAX + 3)]
    assert len(sessions.of(ada)) == SESSIONS_MAX
    assert sessions.account(secrets[-1]) == ada
    shift(engine, "expires_at", -timedelta(days=400))
    sessions.start(ada, "new")
    with engine.connect() as connection:
        assert connection.execute(select(WebSession.address)).scalars().all() == ["new"]


def test_they_are_listed_the_last_one_first(sessions: Sessions, ada: AccountRecord, engine: Engine) -> None:
    sessions.start(ada, "10.0.0.1")
    shift(engine, "last_seen", -timedelta(minutes=5))
    sessions.start(ada, "10.0.0.2")
    first, second = sessions.of(ada)
    assert (first.address, second.address) == ("10.0.0.2", "10.0.0.1")
    assert first.created_at <= datetime.now(UTC) < first.expires_at


def test_with_the_database_away_nobody_is_believed_in_whose_sessions_have_ended(
    sessions: Sessions, ada: AccountRecord, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(engine, "tester", sessions.forget)
    logins = Logins(engine, sessions)

    def away(_: Engine) -> None:
        raise DatabaseError("away")

    for end in (
        lambda secret: sessions.end(secret),
        lambda _: accounts.log_out("ada"),
        lambda _: accounts.set_password("ada", PASSWORD),
        lambda _: accounts.edit("ada", role=Role.OPERATOR),
        lambda _: logins.change_password(ada, PASSWORD, PASSWORD, "here"),
        lambda _: logins.end(ada, sessions.of(ada)[0].token),
        None,
        lambda _: accounts.remove("ada"),
    ):
        secret = sessions.start(ada, "")
        assert sessions.account(secret)
        if end is not None:
            end(secret)
        with monkeypatch.context() as patch:
            patch.setattr(module, "reading", away)
            if end is None:  # else this test could not fail
                assert sessions.account(secret, looking=True)
                continue
            with pytest.raises(DatabaseError):
                sessions.account(secret, looking=True)
        sessions._believed.came_back()
