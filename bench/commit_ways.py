"""Ways of committing that end with a file of the instance's own in `new`, which the archive takes by a hard link."""

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import commit_record
from bench.commit_record import HEAD, RECORD_AT, Buffer, Head, Hint, Instance, put

AHEAD_MAX = 32  # files that are created at once; begins with one and doubles


class Together:
    """One sync for all that wait. The first that comes does it; who comes while it runs is served by the next one."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._state = threading.Condition()
        self._running = False
        self._failed: OSError | None = None  # for good: after a failed sync the kernel calls pages clean that are not
        self.asked = self.served = 0

    def sync(self) -> None:
        """Return when a sync that began after this call has ended.

        Raises
        ------
        OSError
            It failed, now or before.
        """
        with self._state:
            self.asked += 1
            mine = self.asked
            while self.served < mine:
                if self._failed:
                    raise self._failed
                if self._running:
                    self._state.wait()
                else:
                    self._lead()

    def _lead(self) -> None:
        covered = self.asked
        self._running = True
        self._state.release()
        failed = None
        try:
            self._sync()
        except OSError as error:
            failed = error
        self._state.acquire()
        self._running, self._failed = False, failed
        if not failed:
            self.served = covered
        self._state.notify_all()


class _Files:
    """What these ways share: `tmp`, `new`, and a sequence."""

    def __init__(self, root: Path) -> None:
        self._tmp, self._new = root / "tmp", root / "new"
        for folder in (self._tmp, self._new):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        self._new_descriptor = os.open(self._new, os.O_RDONLY | os.O_DIRECTORY)
        self._numbers = itertools.count(1)

    def _create(self) -> tuple[int, Path, int]:
        number = next(self._numbers)
        path = self._tmp / f"{number:x}"
        return number, path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _hint(self, name: str, path: Path, head: Head) -> Hint:
        return Hint(name, str(path), HEAD + head.length)

    def _sync_new(self) -> None:
        os.fsync(self._new_descriptor)

    def forget(self, hint: Hint) -> None:
        pass

    def close(self) -> None:
        os.close(self._new_descriptor)


def write(descriptor: int, head: Head, pieces: Iterable[Buffer]) -> None:
    """Head, without its record, and data, as they come."""
    at = put(descriptor, head.encoded, 0)
    for piece in pieces:
        at = put(descriptor, piece, at)
        head.update(piece)


class TwoSyncs(_Files):
    """Write in `tmp`, sync the file, rename it into `new`, sync the folder. What is in `new` is whole."""

    def receive(self, name: str, pieces: Iterable[Buffer]) -> Hint:
        head = Head(name)
        number, path, descriptor = self._create()
        write(descriptor, head, pieces)
        put(descriptor, head.record(number), RECORD_AT)
        os.fdatasync(descriptor)
        os.close(descriptor)
        target = self._new / path.name
        os.rename(path, target)
        self._sync_new()
        return self._hint(name, target, head)

    @staticmethod
    def recover(root: Path) -> list[Instance]:
        return [commit_record.read_unchecked(path.read_bytes()) for path in sorted((root / "new").iterdir())]


class GroupCommit(TwoSyncs):
    """As two syncs, but the folder's is done once for all associations that wait for it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.together = Together(super()._sync_new)

    def _sync_new(self) -> None:
        self.together.sync()


class RenameThenSync(_Files):
    """Rename first, then sync the file, and nothing else. Torn files are known by their record.

    POSIX does not promise that this makes the name durable; Linux's ext4 does, for a file that was just created.
    """

    def receive(self, name: str, pieces: Iterable[Buffer]) -> Hint:
        head = Head(name)
        number, path, descriptor = self._create()
        write(descriptor, head, pieces)
        put(descriptor, head.record(number), RECORD_AT)
        target = self._new / path.name
        os.rename(path, target)
        self._settle(descriptor)
        os.close(descriptor)
        return self._hint(name, target, head)

    def _settle(self, descriptor: int) -> None:
        os.fsync(descriptor)

    @staticmethod
    def recover(root: Path) -> list[Instance]:
        return _whole_in(root, "new", "tmp")


class GroupSyncfs(RenameThenSync):
    """Rename first, then one syncfs for all that wait. What else is dirty on that file system is waited for too."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.together = Together(lambda: commit_record.syncfs(self._new_descriptor))

    def _settle(self, descriptor: int) -> None:
        self.together.sync()


class FilesAhead(_Files):
    """What the spool does: files created ahead, their folder synced; record, fdatasync; a rename without a sync."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._lock = threading.Lock()
        self._ready: list[Path] = []
        self._next_batch = 1
        self._tmp_descriptor = os.open(self._tmp, os.O_RDONLY | os.O_DIRECTORY)

    def _take(self) -> Path:
        with self._lock:
            if not self._ready:
                self._create_batch()
            return self._ready.pop()

    def _create_batch(self) -> None:
        created = [self._create() for _ in range(self._next_batch)]
        for _, _, descriptor in created:
            os.close(descriptor)
        self._sync_tmp()
        self._ready = [path for _, path, _ in created]
        self._next_batch = min(2 * self._next_batch, AHEAD_MAX)

    def _sync_tmp(self) -> None:
        os.fsync(self._tmp_descriptor)

    def receive(self, name: str, pieces: Iterable[Buffer]) -> Hint:
        head = Head(name)
        path = self._take()
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        write(descriptor, head, pieces)
        put(descriptor, head.record(int(path.name, 16)), RECORD_AT)
        os.fdatasync(descriptor)
        os.close(descriptor)
        target = self._new / path.name
        self._publish(path, target)
        return self._hint(name, target, head)

    def _publish(self, path: Path, target: Path) -> None:
        os.rename(path, target)

    @staticmethod
    def recover(root: Path) -> list[Instance]:
        return _whole_in(root, "new", "tmp")

    def close(self) -> None:
        super().close()
        os.close(self._tmp_descriptor)


class LinkedAhead(FilesAhead):
    """As `FilesAhead`, for disks on which a rename may be found half done (ext4 without a journal).

    There, the old name may be gone and the new one not yet on the disk. So the file gets its second name by a hard
    link, and the first names go together when the next files are created, after one sync of `new`.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._linked: list[Path] = []

    def _publish(self, path: Path, target: Path) -> None:
        os.link(path, target)
        with self._lock:  # or it could come among those whose new names were synced just before it
            self._linked.append(path)

    def _create_batch(self) -> None:
        linked, self._linked = self._linked, []
        if linked:
            self._sync_new()
        for path in linked:
            os.unlink(path)
        super()._create_batch()


class WrittenAhead(FilesAhead):
    """Files ahead whose blocks are written already, with zeros, to about the size that comes.

    So the sync has no blocks to allocate and no size to keep. A file is used once. It is cut to its length when it is
    filed, and that is synced before the spool forgets it; until then the record says where it ends.
    """

    def __init__(self, root: Path, *, size: int) -> None:
        super().__init__(root)
        self._size = size  # bytes of a file's data that are written ahead

    def prepare(self, count: int) -> None:
        """Make so many ready, under one sync of the folder. An idle process would do this."""
        created = [self._create() for _ in range(count)]
        for _, _, descriptor in created:
            put(descriptor, bytes(-(-(HEAD + self._size) // 4096) * 4096), 0)
        for _, _, descriptor in created:
            os.fsync(descriptor)
            os.close(descriptor)
        self._sync_tmp()
        with self._lock:
            self._ready += [path for _, path, _ in created]


def _whole_in(root: Path, *folders: str) -> list[Instance]:
    paths = [path for folder in folders for path in sorted((root / folder).iterdir())]
    return [found for path in paths if (found := commit_record.read(path.read_bytes()))]


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
