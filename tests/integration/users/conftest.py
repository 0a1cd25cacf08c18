"""Accounts, sessions and log-ins over a real database."""

from typing import Any

import pytest
from sqlalchemy import Engine, select

from noctis.config import Settings
from noctis.db.engine import reading
from noctis.db.models import Event
from noctis.users.accounts import Accounts
from noctis.users.logins import Logins
from noctis.users.sessions import Sessions

PASSWORD = "correct horse battery staple"


@pytest.fixture
def accounts(engine: Engine) -> Accounts:
    return Accounts(engine, "tester")


@pytest.fixture
def sessions(engine: Engine, settings: Settings) -> Sessions:
    return Sessions(engine, settings.web)


@pytest.fixture
def logins(engine: Engine, sessions: Sessions) -> Logins:
    return Logins(engine, sessions)


def events(engine: Engine, *actions: str) -> list[tuple[str, str, str, Any]]:
    """Who, what, to whom, how; of these actions, or of all."""
    with reading(engine) as connection:
        rows = connection.execute(select(Event.actor, Event.action, Event.subject, Event.detail).order_by(Event.id))
        return [tuple(row) for row in rows if not actions or row.action in actions]
