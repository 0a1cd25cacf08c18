"""A database of any number of studies, filled straight: rows as many years of receiving would have left them.

Names are as skewed as people's are: few are frequent, most are rare. Twenty facilities of very different sizes, ten
years, modalities that not every facility has. The newest studies have series and instances.
"""

import bisect
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, text

from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.db.models import Instance, Series, Study, StudyStatus
from noctis.facilities.registry import Registry
from noctis.repository.words import study_words, terms

FACILITIES = 20
YEARS = 10
WHOLE = 2000  # the newest studies, that have series and instances
RECEIVING = 120  # of them, the newest
BATCH = 5000  # studies
_NAMES, _FIRST_NAMES, _PER_PATIENT = 20_000, 600, 3
_PARTS = "an ber cor del ek fan gor hul is jan kor lin mar nov os pet ral sen tor ul van wes yor zel mül"
_SYLLABLES = _PARTS.split()
_KINDS = {  # modality: share, descriptions
    "CR": (30, ("Chest PA", "Chest AP bedside", "Hand left", "Hand right", "Knee both", "Pelvis")),
    "CT": (22, ("CT thorax", "CT abdomen contrast", "CT head", "CT angiography aorta", "CT sinuses")),
    "US": (16, ("Abdomen", "Thyroid", "Carotids duplex", "Pregnancy")),
    "MR": (14, ("MR brain", "MR lumbar spine", "MR knee left", "MR prostate", "MR heart stress")),
    "DX": (9, ("Thorax two planes", "Ankle", "Shoulder")),
    "MG": (6, ("Mammography screening", "Mammography tomosynthesis")),
    "XA": (2, ("Coronary angiography", "TAVI")),
    "NM": (1, ("Bone scintigraphy", "Thyroid scintigraphy")),
}


@dataclass(frozen=True)
class Filled:
    """What searches are made of: things that are frequent in the database, and things that are rare."""

    studies: int
    slugs: list[str]  # the largest facility first
    newest: tuple[str, str]  # slug and UID of a study with series and instances
    common_name: str
    rare_name: str
    first_name: str
    patient_id: str
    accession: str
    uid: str


class _Skewed:
    """Picks the n-th of `count` about 1/n as often as the first."""

    def __init__(self, count: int) -> None:
        self._sums = list(itertools.accumulate(1 / (number + 5) for number in range(count)))

    def pick(self, generator: random.Random) -> int:
        return bisect.bisect_left(self._sums, generator.random() * self._sums[-1])


class _Source:
    """Studies, the oldest first; the same ones every time."""

    def __init__(self, studies: int, facilities: Sequence[tuple[int, str]]) -> None:
        self._random = random.Random(1)
        self._studies = studies
        self._facilities = facilities
        self._of_facility, self._of_name, self._of_first = _Skewed(FACILITIES), _Skewed(_NAMES), _Skewed(_FIRST_NAMES)
        self._begun = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=365 * YEARS)
        self._step = timedelta(days=365 * YEARS) / studies
        kinds = [(name, each) for name, (_, texts) in _KINDS.items() for each in texts]
        self._kinds = kinds
        self._weights = list(itertools.accumulate(_KINDS[name][0] / len(_KINDS[name][1]) for name, _ in kinds))

    def study(self, number: int) -> dict[str, Any]:
        generator = self._random
        facility = self._of_facility.pick(generator)
        modality, description = self._kind(facility)
        patient = generator.randrange(max(1, self._studies // _PER_PATIENT))
        person = random.Random(patient)
        came = self._begun + self._step * number
        made = came - timedelta(days=generator.randrange(3000)) if generator.random() < 0.03 else came  # a prior
        instances = generator.choice((1, 2, 4, 120, 300)) if modality in ("CT", "MR") else generator.choice((1, 2, 4))
        late = generator.choice((0,) * 30 + (3,))
        receiving = number >= self._studies - RECEIVING
        row: dict[str, Any] = {
            "id": number + 1,
            "facility_id": self._facilities[facility][0],
            "study_instance_uid": uid("study", number),
            "patient_id": f"P{patient:07}",
            "patient_name": f"{name(self._of_name.pick(person))}^{first_name(self._of_first.pick(person))}",
            "patient_birth_date": f"{1930 + patient % 90}{1 + patient % 12:02}{1 + patient % 28:02}",
            "patient_sex": "FMO"[patient % 3],
            "accession_number": f"{made:%y}-{number:08}",
            "study_date": f"{made:%Y%m%d}",
            "study_time": f"{made:%H%M%S}",
            "study_id": str(number),
            "study_description": description,
            "modalities": f"{modality}\\SR" if generator.random() < 0.05 else modality,
            "series": 1,
            "instances": instances,
            "bytes": instances * 526_000,
            "status": StudyStatus.RECEIVING if receiving else StudyStatus.COMPLETE,
            "first_received": came,
            "last_received": came + timedelta(seconds=instances),
            "completed_at": None if receiving else came + timedelta(seconds=60 + instances),
            "late_instances": late,
        }
        return row | {"words": study_words(row)}

    def _kind(self, facility: int) -> tuple[str, str]:
        while True:
            at = bisect.bisect_left(self._weights, self._random.random() * self._weights[-1])
            modality, description = self._kinds[at]
            if (modality, facility % 3) not in (("MG", 1), ("XA", 2), ("NM", 0)):  # not everybody has everything
                return modality, description


def uid(kind: str, number: int) -> str:
    return f"1.2.826.0.1.3680043.10.{('study', 'series', 'instance').index(kind)}.{number}"


def name(number: int) -> str:
    parts, left = [], number
    for _ in range(3):
        parts.append(_SYLLABLES[left % len(_SYLLABLES)])
        left //= len(_SYLLABLES)
    return "".join(parts).capitalize() + ("" if not left else "son" if left == 1 else "mann")


def first_name(number: int) -> str:
    return (_SYLLABLES[number % len(_SYLLABLES)] + _SYLLABLES[number // len(_SYLLABLES) % 24] + "a").capitalize()


def fill(settings: Settings, studies: int, *, words: bool = True) -> Filled:
    """Fill an empty, migrated database.

    Parameters
    ----------
    words
        False: its schema is older than the words that studies are found by (0004).
    """
    engine = make_engine(settings, cache_kib=256 << 10)
    try:
        registry = Registry(engine, settings, "bench")
        records = [registry.add(f"Hospital {number}") for number in range(1, FACILITIES + 1)]
        source = _Source(studies, [(each.id, each.slug) for each in records])
        last = _fill_studies(engine, source, studies, words)
        with engine.begin() as connection:
            _fill_parts(connection, studies)
        _settle(engine)
    finally:
        engine.dispose()
    slug = {each.id: each.slug for each in records}[last["facility_id"]]
    return Filled(
        studies,
        [each.slug for each in records],
        (slug, last["study_instance_uid"]),
        name(0),
        name(_NAMES - 7),
        first_name(1),
        last["patient_id"],
        last["accession_number"],
        last["study_instance_uid"],
    )


def _fill_studies(engine: Engine, source: _Source, studies: int, words: bool) -> dict[str, Any]:
    """Their rows and words; the last study that has many instances."""
    last: dict[str, Any] = {}
    with engine.begin() as connection:
        kind = "BIGINT" if engine.dialect.name == "postgresql" else "INTEGER"
        connection.execute(text(f"CREATE TEMPORARY TABLE new_term (term TEXT, study_id {kind}, facility_id {kind})"))
        for first in range(0, studies, BATCH):
            rows = [source.study(number) for number in range(first, min(first + BATCH, studies))]
            last = next((row for row in reversed(rows) if row["instances"] >= 100), rows[-1])
            names = [name for name in rows[0] if words or name != "words"]
            _put(connection, Study.__table__.name, names, (tuple(row[name] for name in names) for row in rows))
            if words:
                _put(connection, "new_term", ["term", "study_id", "facility_id"], _terms(rows))
        if words:
            connection.execute(
                text(
                    "INSERT INTO study_term (term, study_id, facility_id)"
                    " SELECT term, study_id, facility_id FROM new_term ORDER BY term, study_id"
                )
            )
        connection.execute(text("DROP TABLE new_term"))
    return last


def _terms(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, int, int]]:
    for row in rows:
        for term in terms(row["words"], row["modalities"].split("\\")):
            yield term, row["id"], row["facility_id"]


def _put(connection: Connection, table: str, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Many rows, as fast as the database takes them."""
    if connection.dialect.name == "postgresql":
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(names))
    plain = [tuple(_plain(value) for value in row) for row in rows]
    connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    return value


def _fill_parts(connection: Connection, studies: int) -> None:
    """Series and instances of the newest studies."""
    rows = connection.execute(
        text("SELECT id, facility_id, instances, modalities, first_received FROM study WHERE id > :first ORDER BY id"),
        {"first": studies - WHOLE},
    ).all()
    series, instances = [], []
    for row in rows:
        series.append(
            {
                "id": row.id,
                "study_id": row.id,
                "series_instance_uid": uid("series", row.id),
                "modality": row.modalities.partition("\\")[0],
                "series_number": "1",
                "instances": row.instances,
                "bytes": row.instances * 526_000,
            }
        )
        for number in range(row.instances):
            instances.append(_instance(row, number))
    _insert(connection, Series.__table__, series)
    _insert(connection, Instance.__table__, instances)


def _instance(study: Any, number: int) -> dict[str, Any]:
    own = uid("instance", study.id * 1000 + number)
    came = study.first_received
    return {
        "id": study.id * 1000 + number,
        "facility_id": study.facility_id,
        "series_id": study.id,
        "sop_instance_uid": own,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "instance_number": str(number + 1),
        "path": f"f/{study.id}/{own}.dcm",
        "bytes": 526_000,
        "sha256": "0" * 64,
        "calling_ae_title": "BENCH",
        "called_ae_title": "BENCH",
        "peer_address": "192.0.2.1",
        "received_at": datetime.fromisoformat(came).replace(tzinfo=UTC) if isinstance(came, str) else came,
    }


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    target: Table = table
    for first in range(0, len(rows), 1000):
        connection.execute(insert(target), rows[first : first + 1000])


def _settle(engine: Engine) -> None:
    """What years of working would have done: PostgreSQL's sequences go on after our keys, and it knows its tables."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name_ in ("study", "series", "instance"):
            sequence = f"pg_get_serial_sequence('{name_}', 'id')"
            connection.execute(text(f"SELECT setval({sequence}, (SELECT max(id) FROM {name_}))"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
