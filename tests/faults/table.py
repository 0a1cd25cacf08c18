"""Every row, in the order of the table."""

from tests.faults import rows_clock, rows_database, rows_disk, rows_network, rows_process
from tests.faults.ground import ROWS

assert all((rows_disk, rows_process, rows_database, rows_clock, rows_network))
__all__ = ["ROWS"]
