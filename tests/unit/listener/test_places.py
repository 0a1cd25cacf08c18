"""Places: counted over processes, given back by the kernel, and never twice."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.listener import places
from noctis.listener.places import ALL, Places

HOLDER = """
import sys
from pathlib import Path
from noctis.listener.places import Places
places = Places(Path(sys.argv[1]))
print(sum(places.take(1, 1000) is not None for _ in range(int(sys.argv[2]))), flush=True)
sys.stdin.read()
"""


def test_the_lowest_free_one_is_taken(tmp_path: Path) -> None:
    held = Places(tmp_path / "a")
    assert [held.take(ALL, 3) for _ in range(4)] == [0, 1, 2, None]
    held.give_back(1)
    assert held.take(ALL, 3) == 1


def test_groups_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    held = Places(tmp_path / "a")
    assert [held.take(group, 1) for group in (ALL, 1, 2)] == [0, 1 << 32, 2 << 32]
    assert held.take(1, 1) is None


def test_two_in_one_process_see_each_other_and_closing_one_leaves_the_others(tmp_path: Path) -> None:
    one, other = Places(tmp_path / "a"), Places(tmp_path / "a")
    assert one.take(1, 2) is not None
    assert other.take(1, 2) is not None
    assert one.take(1, 2) is None
    third = Places(tmp_path / "a")
    third.close()
    (tmp_path / "a").read_bytes()  # POSIX's own locks of this process would be gone by now
    assert Places(tmp_path / "a").take(1, 2) is None
    other.close()
    assert one.take(1, 2) is not None


def test_a_lowered_limit_counts_those_that_hold_on(tmp_path: Path) -> None:
    one, other = Places(tmp_path / "a"), Places(tmp_path / "a")
    for _ in range(5):
        one.take(1, 10)
        other.take(1, 10)
    assert one.take(1, 4) is None
    assert other.take(1, 4) is None


def test_a_killed_process_leaks_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a"), "100"]
    ours = Places(tmp_path / "a")
    for _ in range(3):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "100\n"
            assert ours.take(1, 100) is None
            place = ours.take(1, 101)
            assert place == (1 << 32) + 100
            ours.give_back(place)
            holder.send_signal(signal.SIGKILL)
            holder.wait(20)
        place = ours.take(1, 1)
        assert place is not None
        ours.give_back(place)


def test_others_places_cost_two_calls_a_run_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, ours = Places(tmp_path / "a"), Places(tmp_path / "a")
    for _ in range(1000):
        other.take(ALL, 1000)
    calls: list[int] = []
    real = fcntl.fcntl

    def counting(descriptor: int, command: int, argument: bytes) -> int | bytes:
        calls.append(command)
        return real(descriptor, command, argument)

    monkeypatch.setattr(places.fcntl, "fcntl", counting)
    assert ours.take(ALL, 1000) is None
    assert len(calls) == 2
    assert ours.take(ALL, 1001) == 1000
    assert len(calls) == 5


def test_threads_and_processes_together_never_have_more_than_the_limit(tmp_path: Path) -> None:
    shares = [Places(tmp_path / "a") for _ in range(3)]
    most, now, lock = [0], [0], threading.Lock()

    def come_and_go(share: Places) -> None:
        for _ in range(300):
            place = share.take(1, 4)
            if place is None:
                continue
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            with lock:
                now[0] -= 1
            share.give_back(place)

    threads = [threading.Thread(target=come_and_go, args=(share,)) for share in shares for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[0] <= 4
    assert all(shares[0].take(1, 4) is not None for _ in range(4))


def test_where_nothing_can_be_locked_this_process_counts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> int:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(places.fcntl, "fcntl", no_locks)
    held = Places(tmp_path / "a")
    assert [held.take(1, 2) is not None for _ in range(3)] == [True, True, False]
    held.give_back(1 << 32)
    assert held.take(1, 2) is not None
    held.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 7)), max_size=60))
def test_coming_and_going_in_any_order(moves: list[tuple[bool, int, int]]) -> None:
    """As a plain set of places says it."""
    with tempfile.TemporaryDirectory() as folder:
        shares = [Places(Path(folder) / "a") for _ in range(2)]
        held: dict[int, int] = {}  # place → whose
        for comes, who, number in moves:
            if comes:
                place = shares[who].take(ALL, 6)
                assert place == next((each for each in range(6) if each not in held), None)
                if place is not None:
                    held[place] = who
            elif held.get(number) == who:
                shares[who].give_back(number)
                del held[number]
        for share in shares:
            share.close()
