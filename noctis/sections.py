"""What can be set, section by section: the typed part of the settings (`noctis.config` reads and merges them)."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from noctis.notifications import Kind

Port = Annotated[int, Field(ge=1, le=65535)]
AETitle = Annotated[
    str,
    Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e])?$"),
]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
URL = r"^https?://[^\s/?#@]+([/?#]\S*)?$"  # without a user's name: it would be shown
EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"  # as HTML's type=email


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    import ipaddress

    try:
        return tuple(str(ipaddress.ip_network(each.strip(), strict=False)) for each in values)
    except ValueError:
        raise ValueError("networks such as 10.0.0.5/32 or fd00::/8") from None


def _address(value: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("an IPv4 or IPv6 address such as 0.0.0.0, 127.0.0.1 or ::") from None


class ServerSettings(Section):
    """The default listener, and what all listeners share."""

    ae_title: AETitle = "NOCTIS_SERVER"
    port: Port = 11112
    bind: str = "0.0.0.0"  # an IPv4 or IPv6 address
    advertised_host: str | None = None  # what onboarding cards say; None: this machine's name

    @field_validator("bind")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return _address(value)


class FacilitySettings(Section):
    """How AE titles and ports are generated."""

    first_port: Port = 11113
    last_port: Port = 15112
    reserved_ports: tuple[Port, ...] = ()  # never given to a facility: other programs on this machine use them

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.first_port > self.last_port:
            raise ValueError(f"last_port {self.last_port} not below first_port {self.first_port}")
        return self


class ListenerSettings(Section):
    """One listener."""

    on_demand: bool = False  # fork at the first connection, retire when idle
    idle_seconds: Seconds = 60.0  # on demand: how long without an association before it retires
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    backlog: Annotated[int, Field(ge=1, le=65535)] = 128
    max_associations: Annotated[int, Field(ge=1)] = 200  # of one facility, and of the default listener
    max_associations_in_all: Annotated[int, Field(ge=1)] = 1000
    reserved_associations: Count = 2  # on the default port, of each facility
    max_unassociated: Annotated[int, Field(ge=1)] = 50  # connections of one process that have no association (yet)
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 24)] = 131072
    association_request_seconds: Seconds = 30.0  # ARTIM, PS3.8 §9.1.4
    pdu_seconds: Seconds = 60.0  # from the first byte of one PDU to its last
    idle_association_seconds: Seconds = 300.0  # between two PDUs
    message_seconds: Seconds = 3600.0  # from the first byte of a DIMSE message to its last
    unknown_echo: Literal["refuse", "allow"] = "refuse"  # allow: Verification alone, for callers of no facility
    trust: bool = False  # whoever reaches a facility's own port is this facility, whatever AE titles it names
    proxies: tuple[str, ...] = ()  # networks whose connections begin with a PROXY protocol header, version 2

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _networks(value)


class TlsSettings(Section):
    """DICOM TLS (PS3.15 B.12). A facility may decide otherwise for its own port."""

    enabled: bool = False  # of every listener
    certificate: Path | None = None  # PEM, the chain behind it; None: <home>/tls/server.pem
    private_key: Path | None = None  # None: <home>/tls/server.key
    client_ca: Path | None = None  # whose client certificates are taken; None: <home>/tls/ca.pem
    client_certificates: Literal["required", "optional", "off"] = "required"
    expiry_days: Count = 30  # a certificate that ends within so many days is told of


class StorageSettings(Section):
    """Spool, archive and quarantine."""

    media: Path | None = None  # the archive folder; None: <home>/media/dicom_files
    layout: Literal["tree", "flat"] = "tree"
    durability: Literal["strict", "fast"] = "strict"
    conflict: Literal["keep", "replace"] = "keep"
    reserve_bytes: Bytes = 1 << 30  # free space that is never used up: below it C-STORE answers A700
    max_instance_bytes: Bytes | None = None  # of one data set; None: as the disk allows
    quota_bytes: Bytes | None = None  # of all facilities' archived files
    quota_instances: Count | None = None
    facility_quota_bytes: Bytes | None = None  # of one facility
    facility_quota_instances: Count | None = None
    slot_bytes: Bytes = 64 << 20  # of each listener, in spool files that are used again; 0: none are
    quarantine_max_instances: Count = 10_000  # a facility


class ArchiverSettings(Section):
    """From the spool into the archive and the index."""

    scan_seconds: Seconds = 2.0  # how often the spool is scanned for what no hint told of
    batch_instances: Annotated[int, Field(ge=1, le=10_000)] = 500  # one transaction at the most
    study_quiet_seconds: Annotated[float, Field(ge=0)] = 60.0  # a study is complete when quiet for so long


class DatabaseSettings(Section):
    url: str | None = None  # any SQLAlchemy URL; None: SQLite at <home>/noctis.db
    connect_seconds: Seconds = 5.0
    migrate: bool = True  # `supervise` upgrades the schema by itself at start


class SupervisorSettings(Section):
    watch_seconds: Annotated[float, Field(ge=0.05, le=10)] = 0.25  # how often the facilities table is looked at
    backoff_max_seconds: Seconds = 60.0
    crash_limit: Annotated[int, Field(ge=1)] = 5  # crashes a minute before a listener is throttled


class ScheduleSettings(Section):
    """What the scheduler does from time to time. Times are this machine's local ones."""

    verify: Literal["never", "daily", "weekly"] = "weekly"  # archive verify, with digests
    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "sunday"
    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "02:00"


class AuditSettings(Section):
    """DICOM audit messages (PS3.15 A.5) over syslog (RFC 5424), besides the events in the database."""

    syslog: Annotated[str, Field(pattern=r"^(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+)(:\d{1,5})?$")] | None = None
    ca: Path | None = None  # PEM: who may have signed the server's certificate; None: the system's
    certificate: Path | None = None  # PEM: ours, where the server wants one
    private_key: Path | None = None
    source_id: Annotated[str, Field(min_length=1)] = "noctis"  # Audit Source ID
    patients: bool = True  # patients' IDs in the messages, as PS3.15 has it

    @field_validator("syslog")
    @classmethod
    def _a_port(cls, value: str | None) -> str | None:
        from urllib.parse import urlsplit

        try:
            port = urlsplit(value or "").port
        except ValueError:  # beyond 65535, or no address between the brackets
            port = 0
        if port == 0:
            raise ValueError("tls://HOST:PORT or tcp://HOST:PORT, with a port from 1 to 65535")
        return value


class WebSettings(Section):
    """The operator's pages, the JSON API and the metrics."""

    enabled: bool = True
    bind: str = "127.0.0.1"  # an IPv4 or IPv6 address
    port: Port = 8080
    base_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")] | None = None  # where a reverse proxy has them
    certificate: Path | None = None  # PEM, the chain behind it: HTTPS; None: HTTP
    private_key: Path | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*[^/\s]$")] | None = None  # what operators type
    proxies: tuple[str, ...] = ()  # networks of reverse proxies, whose X-Forwarded-For and -Proto are believed
    session_hours: Annotated[float, Field(gt=0, le=8760)] = 12.0  # a login lasts so long at the most
    idle_minutes: Annotated[float, Field(gt=0, le=525600)] = 60.0  # and ends when nobody touched a page so long
    metrics: Literal["open", "login", "off"] = "open"  # /metrics: for everybody, for who may see all, for nobody
    cache_bytes: Bytes = 512 << 20  # of pictures of frames, on disk; 0: none are kept

    @field_validator("bind")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return _address(value)

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _networks(value)


class SilenceSettings(Section):
    """When the silence of a facility or device is an alarm. Its habit is learned from what it sent."""

    alarm_probability: Annotated[float, Field(gt=0, lt=1)] = 0.01  # that a week has a silence like it
    minimum_minutes: Annotated[float, Field(ge=0)] = 60.0  # minutes; a shorter silence never alarms
    days_off: tuple[date, ...] = ()  # nothing is expected on these dates, and nothing learned from them


class RuleSettings(Section):
    """One rule of who is told of what. A webhook, e-mail, or both."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)]
    facility: str | None = None  # slug; None: all, and what concerns none
    url: Annotated[str, Field(pattern=URL)] | None = None
    secret: SecretStr | None = None  # base64: what the webhook is signed with
    secret_file: Path | None = None  # the same in a file
    recipients: tuple[Annotated[str, Field(pattern=EMAIL, max_length=254)], ...] = ()
    enabled: bool = True

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.url is None and not self.recipients:
            raise ValueError("a url, recipients, or both")
        if self.url is not None and (self.secret is None) == (self.secret_file is None):
            raise ValueError("a secret or a secret_file with the url: openssl rand -base64 32")
        return self


class NotificationSettings(Section):
    """Who is told of what: rules besides those of the page, and when a thing is worth telling."""

    enabled: bool = True  # the process `notifier`, which makes the receipts too
    rules: tuple[RuleSettings, ...] = ()
    patients: bool = False  # names and IDs of patients and accession numbers in messages
    group_seconds: Count = 300  # between two e-mails to one address, and two notifications of a facility's quarantine
    give_up_hours: Seconds = 24.0  # hours
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    webhook_ca: Path | None = None  # PEM: who may have signed the receivers' certificates; None: the system's
    link_local: bool = False  # webhooks to link-local addresses, where clouds have their machines' credentials
    disk_reserves: Annotated[float, Field(ge=0)] = 2.0  # disk-low: below so many times storage.reserve_bytes
    disk_percent: Annotated[float, Field(ge=0, lt=100)] = 5.0  # or below so much of the file system
    refusals: Annotated[int, Field(ge=1)] = 20  # refusal-burst: so many from one address at one port
    refusal_seconds: Annotated[int, Field(ge=10, le=86400)] = 600  # within so long
    listener_seconds: Count = 60  # listener-down: for so long

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [each.name for each in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("a name of its own for each of the rules")
        return self


class SmtpSettings(Section):
    """The mail server."""

    host: str | None = None  # None: no e-mail
    port: Port | None = None  # None: 587, 465 with tls, 25 with none
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca: Path | None = None  # PEM: who may have signed the server's certificate; None: the system's
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    sender: Annotated[str, Field(pattern=EMAIL, max_length=254)] | None = None  # None: noctis@ this machine's name


class ReceiptSettings(Section):
    """A receipt for each facility and day on which something came, made soon after local midnight."""

    enabled: bool = True
    folder: Path | None = None  # None: <home>/receipts
    after_minutes: Annotated[int, Field(ge=0, le=720)] = 15  # minutes after midnight
    recipients: tuple[Annotated[str, Field(pattern=EMAIL, max_length=254)], ...] = ()  # of all receipts
    to_facility: bool = False  # to the e-mail address in the facility's contact data


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"  # auto: console on a terminal, JSON otherwise
    file: bool = False  # also to <home>/logs/noctis.log, re-opened when logrotate has moved it
