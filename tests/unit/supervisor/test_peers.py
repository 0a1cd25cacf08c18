"""Who is at the other end of the control socket."""

import os
import socket
from collections.abc import Iterator

import pytest
import structlog

from noctis.supervisor import peers


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def channel(*arguments: object) -> tuple[object, ...]:
    return arguments


def test_the_kernel_says_who_it_is(pair: tuple[socket.socket, socket.socket]) -> None:
    assert peers.credentials(pair[0]) == (os.getpid(), os.geteuid())


def test_our_own_user_and_root_may_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [uid for uid in (0, 1, 999, 1000, 1001, 65534) if peers.may_speak(uid)] == [0, 1000]


def test_a_channel_for_those_who_may(pair: tuple[socket.socket, socket.socket]) -> None:
    assert peers.guarded(channel)("server", pair[0], "") == ("server", pair[0], "")


def test_others_are_closed(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "credentials", lambda _: (4711, 1001))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with structlog.testing.capture_logs() as lines:
        assert peers.guarded(channel)("server", pair[0], "") is None
    assert lines == [{"event": "control.refused", "uid": 1001, "pid": 4711, "log_level": "warning"}]
    assert pair[1].recv(1) == b""


def test_one_that_has_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    assert peers.guarded(channel)("server", pair[0], "") is None
