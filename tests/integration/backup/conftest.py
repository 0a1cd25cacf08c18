"""A home with something in each of its places, and homes to restore into."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.backup.generations import find
from noctis.backup.make import Result as Made
from noctis.backup.make import backup
from noctis.backup.restore import Result as Restored
from noctis.backup.restore import restore
from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from tests.spooling import Intake

SaveInto = Callable[..., Made]
Bring = Callable[..., "Home"]


class Home:
    """A restored home."""

    def __init__(self, settings: Settings, engine: Engine, result: Restored) -> None:
        self.settings, self.engine, self.result = settings, engine, result


@pytest.fixture
def filed(intake: Intake, engine: Engine, settings: Settings) -> Intake:
    """Five instances in the archive, one of them of another facility; one in quarantine, as a conflict."""
    for number in range(4):
        intake.instance(study="1.1", series="1.1.0", sop_instance=f"1.2.3.{number}", name=f"N{number}")
    intake.instance(study="1.1", sop_instance="1.2.3.0", slug="north", name="Other")
    file_spool_once(settings, engine=engine)
    intake.instance(study="1.1", series="1.1.0", sop_instance="1.2.3.0", name="Conflict")
    file_spool_once(settings, engine=engine)
    return intake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "backups"
    path.mkdir()
    return path


@pytest.fixture
def save(settings: Settings, engine: Engine, folder: Path) -> SaveInto:
    def make(**options: object) -> Made:
        return backup(settings, engine, folder, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def bring_back(tmp_path: Path, folder: Path, backend: str, request: pytest.FixtureRequest) -> Iterator[Bring]:
    """Restore into a new home; its database is of the same kind, or of the one that is named."""
    engines: list[Engine] = []
    databases: list[tuple[object, str]] = []

    def bring(kind: str | None = None, generation: str | None = None, **options: object) -> Home:
        home = tmp_path / f"restored{len(engines)}"
        url = None
        if (kind or backend) == "postgresql":
            server = request.getfixturevalue("postgres")
            name = server.create()
            databases.append((server, name))
            url = server.url(name)
        made = load_settings(options={"home": str(home), "database": {"url": url}, "storage": {"reserve_bytes": 0}})
        engines.append(make_engine(made, pooled=False))
        source = find(folder, generation)
        return Home(made, engines[-1], restore(made, engines[-1], source, **options))  # type: ignore[arg-type]

    yield bring
    for engine in engines:
        engine.dispose()
    for server, name in databases:
        server.drop(name)  # type: ignore[attr-defined]
