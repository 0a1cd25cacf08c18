"""Every harness over its seeds, over what it has found once, and over mutations by Hypothesis: no fuzzer needed."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import NAMES, mutations, regressions, target

pytestmark = pytest.mark.filterwarnings("ignore")  # on values that are odd on purpose


@pytest.mark.parametrize("name", NAMES)
def test_seeds(name: str) -> None:
    found = target(name)
    seeds = list(found.seeds())
    assert seeds
    for data in seeds:
        found.examine(data)


FOUND = [pytest.param(name, path, id=f"{name}-{path.name}") for name in NAMES for path in regressions(name)]


@pytest.mark.parametrize(("name", "path"), FOUND)
def test_what_was_found_once(name: str, path: Path) -> None:
    target(name).examine(path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_mutations(name: str) -> None:
    found = target(name)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(mutations(list(found.seeds())), st.binary(max_size=80)))
    def run(data: bytes) -> None:
        found.examine(data)

    run()
