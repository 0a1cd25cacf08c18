"""Two facilities and their spools, for what files and for what looks at what was filed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.facilities.registry import Registry
from tests.spooling import Intake


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
