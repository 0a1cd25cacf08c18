"""Rules: who is told of what. Those of the configuration, and those that were made on the page.

Every change of the latter is one transaction that also writes its event, without addresses or secrets. A secret goes in
and is used; nothing here gives it back but `secret_of`, for the one who signs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, delete, insert, select, update

from noctis.config import Settings
from noctis.db.engine import lock_registry, reachable, reading
from noctis.db.models import Event, Facility
from noctis.db.notifying import Delivery, NotificationRule
from noctis.errors import ConflictError, NotFoundError, StorageError, UsageError
from noctis.notifications import Channel, DeliveryState, Kind
from noctis.notify import signing
from noctis.sections import EMAIL, URL

NAME_MAX, URL_MAX, EMAIL_MAX, RECIPIENTS_MAX, RULES_MAX = 64, 2000, 254, 50, 200
CONFIG, TABLE = "config", "page"  # where a rule is from
RECEIPTS = "receipts"  # the key of what the section `receipts` sends


@dataclass(frozen=True)
class Rule:
    """One rule, without its secret."""

    origin: str  # CONFIG or TABLE
    id: int | None  # in the table
    name: str
    kinds: tuple[str, ...]
    facility: str | None  # slug; None: all, and what concerns none
    facility_id: int | None
    url: str
    recipients: tuple[str, ...]
    enabled: bool

    @property
    def key(self) -> str:
        """What deliveries know it by; stays the same when it is renamed on the page."""
        return f"{TABLE}:{self.id}" if self.origin == TABLE else f"{CONFIG}:{self.name}"

    @property
    def addresses(self) -> list[tuple[Channel, str]]:
        found = [(Channel.WEBHOOK, self.url)] if self.url else []
        return found + [(Channel.EMAIL, each) for each in self.recipients]

    def matches(self, kind: str, facility_id: int | None) -> bool:
        if not self.enabled or kind not in self.kinds:
            return False
        return self.facility is None or (facility_id is not None and self.facility_id == facility_id)

    def as_json(self, *, whole: bool) -> dict[str, Any]:
        """For the API; `whole`: with the URL, which may have something secret in its path."""
        return {
            "id": self.id,
            "origin": self.origin,
            "key": self.key,
            "name": self.name,
            "kinds": list(self.kinds),
            "facility": self.facility,
            "url": self.url if whole else masked(self.url),
            "recipients": list(self.recipients),
            "enabled": self.enabled,
        }


@dataclass(frozen=True)
class Draft:
    """A rule as it was typed. A `secret` of None: the one it has, or a new one."""

    name: str
    kinds: tuple[str, ...]
    facility: str | None = None
    url: str = ""
    secret: str | None = None
    recipients: tuple[str, ...] = ()
    enabled: bool = True


def masked(url: str) -> str:
    """A URL as far as everybody may see it: who, not what."""
    if not url:
        return ""
    parts = urlsplit(url)
    more = parts.path.strip("/") or parts.query
    return f"{parts.scheme}://{parts.netloc}" + ("/…" if more else "")


def shown_address(channel: str, address: str) -> str:
    """An address of a delivery, as lists show it."""
    return masked(address) if channel == Channel.WEBHOOK else address


class Rules:
    """The rules of one home."""

    def __init__(self, engine: Engine, settings: Settings, actor: str) -> None:
        self._engine = engine
        self._settings = settings
        self._actor = actor

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        with reachable(self._engine), self._engine.begin() as connection:
            lock_registry(connection)
            yield connection

    # -- looking

    def all(self) -> list[Rule]:
        """Those of the configuration first, then by name."""
        with reading(self._engine) as connection:
            return self.read(connection)

    def read(self, connection: Connection) -> list[Rule]:
        """The same, in somebody's transaction."""
        rows = connection.execute(_rules().order_by(NotificationRule.name)).all()
        return [*self._configured(connection), *map(_rule, rows)]

    def _configured(self, connection: Connection) -> list[Rule]:
        given = self._settings.notifications.rules
        slugs = {each.facility for each in given if each.facility}
        ids: dict[str, int] = {}
        if slugs:
            query = select(Facility.slug, Facility.id).where(Facility.slug.in_(slugs))
            ids = {row.slug: row.id for row in connection.execute(query)}
        return [
            Rule(
                CONFIG,
                None,
                each.name,
                tuple(each.kinds),
                each.facility,
                ids.get(each.facility or ""),
                each.url or "",
                each.recipients,
                each.enabled,
            )
            for each in given
        ]

    def get(self, key: str) -> Rule:
        """The rule with this key or name.

        Raises
        ------
        NotFoundError
        """
        rules = self.all()
        found = [each for each in rules if each.key == key] or [each for each in rules if each.name == key]
        if not found:
            raise NotFoundError(f"there is no notification rule {key!r}", fix="noctis notification rules")
        return found[0]

    def secret_of(self, rule: Rule) -> str:
        """What a rule's webhook is signed with.

        Raises
        ------
        UsageError, StorageError
            The configuration's is none, or its file cannot be read.
        """
        if rule.origin == TABLE:
            with reading(self._engine) as connection:
                found = connection.scalar(select(NotificationRule.secret).where(NotificationRule.id == rule.id))
            return found or ""
        for each in self._settings.notifications.rules:
            if each.name == rule.name:
                if each.secret is not None:
                    return each.secret.get_secret_value()
                assert each.secret_file is not None
                try:
                    return each.secret_file.read_text(encoding="ascii").strip()
                except (OSError, UnicodeDecodeError) as error:
                    raise StorageError(f"the secret_file of the rule {rule.name!r} cannot be read") from error
        return ""

    # -- changing

    def add(self, draft: Draft) -> tuple[Rule, str | None]:
        """A new rule; and its secret, to be shown this once, where one was made.

        Raises
        ------
        UsageError, ConflictError, NotFoundError
            Something in it cannot be meant, its name is taken, or there is no such facility.
        """
        draft = checked(draft)
        made = None
        secret = draft.secret
        if draft.url and not secret:
            made = secret = signing.new_secret()
        with self._changing() as connection:
            facility_id = _facility_id(connection, draft.facility)
            self._refuse_same_name(connection, draft.name)
            if len(connection.execute(select(NotificationRule.id)).all()) >= RULES_MAX:
                raise ConflictError(f"there are {RULES_MAX} rules already", fix="remove one, or put several together")
            values = _values(draft, facility_id) | {"secret": secret or ""}
            id_ = connection.execute(insert(NotificationRule).returning(NotificationRule.id), values).scalar_one()
            rule = _rule(connection.execute(_rules().where(NotificationRule.id == id_)).one())
            self._note(connection, "notification_rule.added", rule)
        return rule, made

    def edit(self, id_: int, draft: Draft) -> tuple[Rule, str | None]:
        """A rule as it shall be; and a new secret, where it had none. What waits goes to the new URL.

        Raises
        ------
        As `add`.
        """
        draft = checked(draft)
        with self._changing() as connection:
            before = self._find(connection, id_)
            had = connection.scalar(select(NotificationRule.secret).where(NotificationRule.id == id_))
            facility_id = _facility_id(connection, draft.facility)
            self._refuse_same_name(connection, draft.name, id_)
            made = None
            secret = draft.secret or had
            if draft.url and not secret:
                made = secret = signing.new_secret()
            values = _values(draft, facility_id) | {"secret": secret if draft.url else ""}
            connection.execute(update(NotificationRule).where(NotificationRule.id == id_), values)
            after = _rule(connection.execute(_rules().where(NotificationRule.id == id_)).one())
            if before.url and after.url and before.url != after.url:
                connection.execute(
                    update(Delivery)
                    .where(Delivery.rule == after.key, Delivery.channel == Channel.WEBHOOK)
                    .where(Delivery.state.in_((DeliveryState.PENDING, DeliveryState.DEAD)))
                    .values(address=after.url)
                )
            changed = [name for name in Draft.__dataclass_fields__ if name != "secret" and _differ(before, after, name)]
            self._note(connection, "notification_rule.changed", after, changed=changed, secret=bool(draft.secret))
        return after, made

    def remove(self, id_: int) -> None:
        """Take a rule away; what waits for its addresses alone is discarded.

        Raises
        ------
        NotFoundError
        """
        with self._changing() as connection:
            rule = self._find(connection, id_)
            connection.execute(delete(NotificationRule).where(NotificationRule.id == id_))
            self._note(connection, "notification_rule.removed", rule)

    def _find(self, connection: Connection, id_: int) -> Rule:
        row = None
        if 0 < id_ < 1 << 63:
            row = connection.execute(_rules().where(NotificationRule.id == id_)).one_or_none()
        if row is None:
            raise NotFoundError("there is no such notification rule", fix="noctis notification rules")
        return _rule(row)

    def _refuse_same_name(self, connection: Connection, name: str, owner: int | None = None) -> None:
        taken = connection.execute(select(NotificationRule.id, NotificationRule.name)).all()
        if any(row.name.lower() == name.lower() and row.id != owner for row in taken):
            raise ConflictError(f"there is a rule {name!r} already")

    def _note(self, connection: Connection, action: str, rule: Rule, **more: Any) -> None:
        detail = {"kinds": list(rule.kinds), "webhook": masked(rule.url), "recipients": len(rule.recipients)}
        connection.execute(
            insert(Event),
            {
                "actor": self._actor,
                "action": action,
                "facility_id": rule.facility_id,
                "subject": rule.name,
                "detail": detail | {"enabled": rule.enabled} | more,
            },
        )


def checked(draft: Draft) -> Draft:
    """The same, tidied up.

    Raises
    ------
    UsageError
        Something in it cannot be meant.
    """
    name = draft.name.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise UsageError(f"a rule's name has 1 to {NAME_MAX} characters, all of them printable")
    kinds = tuple(kind for kind in Kind if kind in draft.kinds)
    if unknown := set(draft.kinds) - set(Kind):
        raise UsageError(f"there is no kind {sorted(unknown)[0]!r}", fix=f"one of: {', '.join(Kind)}")
    if not kinds:
        raise UsageError("a rule is about one kind of thing at least", fix=f"one of: {', '.join(Kind)}")
    url = draft.url.strip()
    if url and not _is_url(url):
        raise UsageError("this is no webhook's address", fix="https://HOST/PATH, without a user's name in it")
    recipients = tuple(dict.fromkeys(each.strip() for each in draft.recipients if each.strip()))
    if len(recipients) > RECIPIENTS_MAX:
        raise UsageError(f"a rule has {RECIPIENTS_MAX} recipients at the most", fix="name a mailing list")
    for each in recipients:
        if len(each) > EMAIL_MAX or not re.fullmatch(EMAIL, each):
            raise UsageError(f"{each[:100]!r} is no e-mail address", fix="one address a line, without a name")
    if not url and not recipients:
        raise UsageError("nobody would be told", fix="give a webhook's address, recipients of e-mail, or both")
    secret = (draft.secret or "").strip() or None
    if secret is not None:
        signing.key_of(secret)
    return Draft(name, kinds, draft.facility or None, url, secret if url else None, recipients, draft.enabled)


def _is_url(url: str) -> bool:
    if len(url) > URL_MAX or not url.isprintable() or not url.isascii() or not re.fullmatch(URL, url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def parse_recipients(text: str) -> tuple[str, ...]:
    """Addresses as they are typed: by lines, commas or semicolons."""
    return tuple(each for each in re.split(r"[\s,;]+", text) if each)


def _rules() -> Any:
    columns = [column for column in NotificationRule.__table__.c if column.name != "secret"]
    return select(*columns, Facility.slug).outerjoin(Facility, Facility.id == NotificationRule.facility_id)


def _rule(row: Any) -> Rule:
    return Rule(
        TABLE,
        row.id,
        row.name,
        tuple(row.kinds.split()),
        row.slug,
        row.facility_id,
        row.url,
        tuple(row.recipients.split()),
        row.enabled,
    )


def _values(draft: Draft, facility_id: int | None) -> dict[str, Any]:
    return {
        "name": draft.name,
        "kinds": " ".join(draft.kinds),
        "facility_id": facility_id,
        "url": draft.url,
        "recipients": " ".join(draft.recipients),
        "enabled": draft.enabled,
    }


def _facility_id(connection: Connection, slug: str | None) -> int | None:
    if slug is None:
        return None
    found = connection.scalar(select(Facility.id).where(Facility.slug == slug.replace("\0", "\ufffd")))
    if found is None:
        raise NotFoundError("no facility has this name", fix="noctis facility list")
    return found


def _differ(before: Rule, after: Rule, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def matching(rules: Iterable[Rule], kind: str, facility_id: int | None) -> Sequence[tuple[Rule, Channel, str]]:
    """Who is told: each address once, whichever and however many rules name it."""
    found: dict[tuple[Channel, str], Rule] = {}
    for rule in rules:
        if rule.matches(kind, facility_id):
            for channel, address in rule.addresses:
                found.setdefault((channel, address), rule)
    return [(rule, channel, address) for (channel, address), rule in found.items()]
