"""A facility or two, their spools, and a filer."""

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
from noctis.config import Settings
from noctis.facilities.registry import Registry


@pytest.fixture
def filer(registry: Registry, engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)
