"""Copying with digests: what is copied is read once, and its digest told. Names appear only when the file is whole.

Nothing is synced here: a generation is made durable as a whole, once, before its manifest. What is copied is dropped
from the page cache, which belongs to those who receive.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.spool_entries import NO_LINK

_PIECE = 1 << 20  # bytes
_SMALL = 64 << 10  # bytes: not worth a call


@dataclass(frozen=True)
class Copied:
    """What was read."""

    bytes: int
    sha256: str = ""  # of the whole file; "": it was not asked for
    dataset_sha256: str = ""  # of the data set; "": it was not asked for, or it is no file of ours


def copy(
    source: int, target: Path, *, length: int | None = None, whole: bool = True, dataset_start: int | None = None
) -> Copied:
    """Copy an open file, or its first `length` bytes, to `target`, which must not exist; its time goes with it.

    Parameters
    ----------
    whole
        Whether the digest of all of it is wanted.
    dataset_start
        Where the data set begins whose digest is wanted.
    """
    temporary = f"{target}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(temporary, flags, 0o600)
    try:
        copied = _pour(source, descriptor, length, whole, dataset_start)
        status = os.fstat(source)
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    return copied


def digest(source: int, *, whole: bool = True, dataset_start: int | None = None) -> Copied:
    """Only read it."""
    return _pour(source, None, None, whole, dataset_start)


def _pour(source: int, target: int | None, length: int | None, whole: bool, dataset_start: int | None) -> Copied:
    everything, dataset = hashlib.sha256(), hashlib.sha256()
    at = 0
    while length is None or at < length:
        piece = os.pread(source, _PIECE if length is None else min(_PIECE, length - at), at)
        if not piece:
            break
        if whole:
            everything.update(piece)
        if dataset_start is not None and at + len(piece) > dataset_start:
            dataset.update(piece[max(0, dataset_start - at) :])
        written = 0
        while target is not None and written < len(piece):
            written += os.write(target, piece[written:])
        at += len(piece)
    for descriptor in (source, target):
        if descriptor is not None and at > _SMALL:
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return Copied(at, everything.hexdigest() if whole else "", dataset.hexdigest() if dataset_start is not None else "")


def copy_instance(source: Path, target: Path) -> Copied:
    """Copy a file of the archive; one that cannot be understood has no digest of its data set.

    Raises
    ------
    OSError
        It cannot be read, or `target` not be written.
    """
    with open(source, "rb", buffering=0) as file:
        return copy(file.fileno(), target, whole=False, dataset_start=_dataset_start(file.fileno()))


def digest_instance(path: Path) -> Copied:
    """The same of one that is only read. Raises `OSError`."""
    with open(path, "rb", buffering=0) as file:
        return digest(file.fileno(), whole=False, dataset_start=_dataset_start(file.fileno()))


def _dataset_start(descriptor: int) -> int | None:
    """Where the data set of an open file of ours begins; None: it is none of ours."""
    try:
        return filemeta.read(descriptor).dataset_start
    except StorageError:
        return None


def link(source: Path, target: Path, size: int) -> bool:
    """Give a file a second name, if it is there, has this size, and can have one; whether it has."""
    try:
        if os.stat(source, follow_symlinks=False).st_size != size:
            return False
        try:
            os.link(source, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.link(source, target)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        return False
    return True


def copy_or_link(path: Path, target: Path, earlier: Path | None, ledger: "Ledger") -> None:
    """Share the earlier copy, where it has the same size and time; else copy. Raises `OSError`."""
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        same = False
        if earlier is not None:
            with contextlib.suppress(FileNotFoundError):
                before = earlier.stat()
                same = (before.st_size, before.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        if earlier is not None and same and link(earlier, target, status.st_size):
            copied = digest(file.fileno())  # of the original, so that a damaged earlier copy is found
        else:
            copied = copy(file.fileno(), target)
    ledger.add(target, copied)


class Ledger:
    """`files.jsonl`: a line for each file that the index does not know of."""

    def __init__(self, path: Path, root: Path) -> None:
        self._file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self._root = root

    def add(self, path: Path, copied: Copied) -> None:
        line = {"path": str(path.relative_to(self._root)), "bytes": copied.bytes, "sha256": copied.sha256}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()


def ledger_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Its lines, each with a path that stays below the generation.

    Raises
    ------
    StorageError
        It is damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                parts = Path(line["path"]).parts
                if not parts or parts[0] == "/" or ".." in parts:
                    raise ValueError(parts)
                yield line
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged") from error


def sha256_of(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
        return digest(file.fileno()).sha256
