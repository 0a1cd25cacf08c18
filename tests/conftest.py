"""What tests of every tier get: a home of their own, settings, and a migrated database, SQLite and PostgreSQL."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog
from sqlalchemy import Engine

from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.db.migrate import upgrade
from tests import privacy
from tests.postgres import PostgresServer

BACKENDS = ("sqlite", "postgresql")

# How long an example takes is the machine's affair, which does other things besides.
hypothesis.settings.register_profile("noctis", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("noctis")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NOCTIS_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nothing_tells_of_a_patient(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever was logged while a test ran, and whatever it left for people to read."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if request.node.get_closest_marker("tells_of_patients") is None:
        for _, name, text in request.node._report_sections:
            privacy.look(text, name)
        if folder is not None:
            privacy.look_at_files(folder)


@pytest.fixture(autouse=True)
def _logs_as_they_are_by_default() -> Iterator[None]:
    """The command line sets up logging for its whole process, which here is the tests'."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder's path; not made yet."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One real server for all tests of this process."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _migrated_postgres(postgres: PostgresServer) -> str:
    name = postgres.create()
    _migrate(postgres.url(name))
    return name


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "noctis.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    engine = make_engine(load_settings(options={"database": {"url": url}}), pooled=False)
    upgrade(engine)
    engine.dispose()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def database_url(backend: str, home: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated, empty database; SQLite's lies where it does by default."""
    if backend == "sqlite":
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(request.getfixturevalue("_migrated_sqlite"), home / "noctis.db")
        yield f"sqlite:///{home / 'noctis.db'}"
        return
    template: str = request.getfixturevalue("_migrated_postgres")
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create(template=template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def settings(home: Path, database_url: str) -> Settings:
    """Settings with a home that exists and a database that is migrated."""
    made = load_settings(
        options={"home": str(home), "database": {"url": database_url}, "storage": {"reserve_bytes": 0}}
    )
    made.paths.create()
    return made


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = make_engine(settings)
    yield made
    made.dispose()
