"""Whose turn it is: one facility's pictures keep nobody from another's, nobody waits for ever, nothing piles up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from noctis.frames import turns as module
from noctis.frames.decoding import Decoder
from noctis.frames.turns import BusyError, GivenUpError, Turns
from tests.support import wait_for


def always() -> bool:
    return True


class Callers:
    """Threads that each want a decoder; `told` says what became of them, in order."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.told: list[str] = []
        self._threads: list[threading.Thread] = []

    def call(self, slug: str, name: str, wanted: Callable[[], bool] = always) -> None:
        """It stands in line, or has ended."""

        def run() -> None:
            try:
                with self.turns.turn(slug, name, wanted):
                    self.told.append(name)
            except (BusyError, GivenUpError) as error:
                self.told.append(f"{name}: {type(error).__name__}")
            except RuntimeError as error:
                self.told.append(f"{name}: {error}")

        before = len(self.turns._queue) + len(self.told)
        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        wait_for(lambda: len(self.turns._queue) + len(self.told) > before or not thread.is_alive(), what=name)

    def end(self) -> list[str]:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        return self.told


@pytest.fixture
def turns() -> Iterator[Turns]:
    made = Turns([Decoder()])
    yield made
    made.close()


@pytest.fixture
def callers(turns: Turns) -> Callers:
    return Callers(turns)


@pytest.fixture
def looks_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 30.0)
    monkeypatch.setattr(module, "WAIT_SECONDS", 60.0)


@pytest.mark.usefixtures("looks_rarely")
def test_who_came_first_goes_first(turns: Turns, callers: Callers) -> None:
    with turns.turn("central", "", always):
        for name in ("first", "second", "third"):
            callers.call("central", name)
    assert callers.end() == ["first", "second", "third"]


@pytest.mark.usefixtures("looks_rarely")
def test_the_facility_with_the_fewest_at_work_goes_first(callers: Callers) -> None:
    turns = callers.turns = Turns([Decoder(), Decoder()])
    with turns.turn("central", "", always), ExitStack() as one:
        one.enter_context(turns.turn("central", "", always))
        for name in ("central 1", "central 2", "central 3"):
            callers.call("central", name)
        callers.call("coast", "coast")
        one.close()
        assert wait_for(lambda: len(callers.told) == 4 and callers.told)[0] == "coast"
    assert callers.end() == ["coast", "central 1", "central 2", "central 3"]


@pytest.mark.usefixtures("looks_rarely")
def test_one_facility_leaves_room_for_the_others(turns: Turns, callers: Callers) -> None:
    half = module.WAITING_MAX // 2
    with turns.turn("central", "", always):
        for at in range(half):
            callers.call("central", f"central {at}")
        with pytest.raises(BusyError), turns.turn("central", "", always):
            pass
        for at in range(module.WAITING_MAX - half):
            callers.call(f"coast-{at}", f"coast {at}")
        with pytest.raises(BusyError), turns.turn("valley", "", always):
            pass
        assert callers.told == []
    assert len(callers.end()) == module.WAITING_MAX
    with turns.turn("valley", "", always):
        pass


@pytest.mark.usefixtures("looks_rarely")
def test_whoever_is_not_waited_for_any_more_leaves_his_place_to_the_next(
    turns: Turns, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser that scrolls gives up picture after picture, sooner than each would look by itself."""
    monkeypatch.setattr(module, "WAITING_MAX", 4)
    gone = threading.Event()
    with turns.turn("central", "", always):
        callers.call("central", "gone", lambda: not gone.is_set())
        callers.call("central", "patient")
        with pytest.raises(BusyError), turns.turn("central", "", always):
            pass
        gone.set()
        callers.call("central", "next")
        assert callers.told == ["gone: GivenUpError"]
    assert callers.end() == ["gone: GivenUpError", "patient", "next"]


@pytest.mark.usefixtures("looks_rarely")
def test_a_decoder_is_not_kept_busy_for_nobody(turns: Turns, callers: Callers) -> None:
    gone = threading.Event()
    with turns.turn("central", "", always):
        callers.call("central", "gone", lambda: not gone.is_set())
        callers.call("central", "patient")
        gone.set()
    assert callers.end() == ["gone: GivenUpError", "patient"]
    assert turns._at_work == {}


def test_it_looks_by_itself(turns: Turns, callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    gone = threading.Event()
    with turns.turn("central", "", always):
        callers.call("central", "gone", lambda: not gone.is_set())
        gone.set()
        assert callers.end() == ["gone: GivenUpError"]


def test_nobody_waits_for_ever(turns: Turns, callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    with turns.turn("central", "", always):
        callers.call("coast", "late")
        assert callers.end() == ["late: BusyError"]
    with turns.turn("coast", "", always):
        pass


def test_a_question_that_fails_costs_no_place(turns: Turns, callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)

    def wanted() -> bool:
        raise RuntimeError("the loop is closed")

    with turns.turn("central", "", always):
        callers.call("central", "asked in line", wanted)
        assert callers.end() == ["asked in line: the loop is closed"]
        assert turns._queue == []
        monkeypatch.setattr(module, "LOOK_SECONDS", 30.0)
        callers.call("central", "asked in turn", wanted)
    assert callers.end()[1:] == ["asked in turn: the loop is closed"]
    assert len(turns._free) == 1
    assert turns._at_work == {}


@pytest.mark.usefixtures("looks_rarely")
def test_closed_it_sends_everybody_away(turns: Turns, callers: Callers) -> None:
    with turns.turn("central", "", always):
        callers.call("coast", "waits")
        turns.close()
        assert callers.end() == ["waits: BusyError"]
    for slug in ("central", "coast"):
        with pytest.raises(BusyError), turns.turn(slug, "", always):
            pass


def test_bytes_go_to_the_decoder_that_has_them() -> None:
    first, second = Decoder(), Decoder()
    first.key = "abc"
    turns = Turns([first, second])
    for key, expected in (("abc", first), ("xyz", first), ("", first)):  # then the one that was used last
        with turns.turn("central", key, always) as found:
            assert found is expected
