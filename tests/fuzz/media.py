"""A file, or a DICOMDIR, from a CD or a folder that somebody imports.

The first byte of an input says which. Oracle: `SkippedError` or a place inside the file; a DICOMDIR names nothing
outside its folder.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from noctis.importing import sources
from noctis.importing.sources import SkippedError
from tests.samples import make_instance


def examine(data: bytes) -> None:
    if not data:
        return
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        path = folder / "CD" / "DICOMDIR"
        path.parent.mkdir()
        (path.parent / "A").mkdir()
        (path.parent / "A" / "B").write_bytes(b"")
        (folder / "OUTSIDE").write_bytes(b"")
        (path.parent / "LINK").symlink_to(folder / "OUTSIDE")
        path.write_bytes(data[1:])
        if data[0] & 1:
            examine_file(path, len(data) - 1)
        else:
            examine_directory(path)
    finally:
        shutil.rmtree(folder)


def examine_file(path: Path, size: int) -> None:
    try:
        source = sources.examine(path)
    except SkippedError as error:
        assert len(str(error)) < 200
        return
    assert source.start >= 0
    assert type(source.transfer_syntax) is str
    assert source.transfer_syntax


def examine_directory(path: Path) -> None:
    named = sources.referenced_files(path)
    if named is None:
        return
    found, skipped = named
    for each in found:
        assert each.is_file()
        assert each.resolve().is_relative_to(path.parent)
    assert all(type(subject) is str and type(reason) is str for subject, reason in skipped)


def directory(*references: list[str] | str) -> bytes:
    """A DICOMDIR that names these files."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sources.DIRECTORY_CLASS
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.FileSetID = "CD"
    dataset.DirectoryRecordSequence = []
    for reference in references:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = reference
        dataset.DirectoryRecordSequence.append(record)
    return written(dataset)


def written(dataset: Dataset) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        dcmwrite(Path(folder) / "file", dataset, enforce_file_format=True)
        return (Path(folder) / "file").read_bytes()


def seeds() -> Iterator[bytes]:
    yield b"\0" + directory(["A", "B"], "LINK", ["..", "OUTSIDE"])
    yield b"\0" + directory()
    file = written(make_instance(study="1.2", series="1.2.1", sop_instance="1.2.1.1"))
    yield b"\1" + file
    yield b"\1" + file[132:]
    yield b"\1" + file[132 + 12 + int.from_bytes(file[140:144], "little") :]
