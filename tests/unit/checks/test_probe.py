"""A probe looks once for many, and never longer than it may."""

import threading
from collections.abc import Iterator

import pytest

from noctis.checks.probe import Probe, results
from noctis.errors import DatabaseError
from tests.support import wait_for


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """What a look that hangs waits for."""
    made = threading.Event()
    yield made
    made.set()


def test_a_result_is_good_for_a_while() -> None:
    looks: list[int] = []
    probe = Probe("the thing", lambda: looks.append(1) or len(looks), fresh_seconds=3600)
    assert [probe.result().value for _ in range(5)] == [1] * 5
    again = Probe("the thing", lambda: looks.append(1) or len(looks), fresh_seconds=0)
    assert [again.result().value for _ in range(3)] == [2, 3, 4]


def test_a_flood_of_questions_is_one_look(free: threading.Event) -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        free.wait()
        return 7

    probe = Probe("the thing", look, fresh_seconds=3600, patience=60)
    answers: list[int | None] = []
    askers = [threading.Thread(target=lambda: answers.append(probe.result().value)) for _ in range(20)]
    for each in askers:
        each.start()
    wait_for(lambda: looks, what="the look")
    free.set()
    for each in askers:
        each.join()
    assert (answers, len(looks)) == ([7] * 20, 1)


def test_while_a_look_hangs_it_is_said_so_and_nobody_else_looks(free: threading.Event) -> None:
    looks: list[int] = []
    probe = Probe("the thing", lambda: looks.append(1) or free.wait(), fresh_seconds=0, patience=0.05)
    for _ in range(3):
        seen = probe.result()
        assert (seen.value, seen.error) == (None, "the thing does not answer")
    assert len(looks) == 1
    free.set()
    assert wait_for(lambda: probe.result().value, what="the end of the look")


def test_several_hang_side_by_side(free: threading.Event) -> None:
    started = [threading.Event() for _ in range(3)]
    probes = [Probe("it", lambda each=each: each.set() or free.wait(), 0, patience=0.05) for each in started]
    assert [each.value for each in results(*probes)] == [None] * 3
    assert all(each.is_set() for each in started)


@pytest.mark.parametrize(
    ("error", "said"),
    [(DatabaseError("the database is away"), "the database is away"), (ValueError("secret"), "it: ValueError")],
)
def test_an_error_is_a_result(error: Exception, said: str) -> None:
    def look() -> None:
        raise error

    assert Probe("it", look, fresh_seconds=0).result().error == said
