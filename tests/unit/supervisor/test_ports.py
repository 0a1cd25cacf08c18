"""Who listens on a port."""

import os
import socket
import subprocess
import sys

from noctis.supervisor.ports import Holder, all_who_listen, who_listens
from tests.support import free_port


def test_nobody() -> None:
    assert who_listens(free_port()) == []


def test_this_process_on_either_family() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            sock.bind((address, 0))
            port = sock.getsockname()[1]
            assert who_listens(port) == []  # bound, not listening
            sock.listen()
            (holder,) = who_listens(port)
            assert holder.pid == os.getpid()
            assert str(holder) == f"pid {os.getpid()} ({holder.command})"


def test_everybody_who_shares_the_socket() -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sharer = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[sock.fileno()]
        )
        with sharer:
            assert sharer.stdout is not None
            sharer.stdout.readline()
            holders = all_who_listen()[sock.getsockname()[1]]
            assert [holder.pid for holder in holders] == sorted((os.getpid(), sharer.pid))
            assert sharer.stdin is not None
            sharer.stdin.close()


def test_a_connection_is_not_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert who_listens(client.getsockname()[1]) == []


def test_somebody_who_cannot_be_seen() -> None:
    assert str(Holder(0, "")) == "a process of another user"
