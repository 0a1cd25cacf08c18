"""The instances that are sent: synthetic, of the sizes that modalities make."""

from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian


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


def make_uid(number: int, root: str = "2.25") -> str:
    """A UID of exactly `UID_LENGTH` characters: the same number gives the same UID."""
    return f"{root}.1{number:0{UID_LENGTH - len(root) - 2}d}"


def make_dataset(kind: Kind, study: str, series: str, instance: str, number: int) -> Dataset:
    """One instance with the attributes that real ones have, and pixels that do not compress to nothing."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind.sop_class_uid, instance
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = "101112"
    dataset.AccessionNumber, dataset.Modality, dataset.Manufacturer = "BENCH", kind.modality, "Bench"
    dataset.StudyDescription, dataset.SeriesDescription = "Benchmark", "Series"
    dataset.PatientName, dataset.PatientID = "Bench^Mark", "BENCH1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.Rows = dataset.Columns = kind.side
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    row = (bytes(range(256)) * (kind.side // 128 + 1))[: kind.side * 2]
    dataset.PixelData = row * kind.side * kind.frames
    dataset["PixelData"].VR = "OW"
    return dataset


def encode(dataset: Dataset) -> bytes:
    """The data set alone, Explicit VR Little Endian."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    return buffer.getvalue()


TRANSFER_SYNTAX = str(ExplicitVRLittleEndian)
