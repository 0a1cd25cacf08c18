"""Callers that come one after the other, all the time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Knocks:
    """How they fared."""

    def __init__(self) -> None:
        self.answered = 0
        self.refused: list[OSError] = []


@contextmanager
def knocking(port: int) -> Iterator[Knocks]:
    """Connect to a port again and again, meanwhile."""
    stop, knocks = threading.Event(), Knocks()

    def knock() -> None:
        while not stop.is_set():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=20).close()
                knocks.answered += 1
            except OSError as error:
                knocks.refused.append(error)

    caller = threading.Thread(target=knock)
    caller.start()
    try:
        yield knocks
    finally:
        stop.set()
        caller.join()
