"""What studies are found by is written with them, and searched by indexes alone."""

import random
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, event, insert, select, text

from noctis.archiver.filing import Filer
from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.db.migrate import alembic_config, upgrade
from noctis.db.models import Facility, Study, StudyTerm
from noctis.facilities.registry import Registry
from noctis.repository import search_finder
from noctis.repository.search import Position, StudySearch, find_studies
from noctis.repository.slots import everything_waiting
from noctis.repository.words import fold
from tests.integration.web.studies import CAME, add_study
from tests.spooling import Intake

STUDY = "1.2.826.1"


@pytest.fixture
def filer(registry: Registry, engine: Engine, settings: Settings) -> Filer:
    return Filer(engine, settings)


def file_all(filer: Filer, settings: Settings) -> None:
    filer.file((entry, None) for entry in everything_waiting(settings.paths.spool))


def words(engine: Engine) -> list[tuple[str, str]]:
    query = select(Study.study_instance_uid, StudyTerm.term).join(StudyTerm, StudyTerm.study_id == Study.id)
    with engine.connect() as connection:
        return sorted((row[0], row[1]) for row in connection.execute(query))


def test_a_study_has_its_words_when_it_is_filed(
    intake: Intake, filer: Filer, engine: Engine, settings: Settings
) -> None:
    intake.instance(study=STUDY, series=f"{STUDY}.1", sop_instance="1.2.3.1", name="Müller^Jörg", patient_id="P-7")
    file_all(filer, settings)
    assert {word for _, word in words(engine)} >= {"ct", "jorg", "muller", "p", "7", "p7"}
    intake.instance(study=STUDY, series=f"{STUDY}.2", sop_instance="1.2.3.2", name="Beringer^Odile", modality="SR")
    before = words(engine)
    file_all(filer, settings)
    assert words(engine) == sorted([*before, (STUDY, "sr")])
    with engine.connect() as connection:
        assert " p:muller p:jorg p:p p:7 p:p7 " in (connection.scalar(select(Study.words)) or "")


def test_words_go_with_their_study(
    intake: Intake, filer: Filer, engine: Engine, registry: Registry, settings: Settings
) -> None:
    registry.edit("central", {"conflict": "replace"})
    for study in (STUDY, "1.2.826.2"):
        intake.instance(study=study, series=f"{study}.1", sop_instance="1.2.3.1", pixels=study.encode())
        file_all(filer, settings)
    with engine.connect() as connection:
        known = set(connection.scalars(select(Study.id)))
        assert set(connection.scalars(select(StudyTerm.study_id))) == known
        assert len(known) == 1


def test_a_modality_that_is_gone_is_no_word_any_more(
    intake: Intake, filer: Filer, engine: Engine, registry: Registry, settings: Settings
) -> None:
    registry.edit("central", {"conflict": "replace"})
    intake.instance(study=STUDY, series=f"{STUDY}.1", sop_instance="1.2.3.1")
    intake.instance(study=STUDY, series=f"{STUDY}.2", sop_instance="1.2.3.2", modality="SR")
    file_all(filer, settings)
    assert (STUDY, "sr") in words(engine)
    intake.instance(study="1.2.826.2", series="1.2.826.2.1", sop_instance="1.2.3.2", pixels=bytes(range(64)) * 2)
    file_all(filer, settings)
    assert (STUDY, "sr") not in words(engine)
    assert (STUDY, "ct") in words(engine)


def test_studies_of_an_older_release_get_their_words(empty_database_url: str) -> None:
    engine = make_engine(load_settings(options={"database": {"url": empty_database_url}}), pooled=False)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(text("INSERT INTO facility (name, slug, ae_title, port) VALUES ('C', 'c', 'C', 11113)"))
        for number in range(25):
            statement = text(
                "INSERT INTO study (facility_id, study_instance_uid, patient_name, modalities, first_received,"
                " last_received) SELECT id, :uid, :name, :modalities, :came, :came FROM facility"
            )
            values = {"uid": f"1.2.{number}", "name": f"Kováč^N{number}", "modalities": "CT\\SR", "came": CAME}
            connection.execute(statement, values)
    upgrade(engine)
    assert len(words(engine)) == 25 * 4
    page = find_studies(engine, StudySearch(text="kovac n24", modality="SR"))
    assert [row["study_instance_uid"] for row in page.rows] == ["1.2.24"]


def test_the_migration_goes_in_batches(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    migration = importlib.import_module("noctis.db.migrations.versions.0004_search")
    assert migration.BATCH >= 1000
    engine = make_engine(load_settings(options={"database": {"url": empty_database_url}}), pooled=False)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(insert(Facility).values(name="C", slug="c", ae_title="C", port=11113))
        for number in range(25):
            values = {"facility_id": 1, "study_instance_uid": f"1.{number}", "patient_name": f"n{number}"}
            connection.execute(insert(Study).values(values | {"first_received": CAME, "last_received": CAME}))
        monkeypatch.setattr(migration, "BATCH", 10)
        told: list[tuple[int, int]] = []
        migration._fill(connection, lambda _step, done, of: told.append((done, of)))
        assert told == [(0, 25), (10, 25), (20, 25), (25, 25)]
    assert [word for _, word in words(engine)] == sorted(f"n{number}" for number in range(25)) or len(
        words(engine)
    ) == 25


NAMES = ("Doe", "Roe", "Smith", "Smithson", "Kováč")
FIRST = ("Jane", "John", "Jo")


def matches(wanted: StudySearch, row: dict[str, Any], facility_id: int) -> bool:
    """What a search means, said plainly."""
    date, modalities = row["study_date"], row["modalities"].split("\\")
    patient = fold(row["patient_name"]) + fold(row["patient_id"])
    accession = [*fold(row["accession_number"]), "".join(fold(row["accession_number"]))]
    everything = [*patient, *accession, *fold(row["study_description"]), *fold(row["modalities"])]
    return (
        wanted.facility_id in (None, facility_id)
        and (not wanted.by_date or wanted.lowest <= date <= (wanted.last_date or "9"))
        and wanted.status in ("", row["status"])
        and (not wanted.modality or wanted.modality in modalities)
        and all(any(each.startswith(word) for each in patient) for word in fold(wanted.patient))
        and all(any(each.startswith(word) for each in accession) for word in fold(wanted.accession))
        and all(any(each.startswith(word) for each in everything) for word in fold(wanted.text))
    )


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("gather", "pair", "entries"), [(5000, 60_000, 100_000), (3, 0, 0), (3, 60_000, 100_000), (0, 0, 100_000)]
)
def test_every_way_finds_what_the_search_means(
    engine: Engine, gather: int, pair: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters and words at random, each way of searching, page by page, against a plain look at every study."""
    for name, value in {"GATHER": gather, "PAIR": pair, "ENTRIES": entries, "CHUNK": 7, "SECONDS": 60.0}.items():
        monkeypatch.setattr(search_finder, name, value)
    generator = random.Random(gather + pair)
    known: list[tuple[int, int, dict[str, Any]]] = []
    for number in range(80):
        slug, facility_id = generator.choice((("central", 1), ("north", 2)))
        row = {
            "patient_name": f"{generator.choice(NAMES)}^{generator.choice(FIRST)}",
            "patient_id": f"{generator.randrange(40)}",
            "accession_number": generator.choice(("", f"A-{number % 17}")),
            "study_date": generator.choice(("", "20260101", "20260102", "20260103")),
            "study_description": generator.choice(("Chest", "Head", "")),
            "modalities": generator.choice(("CT", "MR\\SR", "XA", "")),
            "status": generator.choice(("complete", "complete", "complete", "receiving")),
        }
        known.append((add_study(engine, slug, f"1.2.{number}", **row), facility_id, row))
    for _ in range(50):
        wanted = StudySearch(
            facility_id=generator.choice((None, None, 1, 2)),
            text=generator.choice(("", "", "doe", "smith jo", "ct", "s", "chest x", "j a", "zz")),
            patient=generator.choice(("", "", "", "roe", "1", "jo do")),
            accession=generator.choice(("", "", "", "a-1", "a16")),
            first_date=generator.choice(("", "", "20260102")),
            last_date=generator.choice(("", "", "20260102")),
            modality=generator.choice(("", "", "", "CT", "SR", "ZZ")),
            status=generator.choice(("", "", "", "receiving", "complete")),
        )
        expected = [
            (row["study_date"] if wanted.by_date else "", at) for at, of, row in known if matches(wanted, row, of)
        ]
        found: list[int] = []
        start: Position | None = None
        while True:
            page = find_studies(engine, wanted, older_than=start, limit=10)
            found += [row["id"] for row in page.rows]
            if page.older is None:
                break
            start = page.older
        assert found == [at for _, at in sorted(expected, reverse=True)], wanted


PLANS = (
    StudySearch(),
    StudySearch(facility_id=1),
    StudySearch(facility_id=1, first_date="20260101"),
    StudySearch(first_date="20260101", last_date="20260102"),
    StudySearch(text="doe jane", facility_id=1),
    StudySearch(text="doe", first_date="20260101", status="complete"),
    StudySearch(status="receiving", facility_id=1),
    StudySearch(modality="CT"),
    StudySearch(text="1.2.3.4.5"),
)


@pytest.mark.usefixtures("registry")
def test_no_search_goes_through_a_table_or_sorts_a_walk(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_finder, "CHUNK", 5)
    for number in range(20):
        attributes = {"patient_name": "Doe^Jane", "study_date": "20260101", "modalities": "CT"}
        add_study(engine, "central", f"1.2.3.4.{number}", **attributes)
    for gather in (5000, 0):
        monkeypatch.setattr(search_finder, "GATHER", gather)
        for wanted in PLANS:
            for start in (None, Position(15, "20260102")):
                look_at_plans(engine, wanted, start)


def look_at_plans(engine: Engine, wanted: StudySearch, start: Position | None) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    find_studies(engine, wanted, older_than=start)
    event.remove(engine, "before_cursor_execute", note)
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        for statement, parameters in asked:
            if "FROM study" not in statement:
                if "set_config" in statement:
                    connection.exec_driver_sql(statement, parameters)
                    connection.execute(text("SET enable_sort = off"))  # it pays on a table of twenty rows
                continue
            explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
            plan = [str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters)]
            told = "\n".join([statement, *plan])
            assert not any("Seq Scan on study" in line for line in plan), told
            walks_all = [line for line in plan if line.startswith("SCAN study")]
            assert all("ORDER BY study.id" in statement and "LIMIT" in statement for _ in walks_all), told
            if sqlite and "JOIN candidates" in statement:
                assert any(line.startswith("SEARCH study USING INTEGER PRIMARY KEY") for line in plan), told
            if "walked" in statement:
                assert not any("TEMP B-TREE" in line or "Sort" in line for line in plan), told
