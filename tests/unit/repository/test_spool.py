"""The spool: what is committed is there whole, what is not leaves nothing, and the disk's reserve holds."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.repository import filemeta
from noctis.repository import spool as spool_module
from noctis.repository.filemeta import Origin
from noctis.repository.spool import Spool, SpoolFile, SpoolFullError, is_whole, recover
from tests.spooling import entries

SYNTAX = "1.2.840.10008.1.2.1"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, "central")
    yield made
    made.close()


def begin(spool: Spool) -> SpoolFile:
    return spool.receive(b"1.2", b"1.2.3", SYNTAX, Origin("CT1", "CENTRAL", "192.0.2.7", 11113, "a1"), ("context",))


def write_and_commit(file: SpoolFile) -> None:
    file.write(b"abc")
    file.commit()


def unfinished(root: Path) -> list[Path]:
    return [path for path in root.glob("*/tmp/*/*.dcm") if path.stat().st_size]


def test_names_that_may_not_be_durable_are_not_used(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", fails)
        with pytest.raises(SpoolFullError, match="Input/output error"):
            begin(spool)
    assert not list(tmp_path.glob("*/tmp/*/*.dcm"))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_and_commit(begin(spool))
    assert synced, "the folder is synced again before a file is used"


def test_a_committed_instance_is_whole_and_says_where_it_came_from(spool: Spool, tmp_path: Path) -> None:
    file = begin(spool)
    for piece in (b"abc", memoryview(b"def"), b""):
        file.write(piece)
    digest = hashlib.sha256(b"abcdef").hexdigest()
    assert file.sha256 == digest
    entry = file.commit()
    assert list(entries(tmp_path)) == [entry]
    assert entry.path.read_bytes().endswith(b"abcdef")
    assert is_whole(entry.path)
    assert entry.path.stat().st_mode & 0o777 == 0o600
    with entry.path.open("rb") as opened:
        meta = filemeta.read(opened.fileno())
    assert meta.record is not None
    assert (meta.record.sha256, meta.record.length) == (digest, 6)
    assert (meta.origin.calling, meta.flags) == ("CT1", ("context",))


def test_entries_sort_by_arrival(spool: Spool, tmp_path: Path) -> None:
    committed = [begin(spool).commit().name for _ in range(40)]
    assert [entry.name for entry in entries(tmp_path)] == committed


def test_what_is_discarded_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    file = begin(spool)
    file.write(b"abc")
    file.discard()
    file.discard()
    assert list(entries(tmp_path)) == []
    assert unfinished(tmp_path) == []


def test_set_aside_it_stays_where_it_is(spool: Spool, tmp_path: Path) -> None:
    file = begin(spool)
    file.write(b"abc")
    path = file.set_aside()
    assert is_whole(path)
    assert list(entries(tmp_path)) == []


def test_below_the_reserve_nothing_begins(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "central", reserve_bytes=1 << 60)
    with pytest.raises(SpoolFullError, match="below the reserve"):
        begin(spool)
    assert unfinished(tmp_path) == []
    spool.close()


def test_a_reserve_reached_on_the_way_ends_it(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_RESERVE_CHECK_BYTES", 1000)
    file = begin(spool)
    file.write(b"x" * 900)
    spool._reserve = 1 << 60
    with pytest.raises(SpoolFullError):
        file.write(b"x" * 900)
    assert unfinished(tmp_path) == []


@pytest.mark.parametrize("call", ["pwritev", "fdatasync", "link", "pwrite"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_write_error_leaves_nothing_half_written(
    call: str, number: int, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = begin(spool)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SpoolFullError, match="full" if number == errno.ENOSPC else "cannot be written"):
        write_and_commit(file)
    monkeypatch.undo()
    assert list(entries(tmp_path)) == []
    assert unfinished(tmp_path) == []


def test_without_strictness_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "central", strict=False)
    begin(spool).commit()

    def fail(*_: object) -> None:
        raise AssertionError("synced")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "fdatasync", fail)
        for _ in range(50):
            begin(spool).commit()
    spool.close()


@pytest.mark.parametrize("harm", ["truncate", "flip", "no record", "head"])
def test_a_torn_file_is_known(harm: str, spool: Spool, tmp_path: Path) -> None:
    file = begin(spool)
    file.write(b"abc" * 1000)
    path = file.commit().path
    content = bytearray(path.read_bytes())
    if harm == "truncate":
        del content[-1:]
    elif harm == "flip":
        content[-1] ^= 1
    elif harm == "no record":
        at = content.index(b'"sha256"')
        content[at : at + 8] = b'"sha255"'
    else:
        content[130:140] = bytes(10)
    path.write_bytes(content)
    assert not is_whole(path)


def test_recovery_promotes_in_order_of_time_and_removes_the_torn(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "central")
    whole = begin(spool).commit()
    spool.close()
    dead = tmp_path / "central" / "tmp" / "00ff"
    dead.mkdir()
    whole.path.rename(dead / "1.dcm")
    os.utime(dead / "1.dcm", ns=(1, 1_700_000_000_000_000_000))
    (dead / "2.dcm").write_bytes(b"torn")
    found = recover(tmp_path)
    assert (found.promoted, found.removed) == (1, 1)
    (entry,) = entries(tmp_path)
    assert entry.name.startswith(f"{1_700_000_000_000_000_000:016x}-")
    assert not dead.exists()


def test_other_files_in_the_spool_are_left_alone(spool: Spool, tmp_path: Path) -> None:
    (spool.new / "README").write_text("x")
    assert list(entries(tmp_path)) == []


def test_a_folder_whose_maker_was_killed_goes_after_a_minute(tmp_path: Path) -> None:
    """Killed between making it and giving it its name: it has none that recovery would take for a process's."""
    young, old = tmp_path / "central" / "tmp" / ".young", tmp_path / "central" / "tmp" / ".old"
    for folder in (young, old):
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    os.utime(old, (0, 0))
    recover(tmp_path)
    assert [path.name for path in young.parent.iterdir()] == [".young"]


@pytest.mark.parametrize("fails", range(1, 7))
def test_a_spool_that_cannot_be_made_leaves_nothing(
    fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each instance tries anew while the disk is full: nothing may pile up, no folder and no descriptor."""
    Spool(tmp_path, "central").close()
    calls = 0

    def failing(*arguments: object, **named: object) -> int:
        nonlocal calls
        calls += 1
        if calls == fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **named)  # type: ignore[arg-type]

    before = len(os.listdir("/proc/self/fd"))
    for name in ("open", "fsync"):
        real = getattr(os, name)
        calls = 0
        monkeypatch.setattr(os, name, failing)
        try:
            Spool(tmp_path, "central").close()
        except OSError:
            assert list((tmp_path / "central" / "tmp").iterdir()) == []
        monkeypatch.undo()
        assert len(os.listdir("/proc/self/fd")) == before
