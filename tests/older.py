"""Databases as older releases left them."""

from alembic import command
from sqlalchemy import Engine, text

from noctis.db import migrate
from noctis.db.engine import reachable

OLDER = "0003"  # before the words of studies, whose upgrade takes its time


def make_schema(engine: Engine, revision: str = OLDER) -> None:
    """The tables of an older release in an empty database."""
    config = migrate.alembic_config()
    with reachable(engine), engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def add_facility(engine: Engine, name: str, port: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO facility (name, slug, ae_title, port) VALUES (:name, :slug, :title, :port)"),
            {"name": name, "slug": name.lower(), "title": name.upper(), "port": port},
        )


def add_studies(engine: Engine, count: int) -> None:
    """So many studies of the first facility."""
    first = text(
        "INSERT INTO study (facility_id, study_instance_uid, patient_id, patient_name, status,"
        " first_received, last_received) SELECT id, :uid, :patient, 'Sample^Older', 'complete',"
        " CURRENT_TIMESTAMP, CURRENT_TIMESTAMP FROM facility LIMIT 1"
    )
    rows = [{"uid": f"1.2.3.{number}", "patient": f"OLDER{number}"} for number in range(count)]
    if rows:
        with engine.begin() as connection:
            connection.execute(first, rows)
