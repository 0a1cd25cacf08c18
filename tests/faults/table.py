"""Every row, in the order of the table."""

from tests.faults import rows_clock, rows_crowd, rows_database, rows_disk, rows_network, rows_process
from tests.faults.ground import ROWS

_ORDER = (rows_disk, rows_process, rows_database, rows_clock, rows_network, rows_crowd)
_PLACES = {module.__name__: place for place, module in enumerate(_ORDER)}
for _name in sorted(ROWS, key=lambda name: _PLACES[ROWS[name].happen.__module__]):
    ROWS[_name] = ROWS.pop(_name)

# In every test run; about a minute together. The others' subjects have quicker tests elsewhere, or take long.
ORDINARY = (
    "spool-full",
    "archive-read-only",
    "commit-error",
    "clock",
    "network-cut",
    "sqlite-removed",
)
