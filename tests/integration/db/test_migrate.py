"""The schema: migrations and models agree, on both databases; versions are told apart."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import JSON, Column, Engine, inspect, text

from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.db.migrate import require_current, schema_state, upgrade
from noctis.db.models import Base
from noctis.errors import DatabaseError


@pytest.fixture
def empty(empty_database_url: str) -> Engine:
    return make_engine(load_settings(options={"database": {"url": empty_database_url}}), pooled=False)


def compare_default(
    _context: object, _found: object, column: Column[Any], default: str | None, *_: object
) -> bool | None:
    """Whether a default differs; None: let Alembic compare. PostgreSQL has no = for JSON, so its text is compared."""
    return str(default).split("::")[0] != "'{}'" if isinstance(column.type, JSON) else None


def test_autogenerate_finds_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_server_default": compare_default, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_autogenerate_can_find_something(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE study ADD COLUMN forgotten INTEGER"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) != []


def test_check_constraints_are_the_models(engine: Engine) -> None:
    """Autogenerate does not look at them."""
    for table in Base.metadata.sorted_tables:
        wanted = {str(each.name) for each in table.constraints if type(each).__name__ == "CheckConstraint"}
        assert {each["name"] for each in inspect(engine).get_check_constraints(table.name)} == wanted


def test_an_empty_database_is_told_and_upgraded(empty: Engine) -> None:
    with pytest.raises(DatabaseError, match="no tables yet") as error:
        require_current(empty)
    assert "noctis db upgrade" in str(error.value)
    assert upgrade(empty).current is None
    assert schema_state(empty).up_to_date
    require_current(empty)
    assert upgrade(empty).up_to_date


def test_a_newer_database_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (require_current, upgrade, schema_state):
        with pytest.raises(DatabaseError, match="newer Noctis"):
            use(engine)


def test_facilities_can_be_added_by_plain_sql(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO facility (name, slug, ae_title, port) VALUES ('Central', 'central', 'CENTRAL', 11113)")
        )
        connection.execute(text("INSERT INTO device (facility_id, ae_title) SELECT id, 'CT1' FROM facility"))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_sqlite_is_set_up_for_durability(engine: Engine, settings: Settings) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    assert settings.paths.sqlite.exists()
