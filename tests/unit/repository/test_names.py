"""What counts as a UID, and the names of files."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.repository.names import is_uid, safe_name


@pytest.mark.parametrize("uid", ["1", "1.2.3", "2.25." + "9" * 59, "1.02.3"])
def test_uids(uid: str) -> None:
    assert is_uid(uid)
    assert safe_name(uid) == uid


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1.2 ", "1.2\n", "1.2\0", "a", "1.2/3", "9" * 65, "１.２"]
)
def test_no_uids(text: str) -> None:
    assert not is_uid(text)
    assert safe_name(text).startswith("uid-")


@given(st.text())
def test_a_name_is_one_harmless_part_of_a_path(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name) <= 64
    assert set(name) <= set(string.ascii_lowercase + string.digits + ".-")
    assert not name.startswith(".")


@given(st.text(), st.text())
def test_different_uids_have_different_names(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)
