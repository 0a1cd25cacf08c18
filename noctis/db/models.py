"""The tables (docs/architecture.md, "The index"). Plain SQL may insert facilities and devices: every other column has a
default in the schema. Times are UTC. Patients' attributes are Unicode, decoded by their Specific Character Set.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

import noctis.db.notifying  # noqa: F401 - its tables are part of the schema
from noctis.db.base import Base as Base
from noctis.db.base import Key, UtcDateTime


class StudyStatus(StrEnum):
    """Where a study is."""

    RECEIVING = "receiving"  # something arrived within study_quiet_seconds
    COMPLETE = "complete"  # quiet since then; a late instance re-opens it


class Facility(Base):
    """A hospital or clinic that sends to us. A removed one keeps its row: its slug, AE title and port stay taken."""

    __tablename__ = "facility"
    __table_args__ = (
        CheckConstraint("length(trim(name)) > 0", name="name_not_empty"),
        CheckConstraint("length(ae_title) BETWEEN 1 AND 16", name="ae_title_length"),
        CheckConstraint("port BETWEEN 1 AND 65535", name="port_range"),
        CheckConstraint("workers BETWEEN 1 AND 64", name="workers_range"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    ae_title: Mapped[str] = mapped_column(String(16), unique=True)
    port: Mapped[int] = mapped_column(Integer, unique=True)
    enabled: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    workers: Mapped[int] = mapped_column(Integer, default=1, server_default=text("1"))
    conflict: Mapped[str | None] = mapped_column(String(16))  # keep | replace; NULL: the configured default
    quarantine_max_instances: Mapped[int | None] = mapped_column(Integer)  # NULL: the configured default
    max_associations: Mapped[int | None] = mapped_column(Integer)  # NULL: the configured default; so are these
    max_instance_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_instances: Mapped[int | None] = mapped_column(BigInteger)
    tls: Mapped[str | None] = mapped_column(String(16))  # on | off
    client_certificates: Mapped[str | None] = mapped_column(String(16))  # required | optional | off
    address: Mapped[str | None] = mapped_column(Text)
    phone: Mapped[str | None] = mapped_column(String(64))
    email: Mapped[str | None] = mapped_column(String(254))
    licence_number: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    devices: Mapped[list["Device"]] = relationship(
        back_populates="facility", cascade="all, delete-orphan", passive_deletes=True, order_by="Device.ae_title"
    )
    certificates: Mapped[list["ClientCertificate"]] = relationship(
        back_populates="facility",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="ClientCertificate.fingerprint",
    )


class Device(Base):
    """One sender inside a facility, known by its calling AE title and optionally its network (CIDR)."""

    __tablename__ = "device"
    __table_args__ = (
        UniqueConstraint("facility_id", "ae_title", "network"),
        CheckConstraint("length(ae_title) BETWEEN 1 AND 16", name="ae_title_length"),
        Index(None, "ae_title"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"))
    ae_title: Mapped[str] = mapped_column(String(16))
    network: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))  # "": from anywhere
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    facility: Mapped[Facility] = relationship(back_populates="devices")


class ClientCertificate(Base):
    """A TLS client certificate that belongs to one facility, or to one device of it."""

    __tablename__ = "client_certificate"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"))
    device: Mapped[str] = mapped_column(String(16), server_default=text("''"))  # calling AE title; "": any
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of the DER form, hex
    subject: Mapped[str] = mapped_column(Text, server_default=text("''"))  # RFC 4514
    not_after: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    facility: Mapped[Facility] = relationship(back_populates="certificates")


class UsedPort(Base):
    """Every port a facility ever had: a scanner still pointed at it must not land in a stranger's archive."""

    __tablename__ = "used_port"

    port: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    slug: Mapped[str] = mapped_column(String(64))
    since: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())


class Study(Base):
    """A study of one facility, with its patient's attributes as its first instance gave them."""

    __tablename__ = "study"
    __table_args__ = (
        UniqueConstraint("facility_id", "study_instance_uid"),
        Index(None, "facility_id", "first_received"),
        Index(None, "accession_number"),
        Index(None, "status", "last_received"),
        # the orders that lists are walked in (repository.search)
        Index(None, "facility_id", "id"),
        Index(None, "study_date", "id"),
        Index(None, "facility_id", "study_date", "id"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    study_instance_uid: Mapped[str] = mapped_column(Text)
    patient_id: Mapped[str] = mapped_column(Text, server_default=text("''"))
    patient_name: Mapped[str] = mapped_column(Text, server_default=text("''"))
    patient_birth_date: Mapped[str] = mapped_column(Text, server_default=text("''"))  # DA as sent: YYYYMMDD
    patient_sex: Mapped[str] = mapped_column(Text, server_default=text("''"))
    issuer_of_patient_id: Mapped[str] = mapped_column(Text, server_default=text("''"))
    accession_number: Mapped[str] = mapped_column(Text, server_default=text("''"))
    study_date: Mapped[str] = mapped_column(Text, server_default=text("''"))  # DA as sent
    study_time: Mapped[str] = mapped_column(Text, server_default=text("''"))  # TM as sent
    study_id: Mapped[str] = mapped_column(Text, server_default=text("''"))
    study_description: Mapped[str] = mapped_column(Text, server_default=text("''"))
    referring_physician_name: Mapped[str] = mapped_column(Text, server_default=text("''"))
    modalities: Mapped[str] = mapped_column(Text, server_default=text("''"))  # sorted, backslash between: CT\SR
    series: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # count
    instances: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # count
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # of all files, meta included
    status: Mapped[str] = mapped_column(String(16), server_default=StudyStatus.RECEIVING)
    first_received: Mapped[datetime] = mapped_column(UtcDateTime)
    last_received: Mapped[datetime] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when it last became complete
    late_instances: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # came after complete
    words: Mapped[str] = mapped_column(Text, server_default=text("''"))  # repository.words


class Series(Base):
    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    series_instance_uid: Mapped[str] = mapped_column(Text)
    modality: Mapped[str] = mapped_column(Text, server_default=text("''"))
    series_number: Mapped[str] = mapped_column(Text, server_default=text("''"))  # IS as sent
    series_date: Mapped[str] = mapped_column(Text, server_default=text("''"))
    series_description: Mapped[str] = mapped_column(Text, server_default=text("''"))
    body_part_examined: Mapped[str] = mapped_column(Text, server_default=text("''"))
    manufacturer: Mapped[str] = mapped_column(Text, server_default=text("''"))
    station_name: Mapped[str] = mapped_column(Text, server_default=text("''"))
    instances: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # count
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class Instance(Base):
    """One SOP instance, where its file lies and how it came."""

    __tablename__ = "instance"
    __table_args__ = (UniqueConstraint("facility_id", "sop_instance_uid"), Index(None, "series_id"))

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"))
    sop_instance_uid: Mapped[str] = mapped_column(Text)
    sop_class_uid: Mapped[str] = mapped_column(Text)
    transfer_syntax_uid: Mapped[str] = mapped_column(Text)
    instance_number: Mapped[str] = mapped_column(Text, server_default=text("''"))  # IS as sent
    frames: Mapped[str] = mapped_column(Text, server_default=text("''"))  # Number of Frames, IS as sent
    rows: Mapped[int | None] = mapped_column(Integer)
    columns: Mapped[int | None] = mapped_column(Integer)
    path: Mapped[str] = mapped_column(Text)  # below the archive folder
    bytes: Mapped[int] = mapped_column(BigInteger)  # of the file, meta included
    sha256: Mapped[str] = mapped_column(String(64))  # of the data set, as it came over the wire
    flags: Mapped[str] = mapped_column(Text, server_default=text("''"))  # what was odd, space between: charset vr uid
    calling_ae_title: Mapped[str] = mapped_column(Text, server_default=text("''"))
    called_ae_title: Mapped[str] = mapped_column(Text, server_default=text("''"))
    peer_address: Mapped[str] = mapped_column(Text, server_default=text("''"))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Quarantined(Base):
    """One instance that could not be filed. The .json beside the file is the truth; this row is its index."""

    __tablename__ = "quarantined"
    __table_args__ = (
        UniqueConstraint("facility_id", "name"),
        Index(None, "received_at"),
        Index(None, "facility_id", "received_at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    name: Mapped[str] = mapped_column(Text)  # of the file in quarantine/<facility>/
    reason: Mapped[str] = mapped_column(String(32))  # repository.quarantine.Reason
    detail: Mapped[str] = mapped_column(Text, server_default=text("''"))
    sop_instance_uid: Mapped[str] = mapped_column(Text, server_default=text("''"))
    study_instance_uid: Mapped[str] = mapped_column(Text, server_default=text("''"))
    sop_class_uid: Mapped[str] = mapped_column(Text, server_default=text("''"))
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    calling_ae_title: Mapped[str] = mapped_column(Text, server_default=text("''"))
    called_ae_title: Mapped[str] = mapped_column(Text, server_default=text("''"))
    peer_address: Mapped[str] = mapped_column(Text, server_default=text("''"))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Refusal(Base):
    """A caller that was turned away. Repeats are counted, not piled up."""

    __tablename__ = "refusal"
    __table_args__ = (
        UniqueConstraint("port", "called", "calling", "address", "reason"),
        Index(None, "last_seen"),
        Index(None, "fixed_at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    port: Mapped[int] = mapped_column(Integer)
    called: Mapped[str] = mapped_column(Text)
    calling: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)  # plain words
    fix: Mapped[str] = mapped_column(Text, server_default=text("''"))  # the command that would let it in
    remedy: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))  # facilities.remedies.Remedy
    count: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    fixed_by: Mapped[str] = mapped_column(Text, server_default=text("''"))  # who did last what lets it in
    fixed_facility: Mapped[str] = mapped_column(String(64), server_default=text("''"))  # slug: where to
    fixed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    let_in_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when it first was, after that


class AssociationRecord(Base):
    """Who came, when, how many instances, and how it ended."""

    __tablename__ = "association"
    __table_args__ = (Index(None, "facility_id", "ended_at"), Index(None, "ended_at"))

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    association_id: Mapped[str] = mapped_column(String(32), unique=True)  # as in the logs
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    port: Mapped[int] = mapped_column(Integer)
    called: Mapped[str] = mapped_column(Text)
    calling: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime] = mapped_column(UtcDateTime)
    outcome: Mapped[str] = mapped_column(String(16))  # listener.tally.Outcome
    instances: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # C-STOREs not answered with success
    echoes: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class Event(Base):
    """What an operator did, or what the system did of its own that an operator must know."""

    __tablename__ = "event"
    __table_args__ = (
        Index(None, "at"),
        Index(None, "facility_id", "at"),
        Index(None, "action", "at"),
        Index(None, "actor", "action", "at"),
        Index(None, "facility_id", "action", "at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    actor: Mapped[str] = mapped_column(Text)  # the user's name, or the process
    action: Mapped[str] = mapped_column(String(64))  # facility.added, study.late, quarantine.released …
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))
    subject: Mapped[str] = mapped_column(Text, server_default=text("''"))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))


class Account(Base):
    """Somebody who may log in to the pages."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'operator', 'viewer', 'facility')", name="role_known"),
        CheckConstraint("(role = 'facility') = (facility_id IS NOT NULL)", name="facility_of_role"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))  # users.roles.Role
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))  # of the role facility alone
    password: Mapped[str] = mapped_column(Text)  # Argon2id, PHC string
    email: Mapped[str | None] = mapped_column(String(254))
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # wrong passwords since the last right one
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_login: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())


class WebSession(Base):
    """A login that is in force. What the browser has is a secret of which only the digest is here."""

    __tablename__ = "web_session"
    __table_args__ = (Index(None, "account_id"), Index(None, "expires_at"))

    token: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of the cookie, hex
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    address: Mapped[str] = mapped_column(Text, server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ApiToken(Base):
    """What a program shows in place of a password. The secret itself is told once; its digest is here."""

    __tablename__ = "api_token"
    __table_args__ = (Index(None, "account_id"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(64))  # what it is for
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256, hex
    read_only: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # NULL: never
    last_used: Mapped[datetime | None] = mapped_column(UtcDateTime)
    address: Mapped[str] = mapped_column(Text, server_default=text("''"))  # from where it was used last


class StudyTerm(Base):
    """A word that a study is found by (repository.words); its facility is tested without the study's row."""

    __tablename__ = "study_term"
    __table_args__ = ({"sqlite_with_rowid": False},)

    term: Mapped[str] = mapped_column(Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True)
    study_id: Mapped[int] = mapped_column(
        Key, primary_key=True
    )  # no foreign key: to keep one costs as much as the rows
    facility_id: Mapped[int] = mapped_column(Key, primary_key=True)


class ActivityDay(Base):
    """In which hours of a day one sender of a facility sent, and how much: what is habit is learned from these rows."""

    __tablename__ = "activity_day"
    __table_args__ = (Index(None, "day"),)

    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"), primary_key=True)
    calling: Mapped[str] = mapped_column(String(64), primary_key=True)  # calling AE title; "": all beyond the bound
    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # UTC, days since 1970-01-01
    hours: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # bit n: something came in hour n (UTC)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)  # when the last association of the day ended
    associations: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # that ended on this day
    instances: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class SilenceMute(Base):
    """What an operator said to the silence of a facility or device."""

    __tablename__ = "silence_mute"
    __table_args__ = (CheckConstraint("kind IN ('acknowledged', 'muted')", name="kind_known"),)

    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id", ondelete="CASCADE"), primary_key=True)
    calling: Mapped[str] = mapped_column(String(64), primary_key=True)  # "": the facility as a whole
    kind: Mapped[str] = mapped_column(String(16))
    until: Mapped[datetime | None] = mapped_column(UtcDateTime)  # of muted; NULL: for ever
    since: Mapped[datetime | None] = mapped_column(UtcDateTime)  # of acknowledged: when it had last sent
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, server_default=text("''"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
