"""Short work that nobody waits for, in a thread of its own; only whoever closes what it works on waits for its end."""

import threading
from collections.abc import Callable

_running: set[threading.Thread] = set()


def start(work: Callable[[], object], name: str) -> None:
    """Do this work beside all else."""

    def run() -> None:
        try:
            work()
        finally:
            _running.discard(thread)

    thread = threading.Thread(target=run, name=name, daemon=True)
    _running.add(thread)
    thread.start()


def finish(seconds: float) -> None:
    """Wait for each of those that run, for so long."""
    for thread in list(_running):
        thread.join(seconds)
