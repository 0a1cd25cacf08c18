"""The keeper: makes each facility's receipt of each day, once, soon after local midnight; and again when it was wrong.

What is to be made is in the table `receipt`, from the rows of instances as they come (`_scan`, by their ids): so a day
that passed while nothing ran is made up for, and an instance that was filed late makes its day due again. A receipt
whose content is the same is not made again; another one is the next revision. A file is written whole, then its row;
a kill in between writes the same file again. E-mail and webhooks go through the outbox, in the row's transaction.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Table, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from noctis.config import Settings
from noctis.db.engine import reachable, reading
from noctis.db.models import Facility, Instance, Study, StudyStatus
from noctis.db.notifying import NotifierState, Receipt
from noctis.errors import NotFoundError, StorageError
from noctis.notifications import Channel, Kind
from noctis.notify import outbox
from noctis.notify.outbox import News
from noctis.notify.rules import RECEIPTS, Rules, matching
from noctis.receipts.day import Summing, Totals, bounds, study_lines
from noctis.receipts.document import Head, as_json, path_of, summary
from noctis.repository import slots
from noctis.repository.index_values import file_time

log = structlog.get_logger()

STATE = "receipts"  # in the table notifier_state
SCAN_SECONDS = 3600.0
CHUNK = 20_000  # ids looked at in one transaction
AGAIN = 5000  # ids looked at again: a transaction of PostgreSQL may commit after a later one
DAYS_MAX = 31  # what came longer ago makes no receipt
WAIT_FOR_SPOOL = timedelta(hours=6)  # after midnight, for what is not filed yet

_RECEIPT: Table = Receipt.__table__  # type: ignore[assignment]
_STATE: Table = NotifierState.__table__  # type: ignore[assignment]


class _Stopped(Exception):
    """The process shall end."""


class Keeper:
    """One home's receipts. One thread.

    Parameters
    ----------
    now
        The clock; aware.
    """

    def __init__(
        self, engine: Engine, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._rules = Rules(engine, settings, "notifier")
        self._now = now
        self._scanned_at: float | None = None  # monotonic
        self._stopped = threading.Event()
        self._passed: date | None = None  # the day up to which receipts are due

    def look(self) -> int:
        """Make what is due; how many receipts were made.

        Raises
        ------
        DatabaseError, OSError
            The database or the folder is away; the next look does it.
        """
        until = self._until()
        if self._scanned_at is None or until != self._passed or time.monotonic() - self._scanned_at >= SCAN_SECONDS:
            self._scan()
            self._scanned_at, self._passed = time.monotonic(), until
        made = 0
        with contextlib.suppress(_Stopped):
            for row in self._due(until):
                self._go_on()
                made += self._is_filed(row) and self._make(row)
        return made

    def stop(self) -> None:
        """End a `look` of another thread soon; what it had begun is begun again by the next one."""
        self._stopped.set()

    def _go_on(self, *_: int) -> None:
        if self._stopped.is_set():
            raise _Stopped

    def _until(self) -> date:
        """The first day of which no receipt is to be made yet."""
        now = self._now()
        passed = now - timedelta(minutes=self._settings.receipts.after_minutes)
        return passed.astimezone().date()

    # -- what is due

    def _scan(self) -> None:
        """Find the days of what was filed since the last scan."""
        with reading(self._engine) as connection:
            top = connection.scalar(select(func.max(Instance.id))) or 0
            state = connection.scalar(select(_STATE.c.value).where(_STATE.c.key == STATE))
            found = self._days_of_today(connection) if state is None else set()
        begun = int((state or {}).get("scanned", top))
        begun = max(0, begun - AGAIN) if begun <= top else 0  # another database: a restored one
        today = self._now().astimezone().date()
        began_on = str((state or {}).get("from", today.isoformat()))  # what came before there were receipts gets none
        floor = max(self._now() - timedelta(days=DAYS_MAX), bounds(date.fromisoformat(began_on))[0])
        while state is not None and begun < top:
            with reading(self._engine) as connection:
                rows = connection.execute(
                    select(Instance.facility_id, func.min(Instance.received_at), func.max(Instance.received_at))
                    .where(Instance.id > begun, Instance.id <= min(begun + CHUNK, top))
                    .where(Instance.received_at >= floor)
                    .group_by(Instance.facility_id)
                ).all()
            for facility_id, first, last in rows:
                found |= {(facility_id, day) for day in _days(first, min(last, self._now()))}
            begun += CHUNK
        self._mark(found, {"scanned": top, "from": began_on})

    def _days_of_today(self, connection: Connection) -> set[tuple[int, str]]:
        """The first look ever: receipts begin with the day that it is."""
        today = self._now().astimezone().date()
        query = select(Study.facility_id).where(
            Study.status.in_(tuple(StudyStatus)), Study.last_received >= bounds(today)[0]
        )
        return {(facility_id, today.isoformat()) for facility_id in connection.scalars(query.distinct())}

    def _mark(self, found: set[tuple[int, str]], value: dict[str, Any]) -> None:
        with reachable(self._engine), self._engine.begin() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            if found:
                insert = dialect.insert(_RECEIPT)
                connection.execute(
                    insert.on_conflict_do_update(index_elements=["facility_id", "day"], set_={"due": True}),
                    [{"facility_id": facility_id, "day": day, "due": True} for facility_id, day in sorted(found)],
                )
            connection.execute(
                dialect.insert(_STATE)
                .values(key=STATE, value=value)
                .on_conflict_do_update(index_elements=["key"], set_={"value": value})
            )

    def _due(self, until: date) -> list[Any]:
        with reading(self._engine) as connection:
            return list(
                connection.execute(
                    select(*_RECEIPT.c, Facility.slug, Facility.name, Facility.ae_title, Facility.email)
                    .join(Facility, Facility.id == _RECEIPT.c.facility_id)
                    .where(_RECEIPT.c.due, _RECEIPT.c.day < until.isoformat())
                    .order_by(_RECEIPT.c.day, Facility.slug)
                    .limit(1000)
                )
            )

    def _is_filed(self, row: Any) -> bool:
        """Whether nothing of that day waits in the facility's spool any more; not waited for all day."""
        end = bounds(date.fromisoformat(row.day))[1]
        oldest = slots.oldest_ns(self._settings.paths.spool, row.slug)
        return oldest is None or file_time(oldest) >= end or self._now() > end + WAIT_FOR_SPOOL

    # -- making one

    def _make(self, row: Any) -> bool:
        head = Head.of(row.slug, row.name, row.ae_title, date.fromisoformat(row.day), row.revision + 1)
        path = path_of(self._settings, row.slug, row.day)
        temporary, totals = self._write(head, row.facility_id, path)
        try:
            same = row.revision > 0 and totals.sha256 == row.digest and totals.instances == row.instances
            if same or (totals.instances == 0 and row.revision == 0):
                self._not_due(row, keep=same)
                return False
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._conclude(row, head, totals)
        log.info("receipt.made", facility=row.slug, day=row.day, revision=head.revision, instances=totals.instances)
        return True

    def _write(self, head: Head, facility_id: int, path: Path) -> tuple[Path, Totals]:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        summing = Summing()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                lines = study_lines(self._engine, facility_id, date.fromisoformat(head.day), self._go_on)
                for piece in as_json(head, lines, summing):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary, summing.totals

    def _not_due(self, row: Any, *, keep: bool) -> None:
        mine = (_RECEIPT.c.facility_id == row.facility_id, _RECEIPT.c.day == row.day)
        with reachable(self._engine), self._engine.begin() as connection:
            if keep:
                connection.execute(update(_RECEIPT).where(*mine).values(due=False))
            else:
                connection.execute(delete(_RECEIPT).where(*mine, _RECEIPT.c.revision == 0))

    def _conclude(self, row: Any, head: Head, totals: Totals) -> None:
        values = {name: getattr(totals, name) for name in ("studies", "series", "instances", "bytes")}
        values |= {"digest": totals.sha256, "revision": head.revision, "due": False}
        with reachable(self._engine), self._engine.begin() as connection:
            connection.execute(
                update(_RECEIPT)
                .where(_RECEIPT.c.facility_id == row.facility_id, _RECEIPT.c.day == row.day)
                .values(**values, made_at=self._now())
            )
            news = news_of(row.facility_id, head, totals)
            rules = matching(self._rules.read(connection), Kind.RECEIPT, row.facility_id)
            targets = {(str(channel), address): rule.key for rule, channel, address in rules}
            for address in recipients(self._settings, row.email):
                targets.setdefault((Channel.EMAIL, address), RECEIPTS)
            outbox.add(connection, news, [(key, *target) for target, key in targets.items()])


def news_of(facility_id: int, head: Head, totals: Totals) -> News:
    """What is told of a receipt."""
    corrected = f" (revision {head.revision}: corrected)" if head.revision > 1 else ""
    sentence = f"'{head.name}': receipt of {head.day}{corrected}: {' '.join(summary(totals).split())}"
    data = {"day": head.day, "revision": head.revision, "begin": head.begin, "end": head.end, **totals.as_json()}
    return News(Kind.RECEIPT, datetime.now(UTC), sentence, data, facility_id)


def recipients(settings: Settings, facility_email: str | None) -> list[str]:
    """Who gets a facility's receipts by e-mail, besides those of the rules; nobody where there is no mail server."""
    import re

    from noctis.sections import EMAIL

    if settings.smtp.host is None:
        return []
    found = list(settings.receipts.recipients)
    if settings.receipts.to_facility and facility_email and re.fullmatch(EMAIL, facility_email):
        found.append(facility_email)
    return list(dict.fromkeys(found))


def find(engine: Engine, settings: Settings, slug: str, day: date) -> Path:
    """The file of a receipt that was made.

    Raises
    ------
    NotFoundError
        There is none.
    """
    with reading(engine) as connection:
        found = connection.scalar(
            select(_RECEIPT.c.revision)
            .join(Facility, Facility.id == _RECEIPT.c.facility_id)
            .where(Facility.slug == slug, _RECEIPT.c.day == day.isoformat(), _RECEIPT.c.revision > 0)
        )
    path = path_of(settings, slug, day.isoformat())
    if found is None or not path.is_file():
        raise NotFoundError("there is no receipt of this day", fix=f"noctis receipt {slug} {day.isoformat()}")
    return path


def send_again(engine: Engine, settings: Settings, slug: str, day: date, addresses: list[str]) -> int:
    """Put a receipt that was made into the outbox once more; to how many addresses it goes.

    Raises
    ------
    NotFoundError, StorageError
        There is none, or nobody to send it to.
    """
    find(engine, settings, slug, day)
    with reachable(engine), engine.begin() as connection:
        row = connection.execute(
            select(*_RECEIPT.c, Facility.slug, Facility.name, Facility.ae_title, Facility.email)
            .join(Facility, Facility.id == _RECEIPT.c.facility_id)
            .where(Facility.slug == slug, _RECEIPT.c.day == day.isoformat())
        ).one()
        targets = addresses or recipients(settings, row.email)
        if settings.smtp.host is None or not targets:
            raise StorageError(
                "nobody is to get this receipt by e-mail", fix="set smtp.host and receipts.recipients, or name --to"
            )
        head = Head.of(row.slug, row.name, row.ae_title, day, row.revision)
        totals = Totals(row.studies, row.series, row.instances, row.bytes, row.digest)
        news = news_of(row.facility_id, head, totals)
        outbox.add(connection, news, [(RECEIPTS, Channel.EMAIL, address) for address in targets])
    return len(targets)


def _days(first: datetime, last: datetime) -> list[str]:
    day, end = first.astimezone().date(), last.astimezone().date()
    found = []
    while day <= end:
        found.append(day.isoformat())
        day += timedelta(days=1)
    return found
