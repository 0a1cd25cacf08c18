"""One listener for all modules of the same `SETTINGS`, in each process that runs tests."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.target import Target


@pytest.fixture(scope="session")
def _target_with(
    tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path
) -> Iterator[Callable[[dict[str, Any]], Target]]:
    running: dict[str, Target] = {}

    def target_with(settings: dict[str, Any]) -> Target:
        key = json.dumps(settings, sort_keys=True)
        if key not in running:
            running[key] = Target(tmp_path_factory.mktemp("hostile"), _migrated_sqlite, settings)
        return running[key]

    yield target_with
    for each in running.values():
        each.stop()


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, _target_with: Callable[[dict[str, Any]], Target]) -> Iterator[Target]:
    """The listener with the module's own `SETTINGS`; its memory is looked at after the module's last case."""
    made = _target_with(getattr(request.module, "SETTINGS", {}))
    yield made
    made.check_all()
    print(f"slowest echo {made.slowest_echo * 1000:.0f} ms")
