"""What is about to be filed, and the values its rows get. Texts are bounded: an absurdly long one blocks nothing."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from noctis.repository.filemeta import FileMeta
from noctis.repository.header import Header
from noctis.repository.names import is_uid
from noctis.repository.words import study_words

TEXT_MAX = 400  # characters of an attribute; PostgreSQL's indexes take 2704 bytes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Filing:
    """One instance to be filed: a whole file, wherever it lies, and what is known of it."""

    slug: str
    source: Path
    meta: FileMeta
    header: Header
    sha256: str  # hex, of the data set
    bytes: int  # of the file
    received_at: datetime
    slot: str = ""  # the source is a slot, of which the first `bytes` count, and only while it bears this stamp

    @property
    def study_uid(self) -> str:
        return bounded(self.header.study_instance_uid)

    @property
    def series_uid(self) -> str:
        return bounded(self.header.series_instance_uid)

    @property
    def instance_uid(self) -> str:
        return bounded(self.header.sop_instance_uid)

    @property
    def transfer_syntax_uid(self) -> str:
        return _clean(self.meta.transfer_syntax_uid)

    @property
    def flags(self) -> str:
        """Everything odd, sorted, a space between."""
        flags = {*self.meta.flags, *self.header.flags}
        header = self.header
        if not (
            is_uid(header.study_instance_uid) and is_uid(header.series_instance_uid) and is_uid(header.sop_instance_uid)
        ):
            flags.add("uid")
        return " ".join(sorted(flags))


def bounded(text: str, limit: int = TEXT_MAX) -> str:
    """`text`, or what stands for it when it is absurdly long: its beginning and its digest."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 33]}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def file_time(nanoseconds: int) -> datetime:
    """A file's time as an aware datetime, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _clean(text: str) -> str:
    return bounded(text.replace("\0", "\ufffd"))


def study_row(facility_id: int, filing: Filing) -> dict[str, Any]:
    header = filing.header
    row: dict[str, Any] = {
        "facility_id": facility_id,
        "study_instance_uid": filing.study_uid,
        "patient_id": bounded(header.patient_id),
        "patient_name": bounded(header.patient_name),
        "patient_birth_date": bounded(header.patient_birth_date),
        "patient_sex": bounded(header.patient_sex),
        "issuer_of_patient_id": bounded(header.issuer_of_patient_id),
        "accession_number": bounded(header.accession_number),
        "study_date": bounded(header.study_date),
        "study_time": bounded(header.study_time),
        "study_id": bounded(header.study_id),
        "study_description": bounded(header.study_description),
        "referring_physician_name": bounded(header.referring_physician_name),
        "first_received": filing.received_at,
        "last_received": filing.received_at,
    }
    return row | {"words": study_words(row)}


def series_row(study_id: int, filing: Filing) -> dict[str, Any]:
    header = filing.header
    return {
        "study_id": study_id,
        "series_instance_uid": filing.series_uid,
        "modality": bounded(header.modality),
        "series_number": bounded(header.series_number),
        "series_date": bounded(header.series_date),
        "series_description": bounded(header.series_description),
        "body_part_examined": bounded(header.body_part_examined),
        "manufacturer": bounded(header.manufacturer),
        "station_name": bounded(header.station_name),
    }


def instance_row(facility_id: int, series_id: int, path: str, filing: Filing) -> dict[str, Any]:
    header, meta = filing.header, filing.meta
    return {
        "facility_id": facility_id,
        "series_id": series_id,
        "sop_instance_uid": filing.instance_uid,
        "sop_class_uid": bounded(header.sop_class_uid) or _clean(meta.sop_class_uid),
        "transfer_syntax_uid": filing.transfer_syntax_uid,
        "instance_number": bounded(header.instance_number),
        "frames": bounded(header.frames),
        "rows": header.rows,
        "columns": header.columns,
        "path": path,
        "bytes": filing.bytes,
        "sha256": filing.sha256,
        "flags": filing.flags,
        "calling_ae_title": _clean(meta.origin.calling),
        "called_ae_title": _clean(meta.origin.called),
        "peer_address": _clean(meta.origin.address),
        "received_at": filing.received_at,
    }
