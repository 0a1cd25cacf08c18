"""What a file of ours holds: the digest and syntax of its data set, and whether two files hold the same."""

import contextlib
import hashlib
import os
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository import filemeta


def same_file(first: Path, second: str) -> bool:
    """Whether these are two names of one file."""
    one, other = os.stat(first), os.lstat(second)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def linked_in(folder: Path, path: Path) -> bool:
    """Whether `path` has another name in `folder`. (A second name may also be a backup's.)"""
    status = os.lstat(path)
    if status.st_nlink == 1:
        return False
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as names:
        for each in names:
            with contextlib.suppress(FileNotFoundError):  # the number alone costs no look at the file itself
                if each.inode() == status.st_ino and each.stat(follow_symlinks=False).st_dev == status.st_dev:
                    return True
    return False


def same_content(first: Path, second: Path) -> bool:
    """Whether both are there and are one file, or hold the same data set in the same transfer syntax."""
    try:
        return same_file(first, str(second)) or content(first) == content(second)
    except (OSError, StorageError):
        return False


def content(path: Path) -> tuple[str, str]:
    """SHA-256 (hex) of the data set in a file of ours, and its transfer syntax.

    Raises
    ------
    StorageError
        It is not a file that Noctis wrote.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        meta = filemeta.read(file.fileno())
        file.seek(meta.dataset_start)
        return hashlib.file_digest(file, "sha256").hexdigest(), meta.transfer_syntax_uid


def identity(path: Path) -> tuple[str, str]:
    """`content` of a file of ours; of any other the digest of the whole file, and no syntax."""
    try:
        return content(path)
    except StorageError:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
