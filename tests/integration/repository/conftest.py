"""A facility or two with something filed."""

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.config import Settings
from tests.spooling import Intake


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
