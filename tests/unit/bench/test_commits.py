"""Each way of committing, proven or refuted: the power is cut after every call, and its recovery is run on every disk.

A proof here is a search over the states that `tests.powercut` derives from POSIX. For each way there is also a search
that must find a loss, with the sync that the way rests on left out.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench import commit_filing, commit_inplace, commit_record, commit_ways
from bench.commit_filing import CutAndLink, Filing, Link
from bench.commit_inplace import Segment
from bench.commit_record import Hint, Instance, Way
from bench.commit_ways import (
    FilesAhead,
    GroupCommit,
    GroupSyncfs,
    LinkedAhead,
    RenameThenSync,
    Together,
    TwoSyncs,
    WrittenAhead,
)
from tests.powercut import Disk, Recorder
from tests.powercut_search import Search

# Each longer than a sector, no two alike in any sector, and none as long as the one before it.
INSTANCES = [
    Instance(f"1.2.3.{number}", bytes([number]) * 700 + bytes(range(256)) * (3 + number % 3)) for number in range(1, 9)
]


@dataclass
class Bench:
    """A disk, what is written to it, and the search that cuts its power."""

    root: Path
    recorder: Recorder
    search: Search[Instance] = field(init=False)
    hints: list[Hint] = field(default_factory=list)

    def look_with(self, *recoveries: Callable[[Path], list[Instance]]) -> None:
        def recover(root: Path) -> list[Instance]:
            return [found for recovery in recoveries for found in recovery(root)]

        self.search = Search(self.recorder, self.root, recover, INSTANCES)

    def receive(self, way: Way, instance: Instance, between: Callable[[], None] = lambda: None) -> None:
        """One instance in three pieces; `between` is called after the first."""

        def pieces() -> Iterator[bytes]:
            yield instance.data[:600]
            between()
            yield instance.data[600:601]
            yield instance.data[601:]

        hint = way.receive(instance.name, pieces())
        self.hints.append(hint)
        self.search.acknowledge(instance)

    def file(self, filing: Filing, count: int = 8) -> None:
        batch, self.hints = self.hints[:count], self.hints[count:]
        filing.file(batch)


@contextmanager
def _bench(root: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk) -> Iterator[Bench]:
    root.mkdir()
    recorder = Recorder(disk, root)
    for module in (commit_record, commit_ways, commit_inplace, commit_filing):
        monkeypatch.setattr(module, "os", recorder)
    monkeypatch.setattr(commit_record, "syncfs", recorder.syncfs)
    bench = Bench(root, recorder)
    yield bench
    bench.search.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with _bench(tmp_path / "disk", monkeypatch, Disk()) as bench:
        yield bench


@pytest.fixture
def ext4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """As Linux's ext4 does it: the sync of a file is one of its name as well."""
    with _bench(tmp_path / "disk", monkeypatch, Disk(names_with_file=True)) as bench:
        yield bench


def written_ahead(root: Path) -> WrittenAhead:
    way = WrittenAhead(root, size=1700)
    way.prepare(2)  # the others are made, and grow, as they come
    return way


FILES: dict[str, tuple[Callable[[Path], Way], Callable[[Path], Filing]]] = {
    "two-syncs": (TwoSyncs, Link),
    "group": (GroupCommit, Link),
    "group-syncfs": (GroupSyncfs, Link),
    "files-ahead": (FilesAhead, Link),
    "linked-ahead": (LinkedAhead, Link),
    "written-ahead": (written_ahead, CutAndLink),
}


def run_files(bench: Bench, name: str) -> None:
    """Five instances: alone, one inside another, and filed twice meanwhile."""
    make, make_filing = FILES[name]
    kind = WrittenAhead if name == "written-ahead" else make
    filing = make_filing(bench.root)
    way = make(bench.root)
    bench.look_with(commit_filing.recover, kind.recover)  # type: ignore[attr-defined]
    bench.receive(way, INSTANCES[0])
    bench.receive(way, INSTANCES[1], between=lambda: bench.receive(way, INSTANCES[2]))
    bench.file(filing, 2)
    bench.receive(way, INSTANCES[3], between=lambda: bench.file(filing))
    way.close()


@pytest.mark.parametrize("name", FILES)
def test_a_way_with_files_loses_nothing_and_gives_back_nothing_torn(bench: Bench, name: str) -> None:
    run_files(bench, name)
    assert bench.search.losses[:3] == []
    assert len(bench.search.acknowledged) == 4
    assert bench.search.states > 100


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("two-syncs", "fdatasync file"),
        ("two-syncs", "fsync folder new"),
        ("group", "fdatasync file"),
        ("group", "fsync folder new"),
        ("group-syncfs", "syncfs"),
        ("files-ahead", "fdatasync file"),
        ("files-ahead", "fsync folder tmp"),
        ("linked-ahead", "fdatasync file"),
        ("linked-ahead", "fsync folder new"),
        ("written-ahead", "fdatasync file"),
        ("written-ahead", "fsync folder tmp"),
        ("two-syncs", "fsync folder archive"),
        ("files-ahead", "fsync folder archive"),
    ],
)
def test_without_one_of_its_syncs_the_search_finds_a_loss(bench: Bench, name: str, left_out: str) -> None:
    bench.recorder.ignored.add(left_out)
    run_files(bench, name)
    assert bench.search.losses


def test_a_file_written_ahead_must_be_cut_durably_before_the_spool_forgets_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CutAndLink, "_sync_cut", lambda *_: None)
    run_files(bench, "written-ahead")
    assert any(loss.torn for loss in bench.search.losses)


@pytest.fixture
def halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """As a file system without a journal may do it: the old name gone, the new one not there."""
    with _bench(tmp_path / "disk", monkeypatch, Disk(renames_in_halves=True)) as bench:
        yield bench


@pytest.mark.parametrize("name", FILES)
def test_where_a_rename_may_be_half_done_a_file_must_not_depend_on_one(halves: Bench, name: str) -> None:
    """A way is safe there when it syncs what it renamed, or renames nothing that was acknowledged."""
    run_files(halves, name)
    assert bool(halves.search.losses) is (name in {"files-ahead", "written-ahead"})
    assert not any(loss.torn for loss in halves.search.losses)


# Rename first, then one sync


def test_rename_then_one_sync_is_not_safe_by_what_posix_promises(bench: Bench) -> None:
    """The bytes are synced, but neither name need be on the disk: the acknowledged instance has none."""
    way = RenameThenSync(bench.root)
    bench.look_with(RenameThenSync.recover)
    bench.receive(way, INSTANCES[0])
    assert bench.search.losses
    assert {loss.after for loss in bench.search.losses} == {"the acknowledgement"}
    assert all(loss.missing == (INSTANCES[0],) and not loss.torn and not loss.files for loss in bench.search.losses)
    way.close()


def test_rename_then_one_sync_is_safe_where_a_file_is_synced_with_its_name(ext4: Bench) -> None:
    way, filing = RenameThenSync(ext4.root), Link(ext4.root)
    ext4.look_with(commit_filing.recover, RenameThenSync.recover)
    ext4.receive(way, INSTANCES[0])
    ext4.receive(way, INSTANCES[1], between=lambda: ext4.receive(way, INSTANCES[2]))
    ext4.file(filing)
    assert ext4.search.losses == []
    assert ext4.search.states > 100
    way.close()


# Group commit


def arrive_during_a_sync(bench: Bench, way: GroupCommit | Segment | GroupSyncfs, call: str) -> None:
    """A second association asks for the sync while the first one's runs, with what that one may not have covered."""
    others: list[threading.Thread] = []

    def during(running: str) -> None:
        if running == call and not others:
            others.append(threading.Thread(target=bench.receive, args=(way, INSTANCES[1])))
            others[0].start()
            while way.together.asked < 2:
                others[0].join(0.001)
                assert others[0].is_alive()

    bench.recorder.during = during
    bench.receive(way, INSTANCES[0])
    others[0].join()


class TooEarly(Together):
    """A mistake that is easily made: who came while the sync ran goes with it."""

    def _lead(self) -> None:
        super()._lead()
        self.served = self.asked


GROUPED = {
    "group": (GroupCommit, "fsync folder new"),
    "group-syncfs": (GroupSyncfs, "syncfs"),
    "segment": (lambda root: Segment(root, size=1 << 16, extent=2048), "fdatasync file"),
}


@pytest.mark.parametrize("too_early", [False, True])
@pytest.mark.parametrize("name", GROUPED)
def test_who_comes_while_a_sync_runs_waits_for_the_next(bench: Bench, name: str, *, too_early: bool) -> None:
    make, call = GROUPED[name]
    way = make(bench.root)
    if too_early:
        way.together = TooEarly(way.together._sync)
    bench.look_with({"segment": Segment}.get(name, type(way)).recover)
    before = bench.recorder.calls.count(call)
    arrive_during_a_sync(bench, way, call)
    assert bench.recorder.calls.count(call) - before == (1 if too_early else 2)
    assert bool(bench.search.losses) is too_early
    way.close()


def test_a_failed_sync_fails_all_that_wait_and_all_that_come() -> None:
    def fail() -> None:
        raise OSError(5, "the disk is failing")

    together = Together(fail)
    for _ in range(2):
        with pytest.raises(OSError, match="failing"):
            together.sync()
    assert together.served == 0


def test_many_associations_share_syncs_and_all_are_served() -> None:
    syncs = 0
    gate = threading.Barrier(8)

    def sync() -> None:
        nonlocal syncs
        syncs += 1

    def ask() -> None:
        gate.wait()
        for _ in range(50):
            together.sync()

    together = Together(sync)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together.served == together.asked == 400
    assert syncs <= 400
