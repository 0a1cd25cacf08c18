"""`Search` runs a recovery on every state that a power cut may leave, and says what was lost and what was found torn.

It is called after each call that changes something, so every step is cut at.
"""

import os
import shutil
from collections.abc import Callable, Iterable
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
        Takes the root of a disk after the cut. Gives back what is whole there. What it leaves is thrown away.
    sent
        Everything that may be found; all else is torn.
    part
        Which part of the disk a path below `root` belongs to. Parts that `recover` looks at each for itself may be told
        apart: then it is run on each state of each part once, and not on all their combinations.
    """

    def __init__(
        self,
        recorder: Recorder,
        root: Path,
        recover: Callable[[Path], Iterable[T]],
        sent: Iterable[T],
        part: Callable[[Path], str] = lambda _: "",
    ) -> None:
        self.sent = set(sent)
        self.acknowledged: set[T] = set()
        self.losses: list[Loss] = []
        self.most_found = 0  # of one thing, in one state: above 1 it was found twice
        self._recorder, self._root, self._recover, self._part = recorder, root, recover, part
        self._scratch = (
            Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else root.parent) / f"cut-{os.getpid()}-{id(self)}"
        )
        self._seen: set[frozenset[tuple[Path, bytes]]] = set()
        self._known: dict[frozenset[tuple[Path, bytes]], tuple[T, ...]] = {}
        self._parts: dict[Path, str] = {}
        recorder.after = self.cut

    @property
    def states(self) -> int:
        """How many different states were recovered from."""
        return len(self._seen)

    def acknowledge(self, instance: T) -> None:
        """From now on it must survive."""
        self.acknowledged.add(instance)
        self.cut("the acknowledgement")

    def cut(self, after: str) -> None:
        """Cut the power now, in every way there is."""
        if len(self.losses) >= ENOUGH_LOSSES:
            return
        folders = [path.relative_to(self._root) for path in self._root.rglob("*") if path.is_dir()]
        for state in self._recorder.disk.states():
            found = self._after(state, folders)
            missing = tuple(self.acknowledged.difference(found))
            torn = tuple(set(found) - self.sent)
            self.most_found = max(self.most_found, len(found) - len(set(found)) + 1)
            if missing or torn:
                files = tuple((str(path.relative_to(self._root)), len(content)) for path, content in state.items())
                self.losses.append(Loss(after, missing, torn, files))

    def _after(self, state: dict[Path, bytes], folders: list[Path]) -> tuple[T, ...]:
        self._seen.add(frozenset(state.items()))
        parts: dict[str, list[tuple[Path, bytes]]] = {"": []}
        for path, content in state.items():
            if path not in self._parts:
                self._parts[path] = self._part(path.relative_to(self._root))
            parts.setdefault(self._parts[path], []).append((path, content))
        found: list[T] = []
        for files in parts.values():
            key = frozenset(files)
            if key not in self._known:
                self._lay_out(files, folders)
                self._known[key] = tuple(self._recover(self._scratch))
                shutil.rmtree(self._scratch)
            found += self._known[key]
        return tuple(found)

    def _lay_out(self, files: Iterable[tuple[Path, bytes]], folders: Iterable[Path]) -> None:
        """Make the scratch folder a disk with these files and folders."""
        self._scratch.mkdir()
        for folder in folders:
            (self._scratch / folder).mkdir(exist_ok=True)
        for path, content in files:
            (self._scratch / path.relative_to(self._root)).write_bytes(content)

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
