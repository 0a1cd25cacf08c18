"""Made-up images that look like some: an ellipse phantom, slice by slice. Nothing here was ever a patient's."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

SIDE = 256  # pixels

# x, y, half axes a, b (all of 1), value in HU: the outer ones first
ORGANS = (
    (0.0, 0.0, 0.72, 0.92, 40),
    (0.0, 0.0, 0.66, 0.86, 20),
    (-0.27, -0.1, 0.2, 0.45, -820),
    (0.27, -0.1, 0.2, 0.45, -820),
    (0.03, 0.12, 0.14, 0.18, 130),
    (0.0, 0.62, 0.11, 0.13, 700),
)


def slice_of(position: float, noise: np.random.Generator) -> np.ndarray:
    """One slice in Hounsfield units; `position` from -1 to 1, from the feet to the head."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    found = np.full((SIDE, SIDE), -1000.0)
    shrink = max(0.15, 1 - position**2)
    for index, (centre_x, centre_y, a, b, value) in enumerate(ORGANS):
        scale = 1.0 if index < 2 or index == 5 else shrink
        found[((x - centre_x) / (a * scale)) ** 2 + ((y - centre_y) / (b * scale)) ** 2 <= 1] = value
    return found + noise.normal(0, 12, found.shape)


def _head(sop_class: str, name: str, patient_id: str, description: str, modality: str, date: str) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = sop_class
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = name, patient_id, "19710203", "O"
    made.StudyDescription, made.Modality, made.StudyDate, made.StudyTime = description, modality, date, "091500"
    made.AccessionNumber = f"A{patient_id}"
    made.Manufacturer, made.BodyPartExamined = "Phantoms Ltd", "CHEST"
    return made


def _pixels(made: Dataset, array: np.ndarray, signed: bool) -> None:
    made.Rows, made.Columns = array.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = array.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(signed)
    made.PixelData = array.tobytes()
    made["PixelData"].VR = "OW" if array.dtype.itemsize > 1 else "OB"


def ct(
    folder: Path,
    name: str,
    patient_id: str,
    description: str,
    date: str,
    slices: int = 24,
    missing: tuple[int, ...] = (),
) -> list[Path]:
    """A CT study of one series, a file each slice; slices with these instance numbers are left out."""
    noise = np.random.default_rng(7)
    study, series, paths = generate_uid(), generate_uid(), []
    for number in range(1, slices + 1):
        if number in missing:
            continue
        made = _head(CTImageStorage, name, patient_id, description, "CT", date)
        made.StudyInstanceUID, made.SeriesInstanceUID = study, series
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.SeriesNumber, made.InstanceNumber, made.SeriesDescription = 1, number, "Axial 5 mm"
        made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, number * 5.0], [1, 0, 0, 0, 1, 0]
        made.PixelSpacing, made.SliceThickness = [1.4, 1.4], 5
        made.RescaleSlope, made.RescaleIntercept, made.WindowCenter, made.WindowWidth = 1, 0, 40, 400
        _pixels(made, slice_of(2 * number / slices - 1, noise).astype("<i2"), True)
        paths.append(folder / f"{patient_id}-{number}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    return paths


def ultrasound(folder: Path, name: str, patient_id: str, description: str, date: str, frames: int = 20) -> list[Path]:
    """A cine of one instance: a beating circle."""
    noise = np.random.default_rng(11)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    array = np.empty((frames, SIDE, SIDE), "u1")
    for index in range(frames):
        radius = 0.35 + 0.12 * np.sin(2 * np.pi * index / frames)
        fan = (np.abs(x) < 0.6 * (y + 1.05)) & (x**2 + (y + 1) ** 2 < 3.4)
        grey = 110 + 60 * noise.random((SIDE, SIDE))
        grey[x**2 + (y - 0.1) ** 2 < radius**2] *= 0.3
        array[index] = np.where(fan, grey, 0)
    made = _head(UltrasoundMultiFrameImageStorage, name, patient_id, description, "US", date)
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.SeriesNumber, made.InstanceNumber, made.SeriesDescription = 1, 1, "Four chambers"
    made.NumberOfFrames, made.FrameTime, made.FrameIncrementPointer = frames, 50, 0x00181063
    _pixels(made, array, False)
    path = folder / f"{patient_id}.dcm"
    made.save_as(path, enforce_file_format=True)
    return [path]
