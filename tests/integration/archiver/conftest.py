"""A facility or two, their spools, and a filer."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.facilities.registry import Registry
from tests.spooling import Intake


@pytest.fixture
def filer(registry: Registry, engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)


@pytest.fixture(params=[0, 1 << 20], ids=["files", "slots"])
def intake(registry: Registry, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Intake]:
    """What comes lies in files of its own, or in slots as far as they go."""
    made = Intake(settings, slot_bytes=request.param)
    yield made
    made.close()
