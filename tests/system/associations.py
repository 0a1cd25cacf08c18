"""Associations held open on purpose, messages sent by halves, and ports held by another program."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.scu import Association, StoreMessage
from bench.studies import TINY, Template, Uids, make_uid
from tests.spooling import is_being_written


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
    return association.store(_message(number, association.max_fragment))


def message(number: int) -> bytes:
    """All bytes of one C-STORE-RQ, in several PDUs."""
    return bytes(_message(number, 1024).encoded)


def _message(number: int, max_fragment: int) -> StoreMessage:
    made = StoreMessage(Template(TINY), max_fragment)
    made.set(number, Uids(make_uid(1), make_uid(2), make_uid(100 + number)))
    return made


def in_flight(home: Path, slug: str) -> bool:
    """Whether a listener has begun to write an instance of this facility."""
    return any(is_being_written(path) for path in home.glob(f"spool/{slug}/tmp/*/*.dcm"))


@contextmanager
def held_port(port: int) -> Iterator[socket.socket]:
    """Another program's port; this process is the other program."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        yield sock
