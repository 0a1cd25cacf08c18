"""One listener a module, with the module's own `SETTINGS`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.target import Target


@pytest.fixture(scope="module")
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path
) -> Iterator[Target]:
    made = Target(tmp_path_factory.mktemp("hostile"), _migrated_sqlite, getattr(request.module, "SETTINGS", {}))
    try:
        yield made
        made.check_all()
    finally:
        made.stop()
        print(f"slowest echo {made.slowest_echo * 1000:.0f} ms")
