"""The archive's files: where they lie, that they appear whole, what is in their way, and what is synced."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from noctis.errors import StorageError
from noctis.repository import archive as archive_module
from noctis.repository import room as room_module
from noctis.repository.archive import Archive, Placing, SourceGoneError, content, same_content
from noctis.repository.filemeta import Origin, encode
from noctis.repository.room import ArchiveFullError

SYNTAX = "1.2.840.10008.1.2.1"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path / "archive")


def write(path: Path, data: bytes, syntax: str = SYNTAX) -> Path:
    """A file of ours with this data set."""
    head = encode(b"1.2", b"1.2.3", syntax, Origin())
    body = bytearray(head.encoded)
    body[head.record_at :] = head.record(hashlib.sha256(data).hexdigest(), len(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(body) + data)
    return path


def nothing_in_the_way(path: Path) -> None:
    raise AssertionError(f"{path} was displaced")


def no_link(*_: object, **__: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_the_layouts(tmp_path: Path) -> None:
    tree, flat = Archive(tmp_path), Archive(tmp_path, "flat")
    assert tree.relative("central", "1.1", "1.2", "1.3") == "central/1.1/1.2/1.3.dcm"
    assert flat.relative("central", "1.1", "1.2", "1.3") == "central/1.3.dcm"


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "/etc/passwd", "", ".", "..", "1.2\0.3", "1/2", "x" * 300, "１.２"]
)
def test_nothing_from_the_wire_is_a_path(uid: str, tmp_path: Path) -> None:
    parts = Archive(tmp_path).relative("central", uid, uid, uid).split("/")
    assert len(parts) == 4
    assert all(part.startswith("uid-") and len(part) <= 40 for part in parts[1:])


@pytest.mark.parametrize("linking", [True, False])
def test_a_file_gets_its_place_and_the_source_stays(
    linking: bool, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not linking:
        monkeypatch.setattr(os, "link", no_link)
    source = write(tmp_path / "source.dcm", b"data")
    os.utime(source, ns=(1, 1_700_000_000_123_456_789))
    placing = Placing(archive)
    placing.put(source, "central/1/2/3.dcm", nothing_in_the_way)
    placing.put(source, "central/1/2/3.dcm", nothing_in_the_way)  # done again
    placing.sync()
    target = archive.path("central/1/2/3.dcm")
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (target.stat().st_ino == source.stat().st_ino) == linking
    assert [path.name for path in target.parent.iterdir()] == ["3.dcm"]


@pytest.mark.parametrize("linking", [True, False])
def test_other_bytes_in_the_place_are_moved_away_first(
    linking: bool, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not linking:
        monkeypatch.setattr(os, "link", no_link)
    source, aside = write(tmp_path / "source.dcm", b"new"), tmp_path / "aside.dcm"
    target = write(archive.path("central/1.dcm"), b"old")
    Placing(archive).put(source, "central/1.dcm", lambda path: path.rename(aside))
    assert target.read_bytes().endswith(b"new")
    assert aside.read_bytes().endswith(b"old")


def test_the_same_bytes_in_the_place_are_no_loss(archive: Archive, tmp_path: Path) -> None:
    source = write(tmp_path / "source.dcm", b"same")
    target = write(archive.path("central/1.dcm"), b"same")
    Placing(archive).put(source, "central/1.dcm", nothing_in_the_way)
    assert target.stat().st_ino == source.stat().st_ino


def test_a_link_left_of_another_spool_entry_is_replaced(archive: Archive, tmp_path: Path) -> None:
    """Its bytes are still in the spool, under the other name."""
    source, other = write(tmp_path / "source.dcm", b"new"), write(tmp_path / "other.dcm", b"other")
    target = archive.path("central/1.dcm")
    target.parent.mkdir()
    os.link(other, target)
    (target.parent / ".1.dcm.tmp").write_bytes(b"left by a crash")
    Placing(archive).put(source, "central/1.dcm", nothing_in_the_way)
    assert target.read_bytes() == source.read_bytes()
    assert other.read_bytes().endswith(b"other")
    assert [path.name for path in target.parent.iterdir()] == ["1.dcm"]


def test_a_second_name_elsewhere_keeps_nothing(archive: Archive, tmp_path: Path) -> None:
    """A backup's hard link goes with the backup."""
    (tmp_path / "spool").mkdir()
    source, aside = write(tmp_path / "spool" / "source.dcm", b"new"), tmp_path / "aside.dcm"
    target = write(archive.path("central/1.dcm"), b"old")
    os.link(target, tmp_path / "backup.dcm")
    Placing(archive).put(source, "central/1.dcm", lambda path: path.rename(aside))
    assert aside.read_bytes().endswith(b"old")


def test_a_source_that_is_gone(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(SourceGoneError):
        Placing(archive).put(tmp_path / "nothing.dcm", "central/1/2/3.dcm", nothing_in_the_way)
    assert list(archive.root.iterdir()) == []


def test_an_archive_that_is_not_there_is_not_made(archive: Archive, tmp_path: Path) -> None:
    source = write(tmp_path / "source.dcm", b"data")
    archive.root.rmdir()
    with pytest.raises(FileNotFoundError, match="folder is missing"):
        Placing(archive).put(source, "central/1.dcm", nothing_in_the_way)


def test_other_trouble_is_told(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "source.dcm", b"data")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input"):
        Placing(archive).put(source, "central/1.dcm", nothing_in_the_way)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_the_facilitys_and_leaves_nothing(
    number: int, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "source.dcm", b"data" * 1000)
    monkeypatch.setattr(os, "link", no_link)
    written: list[int] = []

    def full(descriptor: int, data: memoryview) -> int:
        if written:
            raise OSError(number, os.strerror(number))
        written.append(os.pwrite(descriptor, data[:1000], 0))
        return 1000

    monkeypatch.setattr(os, "write", full)
    placing = Placing(archive)
    with pytest.raises(ArchiveFullError, match="archive of central is full") as told:
        placing.put(source, "central/1/2/3.dcm", nothing_in_the_way)
    assert told.value.slug == "central"
    assert "make room" in str(told.value.fix)
    with pytest.raises(ArchiveFullError):
        placing.copy("central/1/2/4.dcm", lambda target: full(target, memoryview(b"")) and None)
    placing.close()
    assert [path for path in archive.root.rglob("*") if path.is_file()] == []


def test_a_long_copy_looks_at_the_room_on_its_way(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "CHECK_BYTES", 3000)
    monkeypatch.setattr(archive_module, "_PIECE", 1000)
    monkeypatch.setattr(os, "link", no_link)
    placing = Placing(archive)
    placing.put(write(tmp_path / "1.dcm", b"x" * 9000), "central/1.dcm", nothing_in_the_way)
    archive.room.least = 1 << 60
    with pytest.raises(ArchiveFullError, match="half of the reserve"):
        placing.put(write(tmp_path / "2.dcm", b"x" * 9000), "central/2.dcm", nothing_in_the_way)
    assert sorted(path.name for path in archive.root.rglob("*") if path.is_file()) == ["1.dcm"]


def synced(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are synced from now on."""
    calls: list[str] = []
    monkeypatch.setattr(
        archive_module, "sync_folder", lambda folder: calls.append(str(folder.relative_to(archive.root.parent)))
    )
    return calls


def test_each_folder_is_synced_once_a_batch_and_new_ones_up_to_the_root(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = synced(archive, monkeypatch)
    placing = Placing(archive)
    for number in range(5):
        source = write(tmp_path / f"{number}.dcm", b"data")
        placing.put(source, f"central/1/2/{number}.dcm", nothing_in_the_way)
    placing.sync()
    assert calls == ["archive", "archive/central", "archive/central/1", "archive/central/1/2"]
    calls.clear()
    placing.put(write(tmp_path / "9.dcm", b"data"), "central/1/2/9.dcm", nothing_in_the_way)
    placing.put(write(tmp_path / "9.dcm", b"data"), "central/1/3/9.dcm", nothing_in_the_way)
    placing.sync()
    assert calls == ["archive/central/1", "archive/central/1/2", "archive/central/1/3"]


def test_a_folder_that_an_interrupted_batch_made_is_synced_too(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "1.dcm", b"data")
    Placing(archive).put(source, "central/1/2/3.dcm", nothing_in_the_way)  # never synced
    again = Archive(archive.root)
    calls = synced(again, monkeypatch)
    placing = Placing(again)
    placing.put(source, "central/1/2/3.dcm", nothing_in_the_way)
    placing.sync()
    assert calls == ["archive", "archive/central", "archive/central/1", "archive/central/1/2"]


def test_fast_durability_syncs_nothing(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Archive(archive.root, strict=False)
    calls = synced(fast, monkeypatch)
    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    placing = Placing(fast)
    placing.put(write(tmp_path / "1.dcm", b"data"), "central/1/2/3.dcm", nothing_in_the_way)
    placing.sync()
    assert calls == []


def test_removing_clears_empty_folders_but_never_the_facilitys(archive: Archive) -> None:
    write(archive.path("central/1/2/3.dcm"), b"x")
    write(archive.path("central/1/4/5.dcm"), b"x")
    archive.remove("central/1/2/3.dcm")
    assert not archive.path("central/1/2").exists()
    archive.remove("central/1/4/5.dcm")
    archive.remove("central/1/4/5.dcm")  # done again
    assert list(archive.root.rglob("*")) == [archive.path("central")]
    assert archive.has_facility("central")


def test_a_folder_cleared_away_by_somebody_is_made_again(archive: Archive, tmp_path: Path) -> None:
    source = write(tmp_path / "1.dcm", b"data")
    placing = Placing(archive)
    placing.put(source, "central/1/2/3.dcm", nothing_in_the_way)
    archive.remove("central/1/2/3.dcm")
    placing.sync()  # of a folder that is gone
    placing.put(source, "central/1/2/3.dcm", nothing_in_the_way)
    placing.sync()
    assert archive.path("central/1/2/3.dcm").exists()


def test_forgetting_takes_only_what_is_the_sources(archive: Archive, tmp_path: Path) -> None:
    source = write(tmp_path / "1.dcm", b"data")
    mine, other = write(archive.path("central/1/2/3.dcm"), b"data"), write(archive.path("central/1/2/4.dcm"), b"other")
    archive.forget(source, "central/1/2/3.dcm")
    archive.forget(source, "central/1/2/4.dcm")
    archive.forget(source, "central/1/2/5.dcm")
    assert not mine.exists()
    assert other.exists()


def test_content_is_the_data_set_and_its_syntax(tmp_path: Path) -> None:
    one = write(tmp_path / "1.dcm", b"data")
    other = write(tmp_path / "2.dcm", b"data", "1.2.840.10008.1.2")
    assert content(one) == (hashlib.sha256(b"data").hexdigest(), SYNTAX)
    assert same_content(one, write(tmp_path / "3.dcm", b"data"))
    assert not same_content(one, other)
    assert not same_content(one, tmp_path / "nothing.dcm")
    (tmp_path / "4.dcm").write_bytes(b"none of ours")
    with pytest.raises(StorageError):
        content(tmp_path / "4.dcm")
    assert not same_content(one, tmp_path / "4.dcm")


def test_a_copy_into_a_folder_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: str, target: str) -> None:
        if Path(source).parent.name == ".incoming":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    archive = Archive(tmp_path)
    (tmp_path / "central" / "1" / "2").mkdir(parents=True)
    placing = Placing(archive)

    def write(target: int) -> None:
        os.write(target, b"whole")
        os.utime(target, ns=(1_700_000_000_000_000_000,) * 2)

    placing.copy("central/1/2/3.dcm", write)
    placing.sync()
    placed = tmp_path / "central" / "1" / "2" / "3.dcm"
    assert placed.read_bytes() == b"whole"
    assert placed.stat().st_mtime_ns == 1_700_000_000_000_000_000
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["3.dcm"]


def test_every_disk_that_copies_lie_on_is_synced(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder below a facility's own may be a disk of its own."""
    disks: dict[int, int] = {}
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((*status[:2], disks.get(descriptor, status.st_dev), *status[3:10]))

    synced: list[int] = []
    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(archive_module, "sync_file_system", lambda descriptor: synced.append(disks[descriptor]))
    placing = Placing(archive)
    for study in (1, 2):
        for number in range(archive_module._SYNC_ALL_FROM):
            placing.copy(f"central/{study}/1/{number}.dcm", lambda target, study=study: disks.update({target: study}))
    placing.sync()
    assert sorted(synced) == [1, 2]
