"""A filer, and a keeper of receipts whose clock is set by hand."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.receipts.day import bounds
from noctis.receipts.keeper import Keeper
from tests.integration.receipts.days import TODAY, Clock


@pytest.fixture
def filer(engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)


@pytest.fixture
def clock() -> Clock:
    """An hour after the last local midnight, whatever time it is."""
    made = Clock()
    made.now = bounds(TODAY)[0] + timedelta(hours=1)
    return made


@pytest.fixture
def keeper(engine: Engine, settings: Settings, clock: Clock) -> Keeper:
    """One that has looked before anything came."""
    made = Keeper(engine, settings, clock)
    clock.now -= timedelta(days=20)
    made.look()
    clock.now += timedelta(days=20)
    return made
