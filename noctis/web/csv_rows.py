"""CSV (RFC 4180) that can be opened with a spreadsheet: UTF-8, and no cell that one would take for a formula."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

# Where a formula begins: full-width signs count, and so does what stands behind a character that a spreadsheet may take
# for the end of a cell (a semicolon, where decimals have a comma).
_FORMULA = re.compile(r"(^|[;\t\r\n])([^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
PIECE = 16 << 10  # characters


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines, some at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        if buffer.tell() > PIECE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def cell(value: object) -> str:
    """A value; where a formula would begin in it stands an apostrophe."""
    text = "" if value is None else str(value)
    return _FORMULA.sub(r"\1'\2", f"'{text}" if text.startswith(("\t", "\r", "\n")) else text)
