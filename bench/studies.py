"""The instances that are sent: synthetic, of modalities' sizes; encoded once, then only their UIDs change."""

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

TRANSFER_SYNTAX = str(ExplicitVRLittleEndian)


@dataclass(frozen=True)
class Kind:
    """One size of instance."""

    name: str
    sop_class_uid: str
    modality: str
    side: int  # pixels; square, 16 bit
    frames: int = 1


MR = Kind("MR", "1.2.840.10008.5.1.4.1.1.4", "MR", 256)  # 131 kB
CT = Kind("CT", "1.2.840.10008.5.1.4.1.1.2", "CT", 512)  # 525 kB
TINY = Kind("tiny", "1.2.840.10008.5.1.4.1.1.2", "CT", 54)  # 6.6 kB
MG = Kind("MG", "1.2.840.10008.5.1.4.1.1.1.2", "MG", 3873)  # 30 MB
CINE = Kind("cine", "1.2.840.10008.5.1.4.1.1.7.3", "XA", 1024, frames=512)  # 1 GB
KINDS = {kind.name: kind for kind in (MR, CT, TINY, MG, CINE)}

UID_LENGTH = 44  # every UID made here has as many characters, so one can stand in another's place


def make_uid(number: int) -> str:
    """A UID of exactly `UID_LENGTH` characters: the same number gives the same UID."""
    return f"2.25.1{number:0{UID_LENGTH - 6}d}"


@dataclass(frozen=True)
class Uids:
    """Of one instance."""

    study: str
    series: str
    instance: str


def uids(association: int, number: int) -> Uids:
    """Those of an association's n-th instance: one study and one series for each association."""
    base = association * 1_000_000
    return Uids(make_uid(base + 1), make_uid(base + 2), make_uid(base + 10 + number))


def make_dataset(kind: Kind, of: Uids) -> Dataset:
    """One instance with the attributes that real ones have, without its pixels."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind.sop_class_uid, of.instance
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = "101112"
    dataset.AccessionNumber, dataset.Modality, dataset.Manufacturer = "BENCH", kind.modality, "Bench"
    dataset.StudyDescription, dataset.SeriesDescription = "Benchmark", "Series"
    dataset.PatientName, dataset.PatientID = "Yardstick^Yvonne", "YARD-0001"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = of.study, of.series
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.Rows = dataset.Columns = kind.side
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    return dataset


class Template:
    """One encoded data set (Explicit VR Little Endian) in which the UIDs can be exchanged where they stand.

    `data` is the data set; `places` are the offsets of its study, series and SOP Instance UID.
    """

    def __init__(self, kind: Kind) -> None:
        marks = Uids(make_uid(1), make_uid(2), make_uid(3))
        buffer = BytesIO()
        dcmwrite(buffer, make_dataset(kind, marks), implicit_vr=False, little_endian=True, force_encoding=True)
        row = (bytes(range(256)) * (kind.side // 128 + 1))[: kind.side * 2]
        rows = kind.side * kind.frames
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(row) * rows)
        self.kind = kind
        self.data = b"".join((buffer.getvalue(), pixels, *[row] * rows))
        self.places = [self.data.index(uid.encode(), 0, 4000) for uid in (marks.study, marks.series, marks.instance)]

    def patch(self, target: bytearray, of: Uids, offset: int = 0) -> None:
        """Put other UIDs into `target`, in which this data set begins at `offset`."""
        for place, uid in zip(self.places, (of.study, of.series, of.instance), strict=True):
            target[offset + place : offset + place + UID_LENGTH] = uid.encode()


def make_files(folder: Path, kind: Kind, count: int, associations: int) -> list[list[Path]]:
    """`count` files in all, each association's own a study of its own; those that are there already stay."""
    folders = [folder / f"{kind.name}-{number}" for number in range(associations)]
    lists = [[each / f"{index:06}.dcm" for index in range(count // associations)] for each in folders]
    template: Template | None = None
    for number, paths in enumerate(lists):
        folders[number].mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(paths):
            if not path.exists():
                template = template or Template(kind)
                path.write_bytes(file_content(template, uids(number, index)))
    return lists


def file_content(template: Template, of: Uids) -> bytes:
    """A file of PS3.10: preamble, file meta, data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = template.kind.sop_class_uid, of.instance
    meta.TransferSyntaxUID = TRANSFER_SYNTAX
    head = BytesIO()
    write_file_meta_info(head, meta)
    content = bytearray(b"\0" * 128 + b"DICM" + head.getvalue())
    begin = len(content)
    content += template.data
    template.patch(content, of, begin)
    return bytes(content)
