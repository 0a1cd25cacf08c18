"""Two facilities and their spools, for what files and for what looks at what was filed; passwords that cost little."""

from collections.abc import Iterator

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.facilities.registry import Registry
from noctis.users import passwords
from tests.spooling import Intake


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real digests, of the least cost that there is: hundreds are made."""
    hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    nobody = hasher.hash("nobody's")
    monkeypatch.setattr(passwords, "_hasher", lambda: hasher)
    monkeypatch.setattr(passwords, "_nobody", lambda: nobody)


@pytest.fixture
def registry(engine: Engine, settings: Settings) -> Registry:
    """Two facilities: central and north."""
    made = Registry(engine, settings, actor="tester")
    made.add("Central")
    made.add("North")
    return made


@pytest.fixture
def intake(registry: Registry, settings: Settings) -> Iterator[Intake]:
    made = Intake(settings)
    yield made
    made.close()
