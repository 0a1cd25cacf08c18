"""supervisor's options with our settings, not realised: nothing is opened and nobody is forked."""

from pathlib import Path

import pytest

from noctis.config import load_settings
from noctis.supervisor.options import Log, Options


@pytest.fixture
def options(tmp_path: Path) -> Options:
    made = Options(load_settings(options={"home": str(tmp_path / "home")}))
    made.logger = Log()
    return made
