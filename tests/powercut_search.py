"""`Search` runs a recovery on every state that a power cut may leave, and says what was lost and what was found torn.

It is called after each call that changes something, so every step is cut at.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.powercut import Recorder

T = TypeVar("T")

ENOUGH_LOSSES = 5  # after so many a search is over


@dataclass(frozen=True)
class Loss:
    """One state in which a promise is broken."""

    after: str  # the call that the power was cut after
    missing: tuple[object, ...]  # acknowledged, not found
    torn: tuple[object, ...]  # found, never sent
    files: tuple[tuple[str, int], ...]  # names and sizes on the disk


class Search(Generic[T]):
    """Looks for a state after which `recover` does not give back what it must. Made before anything is written.

    Parameters
    ----------
    recover
        Takes the root of a disk after the cut. Gives back what is whole there. May change nothing.
    sent
        Everything that may be found; all else is torn.
    """

    def __init__(
        self, recorder: Recorder, root: Path, recover: Callable[[Path], Iterable[T]], sent: Iterable[T]
    ) -> None:
        self.sent = set(sent)
        self.acknowledged: set[T] = set()
        self.losses: list[Loss] = []
        self.states = 0  # that recovery was run on
        self.most_found = 0  # of one thing, in one state: above 1 it was found twice
        self._recorder, self._root, self._recover = recorder, root, recover
        self._scratch = (
            Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else root.parent) / f"cut-{os.getpid()}-{id(self)}"
        )
        self._written: dict[Path, bytes] = {}
        self._known: dict[frozenset[tuple[Path, bytes]], tuple[T, ...]] = {}
        recorder.after = self.cut

    def acknowledge(self, instance: T) -> None:
        """From now on it must survive."""
        self.acknowledged.add(instance)
        self.cut("the acknowledgement")

    def cut(self, after: str) -> None:
        """Cut the power now, in every way there is."""
        if len(self.losses) >= ENOUGH_LOSSES:
            return
        for state in self._recorder.disk.states():
            found = self._after(state)
            missing = tuple(self.acknowledged.difference(found))
            torn = tuple(set(found) - self.sent)
            self.most_found = max(self.most_found, len(found) - len(set(found)) + 1)
            if missing or torn:
                files = tuple((str(path.relative_to(self._root)), len(content)) for path, content in state.items())
                self.losses.append(Loss(after, missing, torn, files))

    def _after(self, state: dict[Path, bytes]) -> tuple[T, ...]:
        key = frozenset(state.items())
        if key not in self._known:
            self._lay_out(state)
            self._known[key] = tuple(self._recover(self._scratch))
            self.states += 1
        return self._known[key]

    def _lay_out(self, state: dict[Path, bytes]) -> None:
        """Make the scratch folder that disk; what is there already stays."""
        for folder in [self._root, *(path for path in self._root.rglob("*") if path.is_dir())]:
            (self._scratch / folder.relative_to(self._root)).mkdir(parents=True, exist_ok=True)
        for path in self._written.keys() - state.keys():
            with suppress(FileNotFoundError):
                (self._scratch / path.relative_to(self._root)).unlink()
        for path, content in state.items():
            if self._written.get(path) != content:
                (self._scratch / path.relative_to(self._root)).write_bytes(content)
        self._written = dict(state)

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
