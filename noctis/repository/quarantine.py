"""The quarantine: instances that could not be filed, kept whole, each with its reason.

`quarantine/<slug>/<name>.dcm` with `<name>.json` beside it; the .json is the truth and the table `quarantined` its
index. The reason is written before the file moves, so a file here is never without one; a reason without a file is the
trace of an interruption and is removed by the next look. Nothing is thrown away: beyond a facility's cap `keep`
refuses, and the caller answers the sender accordingly.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from noctis.errors import StorageError
from noctis.repository.spool_entries import NO_LINK, sync_folder


class Reason(StrEnum):
    """Why an instance is here."""

    CONFLICT = "conflict"  # the same SOP Instance UID is filed with other bytes
    UID_MISMATCH = "uid-mismatch"  # the data set's SOP class or instance UID is not the command's
    UNPARSEABLE = "unparseable"  # the data set cannot be read
    MISSING_UID = "missing-uid"  # no Study, Series or SOP Instance UID


class QuarantineFullError(StorageError):
    """The facility's cap is reached; the instance is not kept."""


@dataclass(frozen=True)
class Note:
    """What the .json says. No patient's name, ID or birth date."""

    reason: Reason
    detail: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    calling: str = ""
    called: str = ""
    address: str = ""
    received_at: str = ""  # ISO 8601, UTC
    into: str = ""  # slug: a release into this facility has been begun


@dataclass(frozen=True)
class QuarantinedFile:
    slug: str
    path: Path
    note: Note

    @property
    def name(self) -> str:
        return self.path.name


class Quarantine:
    """All facilities' quarantine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, slug: str) -> Path:
        return self._root / slug

    def names(self, slug: str) -> list[str]:
        """The files in one facility's quarantine."""
        try:
            return [name for name in os.listdir(self.folder(slug)) if name.endswith(".dcm")]
        except FileNotFoundError:
            return []

    def has(self, slug: str, name: str) -> bool:
        """Whether a file of exactly this name is there; anything that is no plain name is not."""
        if not name.endswith(".dcm") or "/" in name or "\0" in name:
            return False
        try:
            path = self.folder(slug) / name
            return path.is_file() and not path.is_symlink()
        except (OSError, ValueError):  # too long, or not to be encoded
            return False

    def count(self, slug: str) -> int:
        """Instances in one facility's quarantine."""
        return len(self.names(slug))

    def keep(self, source: Path, slug: str, note: Note, *, cap: int, name: str | None = None) -> QuarantinedFile:
        """Move `source`, whose bytes are durable, here; done again after a crash it ends the same.

        Raises
        ------
        QuarantineFullError
            The facility has `cap` instances here already; `source` stays where it is.
        StorageError
            The file system refused.
        """
        folder = self.folder(slug)
        target = folder / (name or source.name)
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(folder.parent)
            with _locked(folder):
                if not target.exists() and self.count(slug) >= cap:
                    raise QuarantineFullError(f"the quarantine of {slug} holds {cap} instances, its cap")
                if not source.exists():  # somebody else was faster: their note stays
                    raise FileNotFoundError(errno.ENOENT, f"{source.name} is gone")
                write_note(target, note)
                _move(source, target)
        except OSError as error:
            raise StorageError(f"the quarantine cannot be written: {error.strerror}") from error
        return QuarantinedFile(slug, target, note)

    def files(self) -> Iterator[QuarantinedFile]:
        """Everything in quarantine. A file whose .json is gone or broken comes with an empty note."""
        for path in sorted(self._root.glob("*/*.dcm")):
            yield QuarantinedFile(path.parent.name, path, read_note(path))

    def discard(self, slug: str, name: str) -> None:
        """Remove one instance and its note for good."""
        path = self.folder(slug) / name
        for gone in (path, path.with_suffix(".json"), path.with_suffix(".tmp")):
            with contextlib.suppress(FileNotFoundError):
                gone.unlink()


@contextlib.contextmanager
def taken(path: Path) -> Iterator[None]:
    """Hold a quarantined file, so that nobody else releases or discards it meanwhile.

    Raises
    ------
    FileNotFoundError
        It is not there (any more).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(errno.ENOENT, f"{path.name} is gone")
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time: the cap is exact, and two who keep the same file do not meet."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _move(source: Path, target: Path) -> None:
    """Move a file here, durably: at no moment is it without a durable name, even where a rename may be half done."""
    temporary = target.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        sync_folder(target.parent)
        os.rename(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copy2(source, temporary)  # from another file system, as the archive's may be
        temporary.chmod(0o600)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
        source.unlink()
    else:
        sync_folder(target.parent)
        temporary.unlink()
        source.unlink(missing_ok=True)  # a rename leaves both names where they were names of one file already


def write_note(target: Path, note: Note) -> None:
    """The note beside the quarantined file `target`, durably."""
    temporary = target.with_suffix(".json.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(note), file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target.with_suffix(".json"))


def read_note(path: Path) -> Note:
    """The note beside the quarantined file `path`."""
    try:
        document: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return Note(**{**document, "reason": Reason(document["reason"])})
    except (OSError, ValueError, KeyError, TypeError):
        return Note(Reason.UNPARSEABLE, "the note beside the file is missing")
