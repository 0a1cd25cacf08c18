"""Associations held open on purpose, messages sent by halves, and ports held by another program."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.load import Association, Template
from bench.studies import TINY, make_uid


@contextmanager
def open_association(port: int, called: str) -> Iterator[Association]:
    association = Association("127.0.0.1", port, called, TINY)
    association.open()
    try:
        yield association
    finally:
        association.sock.close()


def store(association: Association, number: int) -> int:
    """One instance, and the status it was answered with."""
    study, series, uid = make_uid(1), make_uid(2), make_uid(100 + number)
    return association.store(number, uid, Template(TINY).patched(study, series, uid))


def message(association: Association, number: int) -> bytes:
    """All bytes of one C-STORE-RQ, not sent."""
    sent: list[bytes] = []
    spare = Association(association.host, association.port, association.called, TINY)
    spare.max_fragment = association.max_fragment
    spare.sock = SimpleNamespace(sendall=sent.append, recv=lambda _count: b"")
    with pytest.raises(ConnectionError):
        store(spare, number)
    return b"".join(sent)


def in_flight(home: Path, slug: str) -> bool:
    """Whether a listener has begun to write an instance of this facility; files made ahead are empty."""
    return any(path.stat().st_size for path in home.glob(f"spool/{slug}/tmp/*/*.dcm"))


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def held_port(port: int) -> Iterator[socket.socket]:
    """Another program's port; this process is the other program."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        yield sock
