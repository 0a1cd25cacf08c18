"""A few work at a time, a few wait, the others come again."""

import threading
from contextlib import ExitStack

import pytest

from noctis.web import effort
from noctis.web.effort import Effort, TooMuchError
from tests.support import wait_for


def test_more_than_there_is_room_for() -> None:
    work, most = Effort(), effort.AT_ONCE + effort.WAITING_MAX
    done: list[str] = []

    def wait(slug: str) -> None:
        with work.of(slug):
            done.append(slug)

    with ExitStack() as held:
        for _ in range(effort.AT_ONCE):
            held.enter_context(work.of("central"))
        waiting = ["central"] * (most // 2 - effort.AT_ONCE) + ["north"] * (most // 2)
        threads = [threading.Thread(target=wait, args=(slug,)) for slug in waiting]
        for thread in threads:
            thread.start()
        wait_for(lambda: work._inside.total() == most, what="all places to be taken")
        for slug in ("central", "south"):
            with pytest.raises(TooMuchError), work.of(slug):
                pass
        assert done == []
    for thread in threads:
        thread.join(30)
    assert sorted(done) == sorted(waiting)
    with work.of("south"):
        pass


def test_one_facility_leaves_room_for_the_others() -> None:
    work = Effort()
    most = effort.AT_ONCE + effort.WAITING_MAX
    work._inside["central"] = most // 2
    with pytest.raises(TooMuchError), work.of("central"):
        pass
    with work.of("north"):
        pass


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "WAIT_SECONDS", 0.01)
    work = Effort()
    with work.of("a"), work.of("b"), pytest.raises(TooMuchError), work.of("c"):
        pass
    with work.of("c"):
        pass
