"""When every sender sends, and what was said to its silence

Filled from the associations that are there. Revision: 0005, after 0004
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CALLERS_MAX = 64  # of a facility; the others are counted together, under ""
SPAN_HOURS = 168  # of one association, at most
KEEP_DAYS = 26 * 7


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "activity_day",
        sa.Column("facility_id", key, nullable=False),
        sa.Column("calling", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hours", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("associations", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("instances", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility_id"], ["facility.id"], name=op.f("fk_activity_day_facility_id_facility"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("facility_id", "calling", "day", name=op.f("pk_activity_day")),
    )
    op.create_index(op.f("ix_activity_day_day"), "activity_day", ["day"])
    op.create_table(
        "silence_mute",
        sa.Column("facility_id", key, nullable=False),
        sa.Column("calling", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False),
        sa.CheckConstraint("kind IN ('acknowledged', 'muted')", name=op.f("ck_silence_mute_kind_known")),
        sa.ForeignKeyConstraint(
            ["facility_id"], ["facility.id"], name=op.f("fk_silence_mute_facility_id_facility"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("facility_id", "calling", name=op.f("pk_silence_mute")),
    )
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """From the ledger of associations: those that tried to send anything."""
    time = sa.DateTime(timezone=True)
    names = ("facility_id", "calling", "instances", "bytes", "failures")
    association = sa.table(
        "association", *map(sa.column, names), sa.column("started_at", time), sa.column("ended_at", time)
    )
    sent = sa.or_(association.c.instances > 0, association.c.failures > 0)
    found: dict[tuple[int, str, int], dict[str, Any]] = {}
    callers: dict[int, set[str]] = {}
    oldest = int(datetime.now(UTC).timestamp()) // 86_400 - KEEP_DAYS
    query = sa.select(association).where(sent).order_by(association.c.ended_at.desc())
    for row in connection.execute(query.execution_options(yield_per=5000)):
        ended = _utc(row.ended_at)
        last = int(ended.timestamp() // 3600)
        first = max(min(last, int(_utc(row.started_at).timestamp() // 3600)), last - SPAN_HOURS + 1)
        known = callers.setdefault(row.facility_id, set())
        calling = row.calling[:64]
        if calling not in known and len(known) >= CALLERS_MAX:
            calling = ""
        known.add(calling)
        for hour in range(first, last + 1):
            key = (row.facility_id, calling, hour // 24)
            if key[2] < oldest:
                continue
            values = found.setdefault(key, _nothing(key, ended))
            values["hours"] |= 1 << hour % 24
            if hour == last:
                values["associations"] += 1
                values["instances"] += row.instances
                values["bytes"] += row.bytes
    if found:
        columns = [name for name in _nothing((0, "", 0), datetime.now(UTC)) if name != "last_at"]
        activity = sa.table("activity_day", *map(sa.column, columns), sa.column("last_at", time))
        connection.execute(sa.insert(activity), list(found.values()))


def _nothing(key: tuple[int, str, int], last_at: datetime) -> dict[str, Any]:
    values = dict(zip(("facility_id", "calling", "day"), key, strict=True))
    stored = last_at.replace(tzinfo=None) if op.get_bind().dialect.name == "sqlite" else last_at  # which has no zones
    return values | {"hours": 0, "last_at": stored, "associations": 0, "instances": 0, "bytes": 0}


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
