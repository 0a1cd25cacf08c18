"""What a file is that somebody wants to import: where its data set begins, and in which transfer syntax it is.

Takes paths; reads no more than the file's meta. Refuses what is no DICOM with `SkippedError`, whose message says why.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory
_PREAMBLE_BYTES = 132  # and the prefix DICM
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


class SkippedError(Exception):
    """The file is not imported; the message says why."""


@dataclass(frozen=True)
class Source:
    """Where a data set begins in a file, and what it is in."""

    start: int  # bytes
    transfer_syntax: str


def examine(path: Path) -> Source:
    """Look at a file's meta; a bare data set, as some devices write it, will do as well.

    Raises
    ------
    SkippedError
        It is no DICOM, or a DICOMDIR.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_PREAMBLE_BYTES)
    if len(head) < 8:
        raise SkippedError("no DICOM: too short")
    if head[128:] != b"DICM":
        return _without_meta(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            directory = meta.get("MediaStorageSOPClassUID") == DIRECTORY_CLASS
            syntax = str(meta.get("TransferSyntaxUID") or "")
        except Exception as error:
            raise SkippedError(f"its file meta cannot be read: {type(error).__name__}") from error
    if directory:
        raise SkippedError("a DICOMDIR")
    start, first = _after_meta(path)
    return Source(start, syntax or _syntax_of(first))


def _after_meta(path: Path) -> tuple[int, bytes]:
    """Where the data set begins, behind the last element of group 2 whatever its group length claims; what is there."""
    with path.open("rb") as file:
        file.seek(_PREAMBLE_BYTES)
        while True:
            at = file.tell()
            head = file.read(8)
            if len(head) < 8 or head[:2] != b"\2\0":
                return at, head
            length = int.from_bytes(head[6:8], "little")
            if head[4:6] in _LONG_VRS:
                length = int.from_bytes(file.read(4), "little")
            file.seek(length, os.SEEK_CUR)


def _without_meta(head: bytes) -> Source:
    if head[:2] == b"\2\0":
        raise SkippedError("a file meta without its preamble")
    if head[:2] != b"\x08\0":
        raise SkippedError("no DICOM")
    return Source(0, _syntax_of(head))


def _syntax_of(head: bytes) -> str:
    """A data set's first element has a VR, or a length in its place."""
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return str(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian)


def referenced_files(directory: Path) -> tuple[list[Path], list[tuple[str, str]]] | None:
    """The files that a DICOMDIR names, and those that are skipped with the reason; None: it is no readable DICOMDIR."""
    references = _references(directory)
    if references is None:
        return None
    folder = directory.parent.resolve()
    found: list[Path] = []
    skipped: list[tuple[str, str]] = []
    for reference in references:
        if not reference:
            continue
        path = folder
        try:
            words = [reference] if isinstance(reference, str) else [str(part) for part in reference]
            path = folder.joinpath(*words)
            path = _on_disk(folder, words)
            inside, there = path.resolve().is_relative_to(folder), path.is_file()
        except (OSError, ValueError, TypeError, RuntimeError):  # too long, a NUL, a number, a link to itself
            skipped.append((str(path), "the DICOMDIR names what can be no file"))
            continue
        if not inside:
            skipped.append((str(path), "the DICOMDIR leads outside its folder"))
        elif not there:
            skipped.append((str(path), "named by the DICOMDIR, but not there"))
        else:
            found.append(path)
    return found, skipped


def _references(directory: Path) -> list[Any] | None:
    """The Referenced File IDs of a DICOMDIR; None: it is none, or cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            meta = pydicom.filereader.read_file_meta_info(directory)
            if (
                meta.get("MediaStorageSOPClassUID") != DIRECTORY_CLASS
                or meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
            ):
                return None  # PS3.10 §8.6 has it in Explicit VR Little Endian, and inflating has no bounds
            dataset = pydicom.dcmread(directory)
            return [record.get("ReferencedFileID") for record in dataset.get("DirectoryRecordSequence") or ()]
        except Exception:  # noqa: BLE001 - pydicom raises anything, RecursionError among it
            return None


def _on_disk(folder: Path, words: list[str]) -> Path:
    """A File ID is upper case (PS3.10 §8.2); where a CD's file system shows lower case, that is meant."""
    path = folder.joinpath(*words)
    if path.exists():
        return path
    lower = folder.joinpath(*(word.lower() for word in words))
    return lower if lower.exists() else path
