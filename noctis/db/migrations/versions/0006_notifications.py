"""Notifications, their deliveries, and receipts

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NOW = sa.text("CURRENT_TIMESTAMP")


def _facility(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_facility_id_facility")
    return sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=name, ondelete="CASCADE")


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False)


def _count(name: str, kind: sa.types.TypeEngine[int] | None = None) -> "sa.Column[int]":
    return sa.Column(name, kind or sa.Integer(), server_default=sa.text("0"), nullable=False)


def _json(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.JSON(), server_default=sa.text("'{}'"), nullable=False)


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "notice",
        sa.Column("id", key, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("facility_id", key, nullable=True),
        sa.Column("at", TIME, server_default=NOW, nullable=False),
        _json("detail"),
        _facility("notice"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
    )
    op.create_table(
        "notification_rule",
        sa.Column("id", key, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        _text("kinds"),
        sa.Column("facility_id", key, nullable=True),
        _text("url"),
        _text("secret"),
        _text("recipients"),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        _facility("notification_rule"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_rule")),
        sa.UniqueConstraint("name", name=op.f("uq_notification_rule_name")),
    )
    op.create_table(
        "notification",
        sa.Column("id", key, nullable=False),
        sa.Column("uid", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("phase", sa.String(length=16), server_default=sa.text("'happened'"), nullable=False),
        sa.Column("facility_id", key, nullable=True),
        sa.Column("at", TIME, server_default=NOW, nullable=False),
        _text("sentence"),
        _json("data"),
        _facility("notification"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        sa.UniqueConstraint("uid", name=op.f("uq_notification_uid")),
    )
    op.create_index(op.f("ix_notification_at"), "notification", ["at"])
    op.create_table(
        "delivery",
        sa.Column("id", key, nullable=False),
        sa.Column("notification_id", key, nullable=False),
        sa.Column("rule", sa.String(length=80), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default=sa.text("'pending'"), nullable=False),
        _count("attempts"),
        sa.Column("next_attempt_at", TIME, server_default=NOW, nullable=False),
        sa.Column("first_failed_at", TIME, nullable=True),
        _text("last_error"),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("done_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notification.id"],
            name=op.f("fk_delivery_notification_id_notification"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    op.create_index(
        op.f("ix_delivery_channel_address_state_next_attempt_at"),
        "delivery",
        ["channel", "address", "state", "next_attempt_at"],
    )
    op.create_index(op.f("ix_delivery_notification_id"), "delivery", ["notification_id"])
    op.create_table(
        "delivery_target",
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        _count("failures"),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("paused_until", TIME, nullable=True),
        _text("last_error"),
        sa.Column("last_success_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("channel", "address", name=op.f("pk_delivery_target")),
    )
    op.create_table(
        "notification_condition",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("facility_id", key, nullable=True),
        sa.Column("begun_at", TIME, nullable=False),
        _json("data"),
        _facility("notification_condition"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_notification_condition")),
    )
    op.create_table(
        "notifier_state",
        sa.Column("key", sa.String(length=64), nullable=False),
        _json("value"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_notifier_state")),
    )
    op.create_table(
        "receipt",
        sa.Column("facility_id", key, nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        _count("revision"),
        sa.Column("due", sa.Boolean(), server_default=sa.true(), nullable=False),
        _count("studies"),
        _count("series"),
        _count("instances"),
        _count("bytes", sa.BigInteger()),
        sa.Column("digest", sa.String(length=64), server_default=sa.text("''"), nullable=False),
        sa.Column("made_at", TIME, nullable=True),
        _facility("receipt"),
        sa.PrimaryKeyConstraint("facility_id", "day", name=op.f("pk_receipt")),
    )
    op.create_index(op.f("ix_receipt_due_day"), "receipt", ["due", "day"])
