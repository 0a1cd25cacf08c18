"""The ways that overwrite in place: a place is used again; at every step the instance is in it or in the archive."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import commit_filing
from bench.commit_filing import Copy
from bench.commit_inplace import BLOCK, RecycledSlots, Segment
from tests.unit.bench.test_commits import INSTANCES, Bench, bench, halves

__all__ = ["bench", "halves"]

HOWS = ("fsync", "syncfs", "direct")


def slots(root: Path) -> RecycledSlots:
    return RecycledSlots(root, slots=2, size=2048)  # some instances are larger: the slot grows


def segment(root: Path) -> Segment:
    return Segment(root, size=6 * BLOCK, extent=2048)  # an instance takes one frame or two: round within the test


def run(bench: Bench, make: Callable[[Path], RecycledSlots | Segment], how: str = "fsync") -> None:
    """Seven instances through places for a few: each is used again after filing, also while another is received."""
    way, filing = make(bench.root), Copy(bench.root, how)  # type: ignore[arg-type]
    bench.look_with(commit_filing.recover, type(way).recover)
    bench.receive(way, INSTANCES[0])
    bench.file(filing)
    bench.receive(way, INSTANCES[1], between=lambda: bench.receive(way, INSTANCES[2]))
    bench.file(filing, 1)
    bench.receive(way, INSTANCES[3], between=lambda: bench.file(filing, 1))
    bench.receive(way, INSTANCES[4])
    bench.file(filing)
    bench.receive(way, INSTANCES[5])
    bench.receive(way, INSTANCES[6])
    bench.file(filing)
    way.close()
    filing.close()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("make", [slots, segment])
def test_nothing_is_lost_or_torn_while_places_are_used_again(
    bench: Bench, make: Callable[[Path], RecycledSlots | Segment], how: str
) -> None:
    run(bench, make, how)
    assert bench.search.losses[:3] == []
    assert len(bench.search.acknowledged) == 7
    assert bench.search.states > 500
    assert bench.search.most_found > 1  # a clearing was lost: found in its place and in the archive


@pytest.mark.parametrize("make", [slots, segment])
def test_nor_where_a_rename_may_be_half_done(halves: Bench, make: Callable[[Path], RecycledSlots | Segment]) -> None:
    run(halves, make)
    assert halves.search.losses[:3] == []


@pytest.mark.parametrize("left_out", ["fdatasync file", "fsync file", "fsync folder archive"])
@pytest.mark.parametrize("make", [slots, segment])
def test_without_one_of_the_syncs_the_search_finds_a_loss(
    bench: Bench, make: Callable[[Path], RecycledSlots | Segment], left_out: str
) -> None:
    """The commit's, the copy's and the archive's. (fsync of a file also makes the places themselves.)"""
    bench.recorder.ignored.add(left_out)
    run(bench, make)
    assert bench.search.losses


@pytest.mark.parametrize("folder", ["slots", "disk"])
def test_places_whose_names_were_not_synced_are_lost(bench: Bench, folder: str) -> None:
    bench.recorder.ignored.add(f"fsync folder {folder}")
    way = slots(bench.root) if folder == "slots" else segment(bench.root)
    bench.look_with(type(way).recover)
    bench.receive(way, INSTANCES[0])
    assert bench.search.losses
    way.close()


@pytest.mark.parametrize("make", [slots, segment])
def test_a_place_cleared_before_its_copy_is_durable_is_a_loss(
    bench: Bench, make: Callable[[Path], RecycledSlots | Segment], monkeypatch: pytest.MonkeyPatch
) -> None:
    def file(self: Copy, batch: list[object]) -> None:
        for hint in batch:
            self._clear(hint)  # type: ignore[arg-type]
        original(self, batch)  # type: ignore[arg-type]

    original = Copy.file
    monkeypatch.setattr(Copy, "file", file)
    run(bench, make)
    assert any(loss.missing for loss in bench.search.losses)


def test_a_digest_of_the_data_alone_lets_a_mixed_head_through(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record and the start of the head are in different sectors: one may be new and the other the last one's."""
    monkeypatch.setattr("bench.commit_record._check", lambda *_: bytes(32))
    run(bench, slots)
    assert any(loss.torn for loss in bench.search.losses)
