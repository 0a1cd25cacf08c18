"""A lock file: one holder, who is named; the next one after it has let go, or has ended."""

import os
from pathlib import Path

import pytest

from noctis import locks


def test_one_holds_it_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("a longer note of one that was killed\n")
    descriptor = locks.hold(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(locks.HeldError) as raised:
        locks.hold(path)
    assert raised.value.pid == str(os.getpid())
    os.close(descriptor)
    os.close(locks.hold(path))


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locks.hold(tmp_path / "none" / "lock")
