"""A facility or two with something filed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
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
def filed(intake: Intake, engine: Engine, settings: Settings) -> Intake:
    """Seven instances of three studies in two facilities."""
    for number in range(4):
        intake.instance(study="1.1", series=f"1.1.{number % 2}", sop_instance=f"1.2.3.{number}", name=f"N{number}")
    for number in range(2):
        intake.instance(study="1.2", sop_instance=f"1.2.4.{number}", modality="MR")
    intake.instance(study="1.1", sop_instance="1.2.3.0", slug="north", name="Other")
    file_spool_once(settings, engine=engine)
    return intake
