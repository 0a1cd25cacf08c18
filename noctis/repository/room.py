"""Room in the archive: the free space of the file system that a facility's folder lies on, against the reserve.

The archive stops at half of `storage.reserve_bytes`. Receiving stops at the whole: where spool and archive share a file
system, what was acknowledged by then can still be filed. A facility's folder may lie on a disk of its own, so every
facility is looked at by itself.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from noctis.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
CHECK_BYTES = 16 << 20  # free space is looked at again when so many bytes were copied


class ArchiveFullError(StorageError):
    """The archive can take no more of one facility's for the time being; what was begun is gone."""

    def __init__(self, slug: str, message: str, fix: str) -> None:
        super().__init__(message, fix=fix)
        self.slug = slug


def free_bytes(where: Path | int) -> int:
    """Bytes that are free, for us, on the file system of a path or of an open file."""
    return _free(os.statvfs(where))


def _free(found: os.statvfs_result) -> int:
    return found.f_bavail * found.f_frsize


class Space(NamedTuple):
    """One file system."""

    device: int  # st_dev
    folder: Path
    free: int  # bytes, for us
    total: int


class Room:
    """The archive's file systems. Safe for several threads.

    Parameters
    ----------
    reserve_bytes
        `storage.reserve_bytes`; 0: only what the file system refuses is refused.
    """

    def __init__(self, root: Path, reserve_bytes: int = 0) -> None:
        self.root = root
        self.least = reserve_bytes // 2  # bytes that stay free

    def space(self, slug: str = "") -> Space:
        """Where a facility's files go; without a slug, or before it has a folder, the archive's own file system."""
        folder, device = self._folder(slug)
        found = os.statvfs(folder)
        return Space(device, folder, _free(found), found.f_blocks * found.f_frsize)

    def device(self, slug: str = "") -> int:
        """The same file system's st_dev."""
        return self._folder(slug)[1]

    def _folder(self, slug: str) -> tuple[Path, int]:
        folder = self.root / slug
        try:
            return folder, os.stat(folder).st_dev
        except FileNotFoundError:
            return self.root, os.stat(self.root).st_dev

    def check(self, slug: str) -> None:
        """Raise `ArchiveFullError` when less than half of the reserve is free; a missing archive is not told here."""
        if not self.least:
            return
        try:
            space = self.space(slug)
        except OSError:
            return
        if space.free < self.least:
            raise ArchiveFullError(
                slug,
                f"{space.free >> 20} MiB are free for the archive of {slug}; below {self.least >> 20} MiB, half of the "
                "reserve, nothing is filed: it waits in the spool",
                _fix(space.folder),
            )

    def full(self, slug: str) -> ArchiveFullError:
        """What the file system's own refusal comes to."""
        return ArchiveFullError(
            slug, f"the disk of the archive of {slug} is full: what comes waits in the spool", _fix(self.root / slug)
        )


class Meter:
    """Looks at a facility's room again after every `CHECK_BYTES` that were copied."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check
        self._copied: dict[str, int] = {}

    def copied(self, slug: str, size: int) -> None:
        """Raise `ArchiveFullError` as `Room.check`."""
        done = self._copied.get(slug, 0) + size
        if done >= CHECK_BYTES:
            self._check(slug)
            done = 0
        self._copied[slug] = done


def _fix(folder: Path) -> str:
    return f"make room on the file system of {folder}; filing goes on by itself (or lower storage.reserve_bytes)"
