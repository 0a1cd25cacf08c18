"""The tables of notifications and receipts."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String, Text, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from noctis.db.base import Base, Key, UtcDateTime


class Notice(Base):
    """What the archiver tells the notifier, in the transaction of the thing itself; the notifier takes it out."""

    __tablename__ = "notice"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))  # notifications.Kind
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))


class NotificationRule(Base):
    """Whom to tell of what: the rules that are made on the page; those of the configuration are not here."""

    __tablename__ = "notification_rule"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kinds: Mapped[str] = mapped_column(Text, server_default=text("''"))  # notifications.Kind, space between
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"))  # NULL: all
    url: Mapped[str] = mapped_column(Text, server_default=text("''"))  # "": no webhook
    secret: Mapped[str] = mapped_column(Text, server_default=text("''"))  # base64, what the webhook is signed with
    recipients: Mapped[str] = mapped_column(Text, server_default=text("''"))  # e-mail addresses, space between
    enabled: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())


class Notification(Base):
    """Something that somebody may want to be told of. It holds no patient's data unless that was asked for."""

    __tablename__ = "notification"
    __table_args__ = (Index(None, "at"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True)  # what receivers know it by
    kind: Mapped[str] = mapped_column(String(32))
    phase: Mapped[str] = mapped_column(String(16), server_default=text("'happened'"))  # notifications.Phase
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    sentence: Mapped[str] = mapped_column(Text, server_default=text("''"))  # one sentence
    data: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))


class Delivery(Base):
    """One notification on its way to one address."""

    __tablename__ = "delivery"
    __table_args__ = (Index(None, "channel", "address", "state", "next_attempt_at"), Index(None, "notification_id"))

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    notification_id: Mapped[int] = mapped_column(ForeignKey("notification.id", ondelete="CASCADE"))
    rule: Mapped[str] = mapped_column(String(80))  # notify.rules.Rule.key
    channel: Mapped[str] = mapped_column(String(16))  # webhook | email
    address: Mapped[str] = mapped_column(Text)  # URL or e-mail address
    state: Mapped[str] = mapped_column(String(16), server_default=text("'pending'"))  # notifications.DeliveryState
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    first_failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str] = mapped_column(Text, server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # sent, given up or discarded


class DeliveryTarget(Base):
    """How an address has answered of late. Each has a queue of its own."""

    __tablename__ = "delivery_target"

    channel: Mapped[str] = mapped_column(String(16), primary_key=True)
    address: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # since it last answered
    failing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str] = mapped_column(Text, server_default=text("''"))
    last_success_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class NotificationCondition(Base):
    """Something that is not as it should be, and was told of; the row goes when it is over."""

    __tablename__ = "notification_condition"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"))
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime)
    data: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))


class NotifierState(Base):
    """How far the notifier got, by name."""

    __tablename__ = "notifier_state"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))


class Receipt(Base):
    """What a facility was told that it had sent on one day. Revision 0: not made yet."""

    __tablename__ = "receipt"
    __table_args__ = (Index(None, "due", "day"),)

    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)  # YYYY-MM-DD, local
    revision: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    due: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())  # to be made, or looked at again
    studies: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    series: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    instances: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    digest: Mapped[str] = mapped_column(String(64), server_default=text("''"))  # SHA-256, see receipts.day
    made_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
