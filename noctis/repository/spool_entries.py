"""What waits in the spool: the names of committed instances, and how they are found.

An entry is a file in `spool/<slug>/new`, or a slot: a file in the folder of a living listener below `tmp`, which is
used again for another instance once the archiver has filed this one (`repository.slots`).
"""

import contextlib
import errno
import itertools
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from noctis.facilities.naming import is_slug

SUFFIX = ".dcm"
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP)  # link cannot be
numbers = itertools.count()  # what makes this process's names unique
_SLOT_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{1,16})\Z")


@dataclass(frozen=True)
class SpoolEntry:
    """One committed instance that waits to be filed."""

    slug: str
    path: Path
    slot: str = ""  # in a slot: the stamp of the instance that is meant, as the next one has the same path

    @property
    def name(self) -> str:
        """Sorts by the time of arrival; unique in its facility."""
        if not self.slot:
            return self.path.name
        _, folder, file = str(self.path).rsplit("/", 2)
        return f"{self.slot}-{folder}-{file.removesuffix(SUFFIX)}"


def entry_name(nanoseconds: int) -> str:
    """A new name in `new`. Names sort by the time of arrival and never repeat."""
    return f"{nanoseconds:016x}-{os.getpid():x}-{next(numbers):x}{SUFFIX}"


def entry_named(root: Path, slug: str, name: str) -> SpoolEntry | None:
    """The entry that a name from elsewhere tells of; None if it is no such name. It is never trusted as a path."""
    slot = _SLOT_NAME.match(name)
    if slot is not None:
        folder = _folder_named(root, slug, slot[2])
        return None if folder is None else SpoolEntry(slug, folder / f"{slot[3]}{SUFFIX}", slot[1])
    if "/" in name or not name.endswith(SUFFIX):
        return None
    folder = _folder_named(root, slug)
    return None if folder is None else SpoolEntry(slug, folder / name)


@lru_cache(maxsize=1024)
def _folder_named(root: Path, slug: str, token: str = "") -> Path | None:
    """Of a listener with slots, or `new`; None if it is no slug."""
    if not is_slug(slug):
        return None
    return root / slug / "tmp" / token if token else root / slug / "new"


def arrived_ns(name: str) -> int:
    """When the entry of this name came, in ns since the epoch; 0 if the name does not say."""
    try:
        return int(name.split("-", 1)[0], 16)
    except ValueError:
        return 0


def names_in_new(root: Path, slug: str) -> list[str]:
    """The names in one facility's `new`, oldest first."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(name for name in os.listdir(root / slug / "new") if name.endswith(SUFFIX))
    return []


def link_or_rename(path: Path | str, target: Path | str) -> bool:
    """Give a file a second name, or another one where the file system has no links; whether it has both now."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        os.rename(path, target)
        return False
    return True


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
