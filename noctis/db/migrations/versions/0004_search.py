"""What studies are found by: words, and indexes in the orders that lists have

Revision: 0004, after 0003
"""

from typing import Any

import sqlalchemy as sa
import structlog
from alembic import context, op

from noctis.db.migrate import Tell
from noctis.repository.words import study_words, terms

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

log = structlog.get_logger()

BATCH = 10_000  # studies
SQLITE_CACHE_KIB = 128 << 10


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("study", sa.Column("words", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.create_table(
        "study_term",
        sa.Column("term", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("study_id", key, nullable=False),
        sa.Column("facility_id", key, nullable=False),
        sa.PrimaryKeyConstraint("term", "study_id", "facility_id", name=op.f("pk_study_term")),
        sqlite_with_rowid=False,
    )
    tell = context.config.attributes.get("tell") or _to_nobody
    _fill(op.get_bind(), tell)
    tell("sorting the studies", 0, 0)
    op.drop_index(op.f("ix_study_facility_id_patient_id"), "study")
    op.drop_index(op.f("ix_study_study_date"), "study")
    op.create_index(op.f("ix_study_facility_id_id"), "study", ["facility_id", "id"])
    op.create_index(op.f("ix_study_study_date_id"), "study", ["study_date", "id"])
    op.create_index(op.f("ix_study_facility_id_study_date_id"), "study", ["facility_id", "study_date", "id"])


def _fill(connection: sa.Connection, tell: Tell) -> None:
    """The words of the studies that are there already."""
    names = ("patient_name", "patient_id", "accession_number", "study_description", "modalities", "words")
    study: Any = sa.table("study", *map(sa.column, ("id", "facility_id", *names)))
    term = sa.table("study_term", sa.column("term"), sa.column("study_id"), sa.column("facility_id"))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size=-{SQLITE_CACHE_KIB}")
    total = connection.scalar(sa.select(sa.func.count()).select_from(study)) or 0
    update = sa.update(study).where(study.c.id == sa.bindparam("key")).values(words=sa.bindparam("found"))
    done, last = 0, 0
    tell("the words of studies", done, total)
    while rows := connection.execute(sa.select(study).where(study.c.id > last).order_by(study.c.id).limit(BATCH)).all():
        found = [(row, study_words(row._asdict())) for row in rows]
        connection.execute(update, [{"key": row.id, "found": words} for row, words in found])
        new = [
            {"term": each, "study_id": row.id, "facility_id": row.facility_id}
            for row, words in found
            for each in terms(words, row.modalities.split("\\"))
        ]
        if new:
            connection.execute(sa.insert(term), sorted(new, key=lambda row: row["term"]))
        done, last = done + len(rows), rows[-1].id
        log.info("migration.words", studies=done, of=total)
        tell("the words of studies", done, total)


def _to_nobody(_step: str, _done: int, _of: int) -> None:
    """Nobody asked to be told."""
