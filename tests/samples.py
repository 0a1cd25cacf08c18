"""Data sets to send: pydicom's own test files, and studies made on the spot."""

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom.data
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests import privacy

# Their pixel data, or a sequence in them, ends before its declared length: these belong into quarantine.
TRUNCATED = frozenset({"MR_truncated.dcm", "rtplan_truncated.dcm"})


@dataclass(frozen=True)
class Sample:
    """One storable composite instance among pydicom's test files."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str

    def data_set(self) -> bytes:
        """The data set's bytes as they are in the file."""
        content = self.path.read_bytes()
        return content[144 + int.from_bytes(content[140:144], "little") :]


@cache
def storable_files() -> tuple[Sample, ...]:
    """Every test file of pydicom that can be stored, truncated ones left out.

    Several may have the same SOP Instance UID: the collection has some instances in several forms.
    """
    found: list[Sample] = []
    root = Path(pydicom.data.__file__).parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name not in TRUNCATED):
            try:
                dataset = dcmread(path, stop_before_pixels=True)
                sample = Sample(
                    path,
                    str(dataset.SOPClassUID),
                    str(dataset.SOPInstanceUID),
                    str(dataset.StudyInstanceUID),
                    str(dataset.file_meta.TransferSyntaxUID),
                )
                meta = dataset.file_meta
                same = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (
                    dataset.SOPClassUID,
                    dataset.SOPInstanceUID,
                )  # a sender takes the command's UIDs from the file meta: where they differ, A900 is right
                complete = same and bool(dataset.SeriesInstanceUID) and path.read_bytes()[132:138] == b"\2\0\0\0UL"
            except Exception:  # noqa: BLE001 - whatever pydicom's collection holds that is no instance
                continue
            if complete and all((sample.sop_instance_uid, sample.study_instance_uid, sample.sop_class_uid)):
                privacy.sent(dataset)
                found.append(sample)
    return tuple(found)


def make_instance(
    *,
    study: str,
    series: str,
    number: int = 1,
    name: str = "Doe^Jane",
    patient_id: str = "PAT-4711",
    pixels: bytes = b"\0" * 512,
    sop_instance: str | None = None,
    modality: str = "CT",
) -> FileDataset:
    """A small CT image with a file meta, ready to be sent or saved."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = sop_instance or generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyDate, dataset.StudyTime = "20260102", "101112"
    dataset.AccessionNumber = "A1"
    dataset.Modality = modality
    dataset.PatientName, dataset.PatientID = name, patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "19700203", "F"
    privacy.sent(dataset)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    side = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OW"
    return dataset


def write_study(folder: Path, count: int, *, study: str | None = None, **attributes: str) -> list[Path]:
    """`count` files of one study and series below `folder`, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = study or generate_uid(), generate_uid()
    paths = []
    for number in range(1, count + 1):
        dataset = make_instance(study=study, series=series, number=number, **attributes)  # type: ignore[arg-type]
        path = folder / f"{number:05}.dcm"
        dataset.save_as(path)
        paths.append(path)
    return paths
