"""The header of a data set: exactly what the index needs (placeholder: the contract; see read_header)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """What the index needs of a data set. Text is Unicode; an absent or empty element is ""."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    modality: str = ""
    series_number: str = ""
    series_date: str = ""
    series_description: str = ""
    body_part_examined: str = ""
    manufacturer: str = ""
    station_name: str = ""
    instance_number: str = ""
    frames: str = ""
    rows: int | None = None
    columns: int | None = None
    flags: tuple[str, ...] = ()  # what was odd: "charset", "vr", "uid"


class HeaderError(Exception):
    """The data set cannot be read."""


def read_header(descriptor: int, start: int, transfer_syntax_uid: str) -> Header:
    """The header of the data set that begins `start` bytes into an open file.

    Raises
    ------
    HeaderError
        It cannot be read as a data set of that transfer syntax.
    """
    raise HeaderError
