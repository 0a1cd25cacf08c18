"""A large instance is given to the disk while it comes."""

import errno
import os
from pathlib import Path

import pytest

from noctis.repository import spool_file
from noctis.repository.slots import SLOT_MAX, SlotBudget
from noctis.repository.spool import Spool, SpoolFullError, is_whole
from noctis.repository.write_back import STEP, write_back
from tests.spooling import EXPLICIT, ORIGIN

PIECE = bytes(range(256)) * 512  # 128 KiB


def test_whole_steps_are_written(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x" * (3 * STEP + 5))
        file.flush()
        assert write_back(file.fileno(), 0, STEP - 1) == 0
        assert write_back(file.fileno(), 0, 3 * STEP + 5) == 3 * STEP
        assert write_back(file.fileno(), 3 * STEP, 3 * STEP + 5) == 3 * STEP


def test_what_the_system_says_is_told() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError) as caught:
            write_back(writing, 0, STEP)
        assert caught.value.errno == errno.ESPIPE
    finally:
        os.close(reading)
        os.close(writing)


def receive(spool: Spool, size: int) -> spool_file.SpoolFile:
    file = spool.receive(b"1.2", b"1.2.3", EXPLICIT, ORIGIN)
    while file.dataset_length < size:
        file.write(PIECE)
    return file


@pytest.mark.parametrize("slot_bytes", [0, 64 << 20])
def test_a_large_instance_is_whole(tmp_path: Path, slot_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def watched(descriptor: int, start: int, end: int) -> int:
        calls.append((start, end))
        return write_back(descriptor, start, end)

    monkeypatch.setattr(spool_file, "write_back", watched)
    spool = Spool(tmp_path, "central", slots=SlotBudget(slot_bytes))
    entry = receive(spool, 2 * SLOT_MAX).commit()
    assert is_whole(entry.path)
    assert calls[0][0] == 0
    assert calls[-1][0] >= 2 * SLOT_MAX - 2 * STEP
    small = len(calls)
    receive(spool, SLOT_MAX // 2).commit()
    assert len(calls) == small
    spool.close()


def test_a_disk_that_fails_meanwhile_is_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(spool_file, "write_back", fails)
    spool = Spool(tmp_path, "central")
    with pytest.raises(SpoolFullError, match="cannot be written"):
        receive(spool, 2 * SLOT_MAX)
    assert list(tmp_path.glob("*/tmp/*/*.dcm")) == []
    spool.close()
