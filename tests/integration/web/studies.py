"""Rows of studies, made straight in the database."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert, select

from noctis.db.models import Facility, Instance, Series, Study, StudyTerm
from noctis.repository.words import study_words, terms

CAME = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
TEXTS = ("patient_id", "patient_name", "accession_number", "study_date", "study_description", "modalities")


def add_study(engine: Engine, slug: str, uid: str, **attributes: Any) -> int:
    """One study as the archiver writes it, with its words; its id."""
    row = dict.fromkeys(TEXTS, "") | {"status": "complete", "first_received": CAME, "last_received": CAME} | attributes
    with engine.begin() as connection:
        facility_id = connection.scalar(select(Facility.id).where(Facility.slug == slug))
        words = study_words(row)
        made = insert(Study).values(facility_id=facility_id, study_instance_uid=uid, words=words, **row)
        study_id = int(connection.execute(made.returning(Study.id)).scalar_one())
        for term in terms(words, row["modalities"].split("\\")):
            connection.execute(insert(StudyTerm).values(term=term, study_id=study_id, facility_id=facility_id))
    return study_id


def add_series(engine: Engine, study_id: int, uid: str, numbers: list[str], **attributes: Any) -> int:
    """A series of a study with an instance of each number; its id."""
    with engine.begin() as connection:
        facility_id = connection.scalar(select(Study.facility_id).where(Study.id == study_id))
        values = {"study_id": study_id, "series_instance_uid": uid, "modality": "CT", "instances": len(numbers)}
        series_id = int(connection.execute(insert(Series).values(values).returning(Series.id)).scalar_one())
        for at, number in enumerate(numbers):
            row = {
                "facility_id": facility_id,
                "series_id": series_id,
                "sop_instance_uid": f"{uid}.{at + 1}",
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "instance_number": number,
                "path": f"central/{study_id}/{uid}/{at}.dcm",
                "bytes": 1000,
                "sha256": "0" * 64,
                "calling_ae_title": "CT1",
                "called_ae_title": "CENTRAL",
                "peer_address": "192.0.2.7",
                "received_at": CAME + timedelta(seconds=at),
            }
            connection.execute(insert(Instance).values(row | attributes))
    return series_id
