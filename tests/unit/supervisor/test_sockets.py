"""Listening sockets: bound, explained, and handed over."""

import errno
import os
from collections.abc import Iterator

import pytest

from noctis.supervisor.sockets import HANDED_OVER, Sockets, listen
from tests.support import free_port, listens


@pytest.fixture(autouse=True)
def _nothing_handed_over() -> Iterator[None]:
    os.environ.pop(HANDED_OVER, None)
    yield
    os.environ.pop(HANDED_OVER, None)


@pytest.fixture
def sockets() -> Sockets:
    return Sockets("127.0.0.1", 5)


def test_it_listens_and_does_not_block(sockets: Sockets) -> None:
    with sockets.listen(free_port()) as sock:
        assert listens(sock.getsockname()[1])
        assert not sock.getblocking()
        assert not sock.get_inheritable()


def test_an_ipv6_socket_takes_ipv4_callers() -> None:
    port = free_port()
    with listen("::", port, 5):
        assert listens(port)


def test_a_held_port_is_explained(sockets: Sockets) -> None:
    port = free_port()
    with sockets.listen(port):
        with pytest.raises(OSError) as caught:
            sockets.listen(port)
        assert f"Port already in use: {port} is held by pid {os.getpid()} (" in sockets.explain(port, caught.value)


def test_what_else_may_be_wrong(sockets: Sockets) -> None:
    assert "privilege" in sockets.explain(104, OSError(errno.EACCES, "Permission denied"))
    assert "not an address of this machine" in sockets.explain(104, OSError(errno.EADDRNOTAVAIL, ""))
    assert "cannot be bound: Too many" in sockets.explain(104, OSError(errno.EMFILE, "Too many open files"))
    with pytest.raises(OSError) as caught:
        Sockets("192.0.2.1", 5).listen(free_port())
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_the_next_image_takes_over_without_closing(sockets: Sockets) -> None:
    kept, gone = free_port(), free_port()
    before = {port: sockets.listen(port) for port in (kept, gone)}
    sockets.hand_over(before.items())
    assert all(sock.get_inheritable() for sock in before.values())
    numbers = {port: sock.detach() for port, sock in before.items()}  # as an exec leaves them: descriptors, no objects

    after = Sockets("127.0.0.1", 7)
    after.adopt()
    assert HANDED_OVER not in os.environ
    with after.listen(kept) as sock:
        assert sock.fileno() == numbers[kept]
        assert not sock.get_inheritable()
        assert not sock.getblocking()
        assert listens(kept)
        assert listens(gone)  # nobody has asked for it yet
        after.close_leftovers()
        assert not listens(gone)
        assert listens(kept)
    assert not listens(kept)


def test_another_address_closes_what_was_handed_over(sockets: Sockets) -> None:
    port = free_port()
    sock = sockets.listen(port)
    sockets.hand_over([(port, sock)])
    sock.detach()
    after = Sockets("0.0.0.0", 5)
    after.adopt()
    with after.listen(port) as wide:
        assert wide.getsockname() == ("0.0.0.0", port)


def test_what_is_no_socket_is_left_alone(sockets: Sockets) -> None:
    read, write = os.pipe()
    os.environ[HANDED_OVER] = f"127.0.0.1,{free_port()},{read};127.0.0.1,1,999999"
    sockets.adopt()
    sockets.close_leftovers()
    os.fstat(read)
    os.close(read)
    os.close(write)
