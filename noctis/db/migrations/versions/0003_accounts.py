"""Accounts of the pages, and their sessions; studies of a day; what mends a refusal; events and quarantine by what
they are asked for

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "account",
        sa.Column("id", key, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("facility_id", key, nullable=True),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_login", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.current_timestamp(), nullable=False),
        sa.CheckConstraint("role IN ('admin', 'operator', 'viewer', 'facility')", name=op.f("ck_account_role_known")),
        sa.CheckConstraint("(role = 'facility') = (facility_id IS NOT NULL)", name=op.f("ck_account_facility_of_role")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_account_facility_id_facility")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "web_session",
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("account_id", key, nullable=False),
        sa.Column("address", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_web_session_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_web_session")),
    )
    op.create_index(op.f("ix_web_session_account_id"), "web_session", ["account_id"])
    op.create_index(op.f("ix_web_session_expires_at"), "web_session", ["expires_at"])
    op.create_index(op.f("ix_study_facility_id_first_received"), "study", ["facility_id", "first_received"])
    _ledgers()


def _ledgers() -> None:
    op.add_column("refusal", sa.Column("remedy", sa.JSON(), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("refusal", sa.Column("fixed_by", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column(
        "refusal", sa.Column("fixed_facility", sa.String(length=64), server_default=sa.text("''"), nullable=False)
    )
    op.add_column("refusal", sa.Column("fixed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("refusal", sa.Column("let_in_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_refusal_fixed_at"), "refusal", ["fixed_at"])
    op.create_index(op.f("ix_quarantined_facility_id_received_at"), "quarantined", ["facility_id", "received_at"])
    op.create_index(op.f("ix_event_action_at"), "event", ["action", "at"])
    op.create_index(op.f("ix_event_actor_action_at"), "event", ["actor", "action", "at"])
    op.create_index(op.f("ix_event_facility_id_action_at"), "event", ["facility_id", "action", "at"])
