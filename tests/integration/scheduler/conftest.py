"""Two facilities with something filed."""

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.config import Settings
from tests.spooling import Intake


@pytest.fixture
def filed(intake: Intake, engine: Engine, settings: Settings) -> Intake:
    """Three instances."""
    for number in range(3):
        intake.instance(study="1.1", series="1.1.0", sop_instance=f"1.2.3.{number}")
    file_spool_once(settings, engine=engine)
    return intake
