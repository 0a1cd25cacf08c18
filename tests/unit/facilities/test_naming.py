"""AE titles and slugs from names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.errors import UsageError
from noctis.facilities import naming


def test_a_title_is_eleven_characters_of_the_name_and_four_random_hex_digits() -> None:
    title = naming.generate_ae_title("Central Hospital")
    assert re.fullmatch(r"CENTRALHOSP[0-9A-F]{4}", title)
    assert len({naming.generate_ae_title("Central Hospital") for _ in range(50)}) > 1


@pytest.mark.parametrize(
    ("name", "slug", "stem"),
    [
        ("Central Hospital", "central-hospital", "CENTRALHOSP"),
        ("Žilina č. 2", "zilina-c-2", "ZILINAC2"),
        ("Больница №1", "bolnitsa-no1", "BOLNITSANO1"),
        ("default", "default-1", "DEFAULT"),
        ("!!!", "facility", "FACILITY"),
    ],
)
def test_names_become_ascii(name: str, slug: str, stem: str) -> None:
    assert naming.slugify(name) == slug
    assert naming.generate_ae_title(name)[:-4] == stem


@given(st.text(min_size=1, max_size=200))
def test_whatever_the_name_slug_and_title_are_usable(name: str) -> None:
    assert naming.is_slug(naming.slugify(name))
    assert naming.check_ae_title(naming.generate_ae_title(name))


@pytest.mark.parametrize("slug", ["../x", "", "a/b", ".hidden", "-a", "a-", "UPPER", "default", "x" * 65, "a b", "a\n"])
def test_what_cannot_be_a_folder_is_no_slug(slug: str) -> None:
    assert not naming.is_slug(slug)


@pytest.mark.parametrize(
    ("title", "word"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("A" * 17, "17 characters"),
        ("A\\B", "not allow"),
        ("Ä", "not allow"),
        ("A\tB", "not allow"),
    ],
)
def test_bad_titles_are_explained(title: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        naming.check_ae_title(title)


def test_spaces_around_a_title_do_not_count() -> None:
    assert naming.check_ae_title("  CT 1 ") == "CT 1"


@pytest.mark.parametrize(
    ("name", "word"), [("", "empty"), ("  \t ", "empty"), ("x" * 201, "201"), ("a\x00b", "control")]
)
def test_bad_names_are_explained(name: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        naming.check_name(name)
