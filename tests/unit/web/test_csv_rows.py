"""CSV that a spreadsheet may open: whole, in pieces, and without a formula."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.web.csv_rows import PIECE, cell, csv_text

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
cells = texts | st.builds("".join, st.lists(st.sampled_from("=+-@\t\r\n; '") | texts))


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=20))
def test_every_cell_is_there_and_none_is_a_formula(rows: list[list[str]]) -> None:
    text = "".join(csv_text(("a", "b"), rows))
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read[0] == ["a", "b"]
    for wanted, found in zip(rows, read[1:], strict=True):
        for one, other in zip(wanted, found, strict=True):
            assert not other.startswith(("\t", "\r", "\n"))
            assert not any(re.match(r"\s*[=+\-@]", part) for part in re.split(r"[;\t\r\n]", other))
            assert other.replace("'", "") == one.replace("'", "")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("CT1;=HYPERLINK(1)", "CT1;'=HYPERLINK(1)"),  # where a semicolon ends a cell
        ("a; -1", "a;' -1"),
        ("a-b = c; d", "a-b = c; d"),
        ("", ""),
    ],
)
def test_what_would_be_a_formula(text: str, written: str) -> None:
    assert cell(text) == written


def test_it_comes_in_pieces() -> None:
    pieces = list(csv_text(("a",), ([str(number) * 50] for number in range(10_000))))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 2 * PIECE
