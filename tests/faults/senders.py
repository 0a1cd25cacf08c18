"""Senders that never give up, and remember what they were told."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable

from bench.scu import Association, StoreMessage
from bench.studies import TINY, Kind, Template, Uids, make_uid
from tests.faults import network

PAUSE_SECONDS = 0.02  # after a failure, as any sender pauses


class Sender(threading.Thread):
    """Sends one instance after another, and again whatever was not acknowledged, until told to stop.

    `acknowledged` has the SOP Instance UID of everything that was answered with success.
    """

    def __init__(
        self,
        port: int,
        called: str,
        seed: int,
        *,
        kind: Kind = TINY,
        host: str = "127.0.0.1",
        namespace: str | None = None,
        wait_seconds: int = 120,
        limit: int | None = None,  # instances
        per_association: int | None = None,
        gate: threading.Event | None = None,  # with its association open it waits for it
    ) -> None:
        super().__init__(daemon=True)
        self._target = (host, port, called, kind)
        self._namespace = namespace
        self._wait_seconds = wait_seconds
        self._limit = limit
        self._per_association = per_association
        self._gate = gate
        self._stop_requested = threading.Event()
        self._base = seed * 10_000_000
        self._number = 10
        self.study = make_uid(self._base + 1)
        self.acknowledged: list[str] = []
        self.seconds: list[float] = []  # each answer took; of those acknowledged
        self.statuses: Counter[int] = Counter()  # other than success
        self.broken = 0  # associations that broke, or were not accepted

    def run(self) -> None:
        if self._namespace is not None:
            network.enter(self._namespace)
        host, port, called, kind = self._target
        template = Template(kind)
        while not self._ended():
            association = Association(host, port, called, kind, wait_seconds=self._wait_seconds)
            try:
                association.open()
                if self._gate is not None:
                    self._gate.wait(self._wait_seconds)
                self._send(association, StoreMessage(template, association.max_fragment))
                association.close()
            except OSError:
                self.broken += 1
                self._stop_requested.wait(PAUSE_SECONDS)
            finally:
                with contextlib.suppress(AttributeError):
                    association.sock.close()

    def _ended(self) -> bool:
        return self._stop_requested.is_set() or (self._limit is not None and len(self.acknowledged) >= self._limit)

    def _send(self, association: Association, message: StoreMessage) -> None:
        sent = 0
        while not self._ended() and (self._per_association is None or sent < self._per_association):
            uid = make_uid(self._base + self._number)
            message.set(self._number, Uids(self.study, make_uid(self._base + 2), uid))
            begun = time.monotonic()
            status = association.store(message)
            sent += 1
            if status == 0:
                self.seconds.append(time.monotonic() - begun)
                self.acknowledged.append(uid)
                self._number += 1
            else:
                self.statuses[status] += 1
                self._stop_requested.wait(PAUSE_SECONDS)

    def tell_to_stop(self) -> None:
        self._stop_requested.set()

    def stop(self) -> None:
        """End after the instance in hand."""
        self.tell_to_stop()
        self.join(180)
        assert not self.is_alive(), "a sender hangs"


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def what_they_saw(senders: Iterable[Sender]) -> str:
    """In a few words: refusals by status, broken associations, the slowest answer."""
    senders = list(senders)
    statuses = sum((sender.statuses for sender in senders), Counter[int]())
    broken = sum(sender.broken for sender in senders)
    slowest = max((max(sender.seconds, default=0.0) for sender in senders), default=0.0)
    seen = [f"{status:04X} {count} times" for status, count in sorted(statuses.items())]
    if broken:
        seen.append(f"{broken} associations broken or refused")
    seen.append(f"slowest answer {slowest:.2f} s")
    return ", ".join(seen)
