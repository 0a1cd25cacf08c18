"""Boards outlive the parent, belong to nobody else, and never stop anything."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.observability import boards as module
from noctis.observability.boards import Boards, folder_of
from noctis.observability.scoreboard import BOARD_BYTES, Counter, Scoreboard
from noctis.observability.words import LAYOUT_AT


@pytest.fixture(autouse=True)
def _shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "shm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def gone() -> int:
    """A pid that nobody has."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.fixture
def alive() -> Iterator[int]:
    """A process that has outlived whoever started it."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def counted(board: Scoreboard, instances: int, pid: int) -> Scoreboard:
    board.begin(pid)
    board.stored(1, instances)
    board.add(Counter.LIVE)
    board.error("what went wrong")
    return board


def test_the_next_parent_counts_on(root: Path, gone: int) -> None:
    counted(Boards(root).take("facility.a"), 3, gone)
    after = Boards(root)
    board = after.take("facility.a")
    assert after.of("facility.a") == [board]
    assert after.total("facility.a", Counter.INSTANCES) == 3
    reading = board.read()
    assert (reading[Counter.LIVE], reading[Counter.PID], reading.last_error) == (0, 0, "")
    board.begin(os.getpid())
    assert board.get(Counter.RESTARTS) == 0  # the parent's start is none of the process


def test_who_has_outlived_its_parent_keeps_its_board(root: Path, alive: int) -> None:
    old = counted(Boards(root).take("facility.a"), 3, alive)
    after = Boards(root)
    board = after.take("facility.a")
    old.stored(1)
    board.stored(1)
    assert board.get(Counter.INSTANCES) == 1
    assert after.total("facility.a", Counter.INSTANCES) == 5


def test_a_worker_that_is_gone_stays_in_the_total_and_the_next_counts_on(root: Path, gone: int) -> None:
    boards = Boards(root)
    first, second = (boards.take("facility.a") for _ in range(2))
    counted(first, 1, gone)
    counted(second, 2, gone)
    boards.give_back(second)
    assert boards.total("facility.a", Counter.INSTANCES) == 3
    assert boards.take("facility.a") is second
    assert boards.total("facility.a", Counter.INSTANCES) == 3


def test_rows_are_kept_and_room_grows_with_the_facilities(root: Path, gone: int) -> None:
    boards = Boards(root)
    board = boards.take("default", rows=True)
    board.of("a").stored(7)
    few = board.get(module.ROWS_AT)
    assert few == 1
    boards.allow(1000)
    for number in range(1000):
        board.of(f"b{number}").stored(1)
    assert len(board.rows()) == 1001
    after = Boards(root).take("default", rows=True)
    assert after.rows()["a"].get(Counter.BYTES) == 7
    assert after.total(Counter.INSTANCES) == 1001


def test_only_we_can_read_it(root: Path) -> None:
    Boards(root).take("default", rows=True)
    folder = folder_of(root)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("trick", ["link", "open", "file"])
def test_a_folder_that_is_not_ours_alone_is_not_used(root: Path, tmp_path: Path, trick: str) -> None:
    folder = folder_of(root)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if trick == "link":
        folder.symlink_to(elsewhere)
    elif trick == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder.write_bytes(b"")
    boards = Boards(root)
    boards.take("facility.a").stored(1)
    assert boards.total("facility.a", Counter.INSTANCES) == 1
    assert list(elsewhere.iterdir()) == []
    assert trick == "file" or list(folder.iterdir()) == []


def test_a_board_that_is_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    Boards(root)
    other = tmp_path / "other"
    other.write_bytes(bytes(BOARD_BYTES))
    (folder_of(root) / "facility.a.1").symlink_to(other)
    boards = Boards(root)
    boards.take("facility.a").stored(1)
    assert boards.total("facility.a", Counter.INSTANCES) == 1
    assert other.read_bytes() == bytes(BOARD_BYTES)


def test_a_board_of_another_layout_begins_anew(root: Path, gone: int) -> None:
    board = counted(Boards(root).take("facility.a"), 3, gone)
    board.set(LAYOUT_AT, 1)
    assert Boards(root).take("facility.a").get(Counter.INSTANCES) == 0


def test_a_full_file_system_costs_what_is_kept_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    boards = Boards(root)
    board = boards.take("default", rows=True)
    board.of("a").stored(1)
    assert boards.total("default", Counter.INSTANCES) == 1
    boards.allow(1000)


def test_boards_of_facilities_that_are_no_more_go(root: Path, gone: int) -> None:
    counted(Boards(root).take("facility.a"), 3, gone)
    counted(Boards(root).take("facility.b"), 3, gone)
    after = Boards(root)
    after.keep(lambda name: name != "facility.a")
    assert after.of("facility.a") == []
    assert sorted(path.name for path in folder_of(root).iterdir()) == ["facility.b.1", "home"]


def test_boards_of_homes_that_are_no_more_go(root: Path, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()
    Boards(lost).take("default")
    folder = folder_of(lost)
    lost.rmdir()
    Boards(root)
    assert not folder.exists()
    assert folder_of(root).exists()
