"""What every device sends in an hour

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "activity_hour",
        sa.Column("facility_id", key, nullable=False),
        sa.Column("calling", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("associations", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("instances", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility_id"], ["facility.id"], name=op.f("fk_activity_hour_facility_id_facility"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("facility_id", "calling", "hour", name=op.f("pk_activity_hour")),
    )
    op.create_index(op.f("ix_activity_hour_hour"), "activity_hour", ["hour"])
