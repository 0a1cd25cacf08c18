"""Imports: files from a folder tree, a DICOMDIR or one by one, into the facility's spool like what comes by network.

Takes paths; promises that each data set's bytes are spooled as they are, behind a file meta of ours. Refuses nothing:
what is no DICOM is skipped with a reason. A DICOMDIR's references that lead outside its folder are skipped. Interrupted
and run again, what was taken before is a duplicate and changes nothing.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from noctis.config import Settings
from noctis.errors import UsageError
from noctis.repository import spool
from noctis.repository.filemeta import Origin
from noctis.repository.header import Header, HeaderError, read_header
from noctis.repository.spool import Spool

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from noctis.supervisor.control import Control

CALLING = "IMPORT"  # the calling AE title that the index shows
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory
_CHUNK = 1 << 20
_WAIT_SECONDS = 0.1

Progress = Callable[[int, int], None]  # done, total


@dataclass
class ImportResult:
    """What an import did."""

    spooled: int = 0
    bytes: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path, why

    def as_json(self) -> dict[str, Any]:
        skipped = [{"path": path, "reason": reason} for path, reason in self.skipped]
        return {"spooled": self.spooled, "bytes": self.bytes, "skipped": skipped}


@dataclass(frozen=True)
class _Source:
    """Where a data set begins in a file, and what it is."""

    start: int  # bytes
    transfer_syntax: str
    sop_class: str
    sop_instance: str


class Importer:
    """One import into one facility."""

    def __init__(self, settings: Settings, slug: str, ae_title: str) -> None:
        self._settings = settings
        self._slug = slug
        self._origin = Origin(calling=CALLING, called=ae_title)
        self.result = ImportResult()

    def find(self, paths: Sequence[Path]) -> list[Path]:
        """Every file to look at, sorted.

        Raises
        ------
        UsageError
            A path does not exist or cannot be read.
        """
        found: dict[Path, None] = {}
        for path in paths:
            path = path.expanduser().absolute()
            if path.is_dir():
                found |= dict.fromkeys(sorted(self._walk(path)))
            elif path.is_file():
                listed = self._referenced(path) if path.name.upper().startswith("DICOMDIR") else None
                found |= dict.fromkeys(listed if listed is not None else [path])
            else:
                raise UsageError(f"there is no file or folder {path}")
        return list(found)

    def _walk(self, folder: Path) -> Iterator[Path]:
        def unreadable(error: OSError) -> None:
            self.result.skipped.append((str(error.filename), error.strerror or "cannot be read"))

        for root, _, names in os.walk(folder, onerror=unreadable):
            for name in names:
                path = Path(root, name)
                if path.is_file() and not path.is_symlink():
                    yield path

    def _referenced(self, directory: Path) -> list[Path] | None:
        """The files that a DICOMDIR names; None: it is not one."""
        folder = directory.parent.resolve()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(directory)
            except (InvalidDicomError, OSError, ValueError, EOFError):
                return None
        if dataset.file_meta.get("MediaStorageSOPClassUID") != DIRECTORY_CLASS:
            return None
        found = []
        for record in dataset.get("DirectoryRecordSequence") or ():
            parts = record.get("ReferencedFileID")
            if not parts:
                continue
            words = [parts] if isinstance(parts, str) else [str(part) for part in parts]
            path = folder.joinpath(*words)
            if not path.resolve().is_relative_to(folder) or any(Path(word).is_absolute() for word in words):
                self.result.skipped.append((str(path), "the DICOMDIR leads outside its folder"))
            elif not path.is_file():
                self.result.skipped.append((str(path), "named by the DICOMDIR, but not there"))
            else:
                found.append(path)
        return found

    def spool(self, files: Sequence[Path], progress: Progress) -> None:
        """Take every file into the spool.

        Raises
        ------
        SpoolFullError
            Free space is below the reserve; what was taken stays taken.
        """
        storage = self._settings.storage
        target = Spool(
            self._settings.paths.spool,
            self._slug,
            strict=storage.durability == "strict",
            reserve_bytes=storage.reserve_bytes,
        )
        try:
            for number, path in enumerate(files):
                progress(number, len(files))
                self._take(target, path)
            progress(len(files), len(files))
        finally:
            target.close()

    def _take(self, target: Spool, path: Path) -> None:
        try:
            source = _examine(path)
            header = _header(path, source)
        except (_SkippedError, HeaderError, OSError) as error:
            self.result.skipped.append((str(path), getattr(error, "strerror", None) or str(error)))
            return
        if header.missing_uids:
            self.result.skipped.append((str(path), f"no {header.missing_uids}"))
            return
        file = target.receive(
            (source.sop_class or header.sop_class_uid).encode("latin-1", "replace"),
            (source.sop_instance or header.sop_instance_uid).encode("latin-1", "replace"),
            source.transfer_syntax,
            self._origin,
        )
        try:
            with path.open("rb") as opened:
                opened.seek(source.start)
                while piece := opened.read(_CHUNK):
                    file.write(piece)
        except OSError as error:
            file.discard()
            self.result.skipped.append((str(path), error.strerror or "cannot be read"))
            return
        self.result.bytes += file.size
        file.commit()
        self.result.spooled += 1

    def file(self, engine: "Engine", control: "Control", progress: Progress) -> None:
        """Have what was spooled filed: by the running archiver, or by ourselves where none runs."""
        if not control.is_running():
            from noctis.archiver.filing import file_spool_once

            total = self.result.spooled
            file_spool_once(self._settings, engine=engine, progress=lambda done: progress(min(done, total), total))
            return
        total = max(1, self._waiting())
        while waiting := self._waiting():
            progress(max(0, total - waiting), total)
            time.sleep(_WAIT_SECONDS)
            if not control.is_running():
                self.file(engine, control, progress)
                return

    def _waiting(self) -> int:
        return sum(entry.slug == self._slug for entry in spool.entries(self._settings.paths.spool))


class _SkippedError(Exception):
    """The file is not imported; the message says why."""


def _examine(path: Path) -> _Source:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file:
            head = file.read(132)
            if len(head) < 8:
                raise _SkippedError("no DICOM: too short")
            if head[128:132] != b"DICM":
                return _without_meta(head)
            try:
                meta = pydicom.filereader.read_file_meta_info(path)
            except Exception as error:
                raise _SkippedError(f"its file meta cannot be read: {type(error).__name__}") from error
            start = _after_meta(path)
    if meta.get("MediaStorageSOPClassUID") == DIRECTORY_CLASS:
        raise _SkippedError("a DICOMDIR")
    return _Source(
        start=start,
        transfer_syntax=str(meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian),
        sop_class=str(meta.get("MediaStorageSOPClassUID") or ""),
        sop_instance=str(meta.get("MediaStorageSOPInstanceUID") or ""),
    )


def _after_meta(path: Path) -> int:
    """Where the data set begins: behind the last element of group 2, whatever its group length claims."""
    with path.open("rb") as file:
        file.seek(132)
        while True:
            at = file.tell()
            head = file.read(8)
            if len(head) < 8 or head[:2] != b"\2\0":
                return at
            length = int.from_bytes(head[6:8], "little")
            if head[4:6] in (b"OB", b"OW", b"UN", b"UT", b"UR", b"UC", b"SQ", b"OF", b"OD", b"OL"):
                length = int.from_bytes(file.read(4), "little")
            file.seek(length, os.SEEK_CUR)


def _without_meta(head: bytes) -> _Source:
    """A bare data set: it begins with group 0008 and a VR, or a length that fits."""
    if head[:2] not in (b"\x08\0", b"\2\0"):
        raise _SkippedError("no DICOM")
    if head[:2] == b"\2\0":
        raise _SkippedError("a file meta without its preamble")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return _Source(0, str(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian), "", "")


def _header(path: Path, source: _Source) -> Header:
    with path.open("rb") as file:
        return read_header(file.fileno(), source.start, source.transfer_syntax)
