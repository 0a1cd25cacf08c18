"""A backup folder: one folder for each generation, and what makes it complete.

`<folder>/2026-11-25T02-00-00Z/` is the home at that time (UTC): `noctis.db`, `noctis.yaml`, `settings.json`, `tls/`,
`spool/`, `quarantine/`, `archive/`, `receipts/`; `damaged/` has files whose content is not what the index says.
`files.jsonl` has size and digest of every file that the index does not know of; `manifest.json` is written last of all.
Instances that did not change since the generation before are hard links to it, so any generation can be removed by
itself.

While it is made it is called `.partial`, and gets its name in one step when its manifest is on disk: what has a name
of a generation and a manifest is complete. A `.partial` of an interrupted run is taken up by the next one. One process
at a time changes a backup folder; it holds the lock.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from noctis import locks
from noctis.errors import StorageError, UsageError
from noctis.home import whoami
from noctis.repository.archive import sync_file_system
from noctis.repository.spool_entries import sync_folder

FORMAT = 1
MANIFEST, LEDGER, SETTINGS = "manifest.json", "files.jsonl", "settings.json"
DATABASE, CONFIG, TLS = "noctis.db", "noctis.yaml", "tls"
ARCHIVE, DAMAGED, SPOOL, QUARANTINE = "archive", "damaged", "spool", "quarantine"
RECEIPTS = "receipts"
PARTIAL, REMOVING = ".partial", ".removing"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\Z")
_FORMAT_OF_NAMES = "%Y-%m-%dT%H-%M-%SZ"


def generations(folder: Path) -> list[Path]:
    """The complete ones, oldest first."""
    return sorted(path for path in folder.iterdir() if _NAME.match(path.name) and (path / MANIFEST).is_file())


def find(folder: Path, name: str | None) -> Path:
    """The complete generation of this name; None: the latest.

    Raises
    ------
    UsageError
        There is none, or it was interrupted.
    """
    try:
        complete = generations(folder)
    except OSError as error:
        raise UsageError(f"the backup folder {folder} cannot be read: {error.strerror}") from error
    found = [path for path in complete if name in (None, path.name)]
    if found:
        return found[-1]
    listed = ", ".join(path.name for path in complete[-10:]) or "none"
    if name and (folder / f"{name.removesuffix(PARTIAL)}{PARTIAL}").is_dir():
        raise UsageError(f"the backup {name} is not complete: it was interrupted", fix=f"complete are: {listed}")
    raise UsageError(
        f"there is no complete backup{f' {name}' if name else ''} in {folder}", fix=f"complete are: {listed}"
    )


def read_manifest(generation: Path) -> dict[str, Any]:
    """What it says.

    Raises
    ------
    StorageError
        It cannot be read, or is of a newer release's format.
    """
    try:
        document = json.loads((generation / MANIFEST).read_text(encoding="utf-8"))
        made = int(document["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{generation / MANIFEST} is damaged", fix="restore another one with --generation"
        ) from error
    if made > FORMAT:
        raise StorageError(
            f"{generation} was made by a newer Noctis ({document.get('noctis')})", fix="install that release"
        )
    return dict(document)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who changes this backup folder.

    Raises
    ------
    StorageError
        Another process does, or the folder cannot be written.
    """
    try:
        descriptor = locks.hold(folder / ".lock")
    except locks.HeldError as held:
        raise StorageError(f"another backup into {folder} runs (pid {held.pid})", fix="wait for it to end") from None
    except OSError as error:
        raise StorageError(
            f"the backup folder {folder} cannot be written: {error.strerror}", fix=f"give it to {whoami()}"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def begin(folder: Path, now: datetime) -> tuple[Path, list[Path]]:
    """A new, empty `.partial`, and those that interrupted runs have left."""
    left = sorted(path for path in folder.iterdir() if path.name.endswith(PARTIAL))
    for path in folder.glob(f"*{REMOVING}"):
        shutil.rmtree(path, ignore_errors=True)
    while True:
        name = now.astimezone(UTC).strftime(_FORMAT_OF_NAMES)
        partial = folder / f"{name}{PARTIAL}"
        if not (folder / name).exists() and not partial.exists():
            break
        now += timedelta(seconds=1)
    partial.mkdir(mode=0o700)
    return partial, left


def finish(partial: Path, manifest: dict[str, Any]) -> Path:
    """Make everything durable, then the manifest, then the name; the generation."""
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file_system(descriptor)
        with open(partial / MANIFEST, "x", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **manifest}, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    generation = partial.with_name(partial.name.removesuffix(PARTIAL))
    partial.rename(generation)
    sync_folder(generation.parent)
    return generation


def prune(folder: Path, keep: int) -> list[str]:
    """Remove all complete generations but the latest `keep`; the names of those that went."""
    gone = generations(folder)[:-keep] if keep > 0 else []
    for path in gone:
        remove(path)
    return [path.name for path in gone]


def remove(path: Path) -> None:
    """A generation or a `.partial`; while it goes, it has a name that nobody takes for a complete one."""
    doomed = path.with_name(path.name + REMOVING)
    path.rename(doomed)
    shutil.rmtree(doomed)


def require_usable(folder: Path, forbidden: dict[str, Path]) -> None:
    """Refuse a folder that cannot hold backups.

    Parameters
    ----------
    forbidden
        Folders in which it must not lie, by what they are.

    Raises
    ------
    UsageError, StorageError
        With what to do about it.
    """
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}",
            fix=f"mount the disk, or make it: install -d -m 700 -o {whoami()} {folder}",
        )
    for what, place in forbidden.items():
        if folder.resolve().is_relative_to(place.resolve()):
            raise UsageError(f"{folder} lies in the {what}, {place}", fix="name a folder elsewhere, on another disk")
    probe = folder / f".probe-{os.getpid()}"
    second = probe.with_suffix(".link")
    try:
        probe.touch(mode=0o600)
        try:
            os.link(probe, second)
        except OSError as error:
            raise StorageError(
                f"the file system of {folder} has no hard links, which generations share their files by",
                fix="use one that has them: ext4, xfs, btrfs, zfs, nfs",
            ) from error
    except OSError as error:
        raise StorageError(
            f"the backup folder {folder} cannot be written: {error.strerror}", fix=f"give it to {whoami()}"
        ) from error
    finally:
        for path in (probe, second):
            with contextlib.suppress(OSError):
                path.unlink()
