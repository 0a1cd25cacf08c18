"""An index of any size, filled in bulk: rows only, as many years of receiving would have left them.

Realistic where the index's work depends on it: instances of three series a study, 100 a series, of several
facilities, and complete.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, insert, select, text

from bench.uids import UidSource
from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.db.models import Facility, Instance, Series, Study, StudyStatus

SERIES, INSTANCES = 3, 100  # of a study; of a series
_CHUNK = 100  # studies inserted at once
_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
_BYTES = 131_900  # of a file
Row = dict[str, object]


def fill(settings: Settings, instances: int, uids: UidSource) -> int:
    """Add about so many instances to an index that has facilities and nothing else; how many it has then."""
    engine = make_engine(settings)
    try:
        return _fill(engine, instances, uids)
    finally:
        engine.dispose()


def _fill(engine: Engine, instances: int, uids: UidSource) -> int:
    with engine.begin() as connection:
        facilities = list(connection.execute(select(Facility.id, Facility.slug).order_by(Facility.id)))
    studies = -(-instances // (SERIES * INSTANCES))
    for first in range(0, studies, _CHUNK):
        numbers = range(first, min(first + _CHUNK, studies))
        rows = [list(each) for each in zip(*(_study(number, facilities, uids) for number in numbers), strict=True)]
        with engine.begin() as connection:
            for table, lists in zip((Study, Series, Instance), rows, strict=True):
                connection.execute(insert(table), [row for each in lists for row in each])
    _settle(engine)
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Instance)).scalar_one()


def _study(number: int, facilities: list[tuple[int, str]], uids: UidSource) -> tuple[list[Row], list[Row], list[Row]]:
    """The rows of one study: itself, its series, its instances. Their keys follow from its number."""
    facility, slug = facilities[number % len(facilities)]
    came = _SINCE + timedelta(minutes=3 * number)
    study_id, study_uid = number + 1, uids.study()
    study: Row = {
        "id": study_id,
        "facility_id": facility,
        "study_instance_uid": study_uid,
        "patient_id": f"P{number * 7919 % 1_000_003:07}",
        "patient_name": f"Bench^{number}",
        "patient_birth_date": "19700101",
        "patient_sex": "O",
        "accession_number": f"A{number:08}",
        "study_date": came.strftime("%Y%m%d"),
        "study_time": came.strftime("%H%M%S"),
        "study_description": "Benchmark",
        "modalities": "CT",
        "series": SERIES,
        "instances": SERIES * INSTANCES,
        "bytes": SERIES * INSTANCES * _BYTES,
        "status": StudyStatus.COMPLETE,
        "first_received": came,
        "last_received": came,
        "completed_at": came,
    }
    series, instances = [], []
    for index in range(SERIES):
        series_id, series_uid = number * SERIES + index + 1, uids.series()
        series.append(_series(series_id, study_id, series_uid, index))
        instances += list(_instances(series_id, facility, f"{slug}/{study_uid}/{series_uid}", came, uids))
    return [study], series, instances


def _series(series_id: int, study_id: int, uid: str, index: int) -> Row:
    return {
        "id": series_id,
        "study_id": study_id,
        "series_instance_uid": uid,
        "modality": "CT",
        "series_number": str(index + 1),
        "series_description": "Series",
        "manufacturer": "Bench",
        "instances": INSTANCES,
        "bytes": INSTANCES * _BYTES,
    }


def _instances(series_id: int, facility: int, folder: str, came: datetime, uids: UidSource) -> Iterator[Row]:
    for index in range(INSTANCES):
        uid = uids.instance()
        yield {
            "id": (series_id - 1) * INSTANCES + index + 1,
            "facility_id": facility,
            "series_id": series_id,
            "sop_instance_uid": uid,
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "instance_number": str(index + 1),
            "rows": 512,
            "columns": 512,
            "path": f"{folder}/{uid}.dcm",
            "bytes": _BYTES,
            "sha256": f"{series_id * INSTANCES + index:064x}",
            "calling_ae_title": "BENCH",
            "called_ae_title": "BENCH",
            "peer_address": "192.0.2.1",
            "received_at": came,
        }


def _settle(engine: Engine) -> None:
    """What years of working would have done: PostgreSQL's sequences go on after our keys, all is where it belongs."""
    if engine.dialect.name != "postgresql":
        return  # SQLite does it when its last connection closes
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in (Study, Series, Instance):
            name = table.__tablename__
            sequence = f"pg_get_serial_sequence('{name}', 'id')"
            connection.execute(text(f"SELECT setval({sequence}, (SELECT max(id) FROM {name}))"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
