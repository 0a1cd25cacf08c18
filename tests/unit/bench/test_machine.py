import shutil
from pathlib import Path

import pytest

from bench.machine import Scratch, _device, file_system

MOUNTS = """\
/dev/vda / {root} rw,relatime 0 0
tmpfs {place} {kind} rw 0 0
proc /proc proc rw 0 0
"""


@pytest.mark.parametrize(("kind", "journal"), [("xfs", True), ("tmpfs", False), ("btrfs", None)])
def test_the_file_system_is_that_of_the_longest_mount_point(tmp_path: Path, kind: str, journal: bool | None) -> None:
    mounts = MOUNTS.format(root="ext4", place=tmp_path, kind=kind)
    folder = tmp_path / "below"
    folder.mkdir()
    assert file_system(folder, mounts) == (kind, journal)
    assert file_system(tmp_path.parent, mounts, [])[0] == "ext4"


def test_ext4_has_a_journal_if_the_kernel_runs_one_for_its_device(tmp_path: Path) -> None:
    mounts = MOUNTS.format(root="ext4", place="/nowhere", kind="tmpfs")
    device = _device(tmp_path)
    if device is None:
        pytest.skip("the temporary folder lies on no device of its own")
    assert file_system(tmp_path, mounts, [f"{device}-8", "other-8"]) == ("ext4", True)
    assert file_system(tmp_path, mounts, ["other-8"]) == ("ext4", False)


def test_stores_stay_until_space_is_needed_then_the_oldest_go(tmp_path: Path) -> None:
    with Scratch(tmp_path, keep_free=0) as scratch:
        kept = [scratch.store() for _ in range(3)]
        assert all(store.is_dir() for store in kept)
    assert not scratch.path.exists()
    with Scratch(tmp_path, keep_free=shutil.disk_usage(tmp_path).total + 1) as scratch:
        lasting, first, second = scratch.store(stays=True), scratch.store(), scratch.store()
        assert lasting.is_dir()
        assert not first.exists()
        assert second.is_dir()
