"""Pictures on disk: what was put is got, the oldest go, and nothing that receiving needs is used up."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from noctis.frames import cache
from noctis.frames.cache import FrameCache, key_of
from noctis.frames.protocol import Request


def keys(count: int) -> list[str]:
    return [key_of(str(number), "1.2", Request(1)) for number in range(count)]


def test_what_was_put_is_got_and_nobody_else_reads_it(tmp_path: Path) -> None:
    made = FrameCache(tmp_path / "frames", 1 << 20, 0)
    (key,) = keys(1)
    assert made.get(key) is None
    made.put(key, {"rows": 3}, b"picture")
    assert made.get(key) == ({"rows": 3}, b"picture")
    (path,) = (each for each in (tmp_path / "frames").rglob("*") if each.is_file())
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.write_bytes(path.read_bytes()[:-1])  # as after a power cut
    assert made.get(key) is None


def test_the_one_that_nobody_looked_at_for_longest_goes(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    made = FrameCache(folder, 8 * cache.BLOCK, 0)
    first, second, *others = keys(12)
    for at, key in enumerate((first, second)):
        made.put(key, {}, bytes(1000))
        os.utime(folder / key[:2] / key, (at, at))
    for key in others:
        made.put(key, {}, bytes(1000))
        assert made.get(first) is not None
    assert made.get(second) is None
    assert sum(cache.room_of(each.stat().st_size) for each in folder.rglob("*") if each.is_file()) <= 8 * cache.BLOCK


def test_many_small_pictures_take_no_more_of_the_disk_than_there_may_be(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    made = FrameCache(folder, 50 * cache.BLOCK, 0)
    for key in keys(200):
        made.put(key, {}, b"a picture of one pixel")
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert 40 <= len(files) <= 50


def test_no_limit_means_none_is_kept_and_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (key,) = keys(1)
    for made in (FrameCache(tmp_path / "a", 0, 0), FrameCache(tmp_path / "b", 1 << 20, 1 << 60)):
        made.put(key, {}, b"x")
        assert made.get(key) is None
    (tmp_path / "c").write_text("a file where the folder should be")
    blocked = FrameCache(tmp_path / "c", 1 << 20, 0)
    blocked.put(key, {}, b"x")
    assert blocked.get(key) is None
    monkeypatch.setattr(cache.os, "open", _refuse)
    made = FrameCache(tmp_path / "d", 1 << 20, 0)
    made.put(key, {}, b"x")
    assert made.get(key) is None


def _refuse(*_: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_key_is_of_the_bytes_and_of_how_they_are_shown() -> None:
    plain = Request(1)
    others = [
        replace(plain, frame=2),
        replace(plain, center=1.0, width=2.0),
        replace(plain, invert=True),
        replace(plain, size=160),
        replace(plain, jpeg=True),
    ]
    made = {key_of("a", "1.2", each) for each in (plain, *others)} | {
        key_of("b", "1.2", plain),
        key_of("a", "1", plain),
    }
    assert len(made) == 8
