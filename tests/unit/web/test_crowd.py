"""Who is let in, and who makes room."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from noctis.web.crowd import Crowd

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Answered:
    is_waiting = False


class Many:
    """A crowd of three, a clock, and sockets to enter with."""

    def __init__(self, stack: ExitStack) -> None:
        self.now = 0.0
        self.crowd = Crowd(3, lambda: self.now)
        self._stack = stack
        self._theirs: dict[int, socket.socket] = {}  # the other ends, by the descriptor of ours

    def enter(self, address: str) -> socket.socket | None:
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        self._stack.enter_context(theirs)
        self.now += 1
        if not self.crowd.enter(ours, address):
            return None
        theirs.setblocking(False)
        self._theirs[ours.fileno()] = theirs
        return ours

    def is_in(self, sock: socket.socket | None) -> bool:
        assert sock is not None
        try:
            return self._theirs[sock.fileno()].recv(1) != b""
        except BlockingIOError:
            return True


@pytest.fixture
def many() -> Iterator[Many]:
    with ExitStack() as stack:
        yield Many(stack)


def test_the_one_that_waited_longest_makes_room(many: Many) -> None:
    first, second, third = (many.enter(HERE) for _ in range(3))
    assert all(map(many.is_in, (first, second, third)))
    fourth = many.enter(HERE)
    assert [many.is_in(each) for each in (first, second, third, fourth)] == [False, True, True, True]


def test_of_the_address_that_has_the_most(many: Many) -> None:
    one, first, second = many.enter(THERE), many.enter(HERE), many.enter(HERE)
    third = many.enter(HERE)
    assert [many.is_in(each) for each in (one, first, second, third)] == [True, False, True, True]


def test_a_network_of_ipv6_counts_as_one(many: Many) -> None:
    one, first, _ = many.enter(THERE), many.enter("2001:db8::1"), many.enter("2001:db8::2")
    many.enter("2001:db8::3")
    assert (many.is_in(one), many.is_in(first)) == (True, False)


def test_what_is_being_answered_is_not_cut_off(many: Many, guest: Callable[..., None]) -> None:
    first, second, third = (many.enter(HERE) for _ in range(3))
    guest(many, first)
    assert many.enter(HERE)
    assert (many.is_in(first), many.is_in(second)) == (True, False)
    for each in (third, list(many.crowd._guests.values())[-1].sock):
        guest(many, each)
    assert many.enter(HERE) is None


def test_who_was_answered_a_moment_ago_waits_since_then(many: Many) -> None:
    first, second, _ = (many.enter(HERE) for _ in range(3))
    assert first is not None
    found = many.crowd.guest(first.fileno())
    assert found is not None
    many.now += 1
    many.crowd.rest(found)
    many.enter(HERE)
    assert (many.is_in(first), many.is_in(second)) == (True, False)


def test_who_has_gone_takes_no_place(many: Many) -> None:
    first, second, third = (many.enter(HERE) for _ in range(3))
    assert third is not None
    third.close()
    assert many.enter(THERE)
    assert (many.is_in(first), many.is_in(second)) == (True, True)


@pytest.fixture
def guest() -> Callable[..., None]:
    def answered(many: Many, sock: socket.socket) -> None:
        found = many.crowd.guest(sock.fileno())
        assert found is not None
        found.peer = Answered()

    return answered
