"""A facility or two, their spools, and a filer."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
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


@pytest.fixture
def filer(registry: Registry, engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)
