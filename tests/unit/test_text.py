"""Numbers as people read them."""

import pytest

from noctis.text import counted


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("instance",), "0 instances"),
        (1, ("instance",), "1 instance"),
        (2, ("instance",), "2 instances"),
        (1, ("study", "studies"), "1 study"),
        (3, ("study", "studies"), "3 studies"),
    ],
)
def test_one_is_one(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text
