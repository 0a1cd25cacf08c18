"""The file that tells listeners what is used: written as a whole, read when it is another one; what waits beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.facilities.snapshot import Facility
from noctis.repository import usage as usage_module
from noctis.repository.filemeta import Origin
from noctis.repository.slots import SlotBudget, everything_waiting
from noctis.repository.spool import Spool, recover
from noctis.repository.spool_entries import arrived_ns
from noctis.repository.usage import (
    Limits,
    Usage,
    UsageFile,
    UsageReader,
    all_waiting,
    limits_of,
    parse,
    report,
    waiting,
    write,
)
from noctis.sections import StorageSettings

USED = UsageFile(17, {"central": Usage(3, 300), "north": Usage(1, 100)}, {"central": Usage(2, 20)})


@pytest.fixture(params=[0, 1 << 20], ids=["files", "slots"])
def spool(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", "central", slots=SlotBudget(request.param))
    yield made
    made.close()


def put(spool: Spool, size: int) -> int:
    """One instance with a data set of so many bytes; the size of its file."""
    file = spool.receive(b"1.2", b"1.2.3", "1.2.840.10008.1.2.1", Origin())
    file.write(b"x" * size)
    file.commit()
    return file.size


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "usage.json", USED)
    assert parse((tmp_path / "usage.json").read_bytes()) == USED
    assert [path.name for path in tmp_path.iterdir()] == ["usage.json"]
    assert USED.of("central") == Usage(5, 320)
    assert USED.of("south") == Usage(0, 0)
    assert USED.in_all == Usage(6, 420)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format":2}', b'{"format":1,"as_of":1}', b'{"format":1', b"\xff"])
def test_a_broken_file_leaves_the_last_one_in_force(
    text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_module, "LOOK_SECONDS", 0)
    path = tmp_path / "usage.json"
    reader = UsageReader(path)
    assert reader.current() == UsageFile()
    write(path, USED)
    assert reader.current() == USED
    path.write_bytes(text)
    assert reader.current() == USED
    path.unlink()
    assert reader.current() == USED


def test_it_is_looked_at_rarely_and_read_only_when_it_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(usage_module.time, "monotonic", lambda: now[0])
    path = tmp_path / "usage.json"
    write(path, USED)
    reader = UsageReader(path)
    first = reader.current()
    write(path, UsageFile(18))
    assert reader.current() is first
    now[0] += 2 * usage_module.LOOK_SECONDS
    second = reader.current()
    assert second == UsageFile(18)
    now[0] += 1
    assert reader.current() is second


def test_what_waits_is_counted_by_its_own_size(spool: Spool, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    sizes = [put(spool, size) for size in (5000, 100, 0)]
    assert waiting(root, "central") == Usage(3, sum(sizes))
    assert all_waiting(root) == {"central": Usage(3, sum(sizes))}
    assert waiting(root, "north") == Usage(0, 0)


def test_what_waits_since(spool: Spool, tmp_path: Path) -> None:
    for _ in range(5):
        put(spool, 10)
    entries = list(everything_waiting(tmp_path / "spool"))
    assert waiting(tmp_path / "spool", "central", arrived_ns(entries[3].name)).instances == 2
    assert waiting(tmp_path / "spool", "central", arrived_ns(entries[4].name) + 1).instances == 0


def test_what_a_dead_listener_left_is_counted_before_and_after_its_recovery(spool: Spool, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    dead = Spool(root, "north", slots=SlotBudget(1 << 20))
    size = put(dead, 1000)
    dead.close()
    assert waiting(root, "north") == Usage(1, size)
    recover(root)
    assert waiting(root, "north") == Usage(1, size)


def test_a_file_that_goes_while_it_is_counted_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "central")
    put(spool, 10)

    def arrived(name: str) -> int:
        (spool.new / name).unlink()
        return arrived_ns(name)

    monkeypatch.setattr(usage_module, "arrived_ns", arrived)
    assert waiting(tmp_path, "central") == Usage(0, 0)
    spool.close()


def test_a_facilitys_own_limits_stand_over_the_configured_ones() -> None:
    storage = StorageSettings(max_instance_bytes=10, facility_quota_bytes=20, facility_quota_instances=30)
    plain = Facility(1, "central", "Central", "CENTRAL", 11113)
    assert limits_of(plain, storage) == Limits(10, 20, 30)
    own = Facility(1, "central", "Central", "CENTRAL", 11113, max_instance_bytes=0, quota_bytes=0, quota_instances=7)
    assert limits_of(own, storage) == Limits(0, 0, 7)


def test_usage_against_quota() -> None:
    found = report(Usage(5, 50), Limits(None, 200, None))
    assert (found["bytes_percent"], found["instances_percent"]) == (25.0, None)
    assert report(Usage(0, 0), Limits(None, 0, None))["bytes_percent"] == 100.0
