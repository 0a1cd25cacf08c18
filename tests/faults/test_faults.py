"""Each fault in its short form; nothing acknowledged is lost, nothing is there twice, and it recovers by itself.

`TEST_FAULTS=short` runs those too that take long even so, `TEST_FAULTS=long` all as `scripts/faults` does.
"""

import os
from pathlib import Path

import pytest

from tests.faults.ground import carry_out
from tests.faults.table import ORDINARY, ROWS

FORM = os.environ.get("TEST_FAULTS", "")


@pytest.mark.timeout(1800 if FORM else 300)
@pytest.mark.parametrize("name", ROWS)
def test_nothing_acknowledged_is_lost(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    if not FORM and name not in ORDINARY:
        pytest.skip("takes long: TEST_FAULTS=short")
    if row.only_long and FORM != "long":
        pytest.skip("has a long form only: TEST_FAULTS=long")
    if row.missing:
        pytest.skip(row.missing)
    figures = carry_out(row, tmp_path, long=FORM == "long")
    print(figures)
    assert figures.acknowledged
    assert figures.lost == 0
    assert figures.duplicates == 0
    assert figures.failures == [], figures.notes
