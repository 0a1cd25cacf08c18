"""A file of the archive, opened for those who look at it or take it away.

Takes a facility's slug and the path in an instance's row. Promises that what it opens is a regular file inside that
facility's folder: a doctored row leads nowhere else, nor does a link. (The facility's folder itself may be one: an
operator who gives a facility a disk of its own makes it.)
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from noctis.errors import NotFoundError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileGoneError(NotFoundError):
    """The instance is in the index and its file is not where the row says."""

    def __init__(self) -> None:
        super().__init__("the file of this instance is not in the archive", fix="noctis archive verify")


def open_archived(root: Path, slug: str, relative: str) -> int:
    """A descriptor of the file at `relative` below the archive's folder `root`.

    Raises
    ------
    FileGoneError
        There is none, or it is not one of this facility's.
    """
    first, *between, name = relative.split("/") if "/" in relative else ("", "")
    if first != slug or any(part in ("", ".", "..") or "\0" in part for part in (first, *between, name)):
        raise FileGoneError
    folder = descriptor = -1
    try:
        folder = os.open(root / first, _FOLDER)
        for part in between:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, _FILE, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileGoneError
    except (OSError, ValueError, FileGoneError):
        if descriptor >= 0:
            os.close(descriptor)
        raise FileGoneError from None
    finally:
        if folder >= 0:
            with suppress(OSError):
                os.close(folder)
    return descriptor
