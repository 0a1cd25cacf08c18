"""The page says of every case what happens."""

from pathlib import Path

from tests.hostile.page import SECTIONS, page

PAGE = Path(__file__).parents[2] / "docs" / "hostile-input.md"


def test_every_case_is_on_the_page() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.hostile.page > docs/hostile-input.md"


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for _, cases in SECTIONS for case in cases]
    assert len(names) == len(set(names))
    assert len(names) >= 60
