"""What is acknowledged and not filed, and what is in quarantine, into a generation.

Why nothing acknowledged is missed (`make` calls these in this order): an instance only ever moves from a listener's
`tmp` to `new`, from there into archive and index, or into quarantine, and has its next place before it leaves the
last. So each is looked at in that order, the index after the quarantine, and the quarantine once more after the
index, since a replacement moves the older instance from the archive to quarantine: what has left a place before it was
looked at is found in a later one. What is found twice is a duplicate, which filing knows.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from noctis.backup import files, generations
from noctis.repository import slots
from noctis.repository.spool import is_whole
from noctis.repository.spool_entries import SUFFIX, arrived_ns, entry_name

Problem = Callable[[str, str, str], None]  # kind, path below the generation, what is wrong


def copy_spool(spool: Path, partial: Path, ledger: files.Ledger, problem: Problem) -> int:
    """Every committed instance that waits, each as a file of its own; how many."""
    count = 0
    for folder in sorted(spool.glob("*/")):
        target = partial / generations.SPOOL / folder.name / "new"
        for own in _children(folder / "tmp"):
            for path in _children(own):
                if path.endswith(SUFFIX):
                    count += _from_tmp(Path(path), target, ledger, problem)
        for path in _children(folder / "new"):
            if path.endswith(SUFFIX):
                name = os.path.basename(path)
                count += _keep(Path(path), "", target / name, ledger, problem)
    return count


def _children(folder: Path | str) -> Iterator[str]:
    """The paths in a folder; none where there is no such folder (any more)."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for each in found:
            yield each.path


def _from_tmp(path: Path, target: Path, ledger: files.Ledger, problem: Problem) -> int:
    """A slot, or what a process that was killed had committed. One with a second name is found under that one."""
    meta = slots.look(path)
    if meta is None or meta.record is None:
        return 0
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    if not meta.record.stamp and status.st_nlink > 1:
        return 0
    arrived = arrived_ns(meta.record.stamp) or status.st_mtime_ns
    return _keep(path, meta.record.stamp, target / entry_name(arrived), ledger, problem)


def _keep(path: Path, stamp: str, target: Path, ledger: files.Ledger, problem: Problem) -> int:
    try:
        copied = _copy_slot(path, stamp, target) if stamp else _copy_file(path, target)
    except (FileNotFoundError, slots.SlotGoneError):
        return 0  # it was filed meanwhile: the index tells of it
    if not is_whole(target):
        if stamp and _stamp(path) != stamp:  # written over while it was read
            target.unlink()
            return 0
        problem("spool", f"{generations.SPOOL}/{path.parent.parent.name}/{path.name}", "damaged; kept as it is")
    ledger.add(target, copied)
    return 1


def _stamp(path: Path) -> str:
    meta = slots.look(path)
    return meta.record.stamp if meta and meta.record else ""


def _copy_slot(path: Path, stamp: str, target: Path) -> files.Copied:
    meta = slots.look(path)
    if meta is None or meta.record is None or meta.record.stamp != stamp:
        raise slots.SlotGoneError("cleared meanwhile")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        slots.copy(path, stamp, meta, descriptor)
        return files.digest(descriptor)
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(descriptor)


def _copy_file(path: Path, target: Path) -> files.Copied:
    meta = slots.look(path)
    length = meta.dataset_start + meta.record.length if meta and meta.record else None
    with open(path, "rb", buffering=0) as file:
        return files.copy(file.fileno(), target, length=length)


def copy_quarantine(quarantine: Path, partial: Path, previous: Path | None, ledger: files.Ledger) -> int:
    """Every instance in quarantine that `partial` does not have yet, and its note; how many."""
    count = 0
    for folder in _children(quarantine):
        for name in _children(folder):
            path = Path(name)
            below = Path(generations.QUARANTINE, path.parent.name, path.name)
            if path.suffix != SUFFIX or os.path.lexists(partial / below):
                continue
            with contextlib.suppress(FileNotFoundError):  # released or thrown away meanwhile
                files.copy_or_link(path, partial / below, previous and previous / below, ledger)
                count += 1
                note = path.with_suffix(".json")
                files.copy_or_link(note, (partial / below).with_suffix(".json"), None, ledger)
    return count
