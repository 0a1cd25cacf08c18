"""The index: from instances that are to be filed to files in the archive and true rows, in one transaction a batch.

`file_batch` takes `Filing`s and gives an `Outcome` each. The row is written first, then the file put in its place and
made durable, then the transaction is committed: so who puts a file holds the row that owns the path, and a crash at
any step leaves the source, and a row only where there is a file. The source itself stays; who calls removes it when
the outcome says so. Several processes may file parts of one study, or the same instance, at once.

A duplicate whose file is missing or damaged is filed anew. A conflict is decided by the facility's policy: under `keep`
the newcomer is left to the caller, to be kept in quarantine; under `replace` it takes the place and the older file goes
to quarantine before the commit. When the file in the place turns out to be the newcomer's own, a replacement was
interrupted, and is finished whatever the policy.
"""

import errno
import hashlib
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from noctis.config import Settings
from noctis.db.engine import is_damaged, reading
from noctis.db.models import Facility, Instance
from noctis.errors import DatabaseError, StorageError
from noctis.repository import notices, slots
from noctis.repository.archive import Archive, Placing, SourceGoneError, same_content
from noctis.repository.content import identity
from noctis.repository.index_rows import Books, FacilityRow, FiledRow, InstanceKey, Raced, SeriesKey, StudyKey
from noctis.repository.index_values import Filing, instance_row, series_row, study_row
from noctis.repository.quarantine import Note, Quarantine, Reason

log = structlog.get_logger()

ACTOR = "archiver"
NO_CAP = sys.maxsize
_TRIES = 12
_RACES = {"40001", "40P01", "23505", "23503"}  # serialization, deadlock, unique, foreign key (SQLSTATE)
_T = TypeVar("_T")


class Outcome(StrEnum):
    """What became of one filing."""

    FILED = "filed"
    DUPLICATE = "duplicate"  # the same bytes are filed already
    RESTORED = "restored"  # the same bytes were filed, but the file was missing or damaged: filed anew
    REPLACED = "replaced"  # took the place of other bytes, which are in quarantine
    CONFLICT = "conflict"  # other bytes are filed; not filed, to be kept in quarantine by the caller
    GONE = "gone"  # the source is not there any more: somebody else has filed it
    EJECT = "eject"  # in a slot, and not simply new or a duplicate: to be moved to a file of its own and filed again
    UNKNOWN_FACILITY = "unknown-facility"  # no row for the slug; not filed, to be left where it is


@dataclass
class _Work:
    """One transaction's state: what is decided and what is still to be done."""

    books: Books
    placing: Placing
    facilities: dict[str, FacilityRow]
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by position in the batch
    new: list[tuple[int, Filing]] = field(default_factory=list)
    replaced: dict[int, FiledRow] = field(default_factory=dict)  # by position of what takes the place
    places: dict[int, str] = field(default_factory=dict)  # by position: below the archive's folder


class Index:
    """Files instances. Safe for several threads and processes, on any number of machines that share the archive."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        home, storage = settings.paths, settings.storage
        self.engine = engine
        strict = storage.durability == "strict"
        self.archive = Archive(home.media, storage.layout, strict=strict, reserve_bytes=storage.reserve_bytes)
        self.quarantine = Quarantine(home.quarantine)
        self._policy = storage.conflict
        self._tell = settings.notifications.enabled  # there is a notifier

    def relative(self, filing: Filing) -> str:
        """Where it belongs, below the archive's folder."""
        return self.archive.relative(filing.slug, filing.study_uid, filing.series_uid, filing.instance_uid)

    def owns(self, relative: str, filing: Filing) -> bool:
        """Whether the row of this SOP Instance UID says that its file lies there."""
        with reading(self.engine) as connection:
            return relative in connection.scalars(
                select(Instance.path)
                .join(Facility, Facility.id == Instance.facility_id)
                .where(Facility.slug == filing.slug, Instance.sop_instance_uid == filing.instance_uid)
            )

    def file_batch(self, filings: Sequence[Filing], *, policy: str | None = None) -> list[Outcome]:
        """File all of them; the outcomes in the same order.

        Parameters
        ----------
        policy
            "keep" or "replace", for this batch, whatever the facilities have.

        Raises
        ------
        ArchiveFullError
            There is no room for one facility; nothing is filed.
        OSError, StorageError
            The archive cannot be written; nothing is in the index that is not in the archive.
        sqlalchemy.exc.SQLAlchemyError
            The database is away, or refuses a row.
        """
        outcomes: dict[int, Outcome] = {}
        left = list(enumerate(filings))
        while left:  # more than once where one SOP Instance UID comes with several contents
            decided = self._once(left, policy)
            outcomes |= decided
            left = [(position, filing) for position, filing in left if position not in decided]
        return [outcomes[position] for position in range(len(filings))]

    def _once(self, batch: list[tuple[int, Filing]], policy: str | None) -> dict[int, Outcome]:
        gone: dict[int, Outcome] = {}

        def attempt(books: Books) -> dict[int, Outcome]:
            return self._file(books, [each for each in batch if each[0] not in gone], policy)

        while True:
            try:
                return gone | self.transaction(attempt)
            except _LeftOut as error:
                gone[error.position] = error.outcome

    def transaction(self, work: Callable[[Books], _T]) -> _T:
        """Run `work` in a transaction, again when another one was in its way."""
        for attempt in range(_TRIES):
            try:
                with self.engine.begin() as connection:
                    return work(Books(connection))
            except Raced:
                if attempt == _TRIES - 1:
                    raise
            except DBAPIError as error:
                if attempt == _TRIES - 1 or not _is_race(error):
                    raise
            time.sleep(random.uniform(0.001, 0.01) * (attempt + 1))  # so that the two do not meet again
        raise AssertionError("not reached")

    # -- one transaction

    def _file(self, books: Books, batch: list[tuple[int, Filing]], policy: str | None) -> dict[int, Outcome]:
        facilities = books.facilities({filing.slug for _, filing in batch})
        work = _Work(books, Placing(self.archive), facilities)
        groups: dict[InstanceKey, list[tuple[int, Filing]]] = {}
        for position, filing in batch:
            if filing.slug in facilities:
                groups.setdefault((facilities[filing.slug].id, filing.instance_uid), []).append((position, filing))
            else:
                work.outcomes[position] = Outcome.UNKNOWN_FACILITY
        filed = books.filed(groups)
        if filed and self._anything_to_replace(groups, filed, facilities, policy):
            filed = books.filed(groups, lock=True)
        for key, group in groups.items():
            self._decide(work, group, filed.get(key), policy)
        if work.new:
            try:
                self._write(work)
            finally:
                work.placing.close()
        return work.outcomes

    def _anything_to_replace(
        self,
        groups: dict[InstanceKey, list[tuple[int, Filing]]],
        filed: dict[InstanceKey, FiledRow],
        facilities: dict[str, FacilityRow],
        policy: str | None,
    ) -> bool:
        return any(
            self._decision(filing, row, facilities[filing.slug], policy) in (Outcome.REPLACED, Outcome.RESTORED)
            for key, row in filed.items()
            for _, filing in groups[key]
        )

    def _decide(self, work: _Work, group: list[tuple[int, Filing]], row: FiledRow | None, policy: str | None) -> None:
        """The outcome of all that have one SOP Instance UID; what depends on a change of this round is left over."""
        taker: Filing | None = None
        for position, filing in group:
            if taker is not None:
                if (filing.sha256, filing.transfer_syntax_uid) == (taker.sha256, taker.transfer_syntax_uid):
                    work.outcomes[position] = Outcome.DUPLICATE
                continue
            outcome = Outcome.FILED
            if row is not None:
                outcome = self._decision(filing, row, work.facilities[filing.slug], policy)
                if outcome in (Outcome.REPLACED, Outcome.RESTORED):
                    work.replaced[position] = row
            work.outcomes[position] = outcome
            if outcome in (Outcome.FILED, Outcome.REPLACED, Outcome.RESTORED):
                taker = filing
                work.new.append((position, filing))

    def _decision(self, filing: Filing, row: FiledRow, facility: FacilityRow, policy: str | None) -> Outcome:
        if not self.archive.has_facility(filing.slug):
            raise StorageError(f"the archive has no folder {filing.slug}, though instances are filed in it")
        path = self.archive.path(row.path)
        try:
            size: int | None = path.stat().st_size
        except FileNotFoundError:
            size = None
        same = (filing.sha256, filing.transfer_syntax_uid) == (row.sha256, row.transfer_syntax_uid)
        if same and size == row.bytes:
            return Outcome.DUPLICATE
        if filing.slot:
            return Outcome.EJECT
        if same:
            return Outcome.RESTORED
        replaces = policy == "replace"
        if policy is None and (facility.conflict or self._policy) == "replace":
            # One that came earlier has been replaced before, and is met again after a power cut.
            replaces = filing.received_at >= row.received_at
        if replaces or size is None or same_content(filing.source, path):
            return Outcome.REPLACED
        return Outcome.CONFLICT

    def _write(self, work: _Work) -> None:
        """Rows, then files, then counts; the commit follows."""
        self._add_rows(work)
        for position, filing in work.new:
            self._place(work, position, filing)
        work.placing.sync()
        work.books.close()
        self._note_late(work)

    def enter(self, books: Books, facility_id: int, filings: Sequence[Filing]) -> None:
        """Rows for files that lie in their place already, in a transaction of the caller's."""
        facilities = {filing.slug: FacilityRow(facility_id, filing.slug, None, None) for filing in filings}
        work = _Work(books, Placing(self.archive), facilities, new=list(enumerate(filings)))
        self._add_rows(work, where_they_lie=True)
        books.close()

    def _add_rows(self, work: _Work, *, where_they_lie: bool = False) -> None:
        books, removed = work.books, list(work.replaced.values())
        studies: dict[StudyKey, dict[str, Any]] = {}
        for _, filing in work.new:
            key = (work.facilities[filing.slug].id, filing.study_uid)
            if key not in studies:
                studies[key] = study_row(key[0], filing)
        books.open_studies(studies, [(row.facility_id, row.study_instance_uid) for row in removed])
        series: dict[SeriesKey, dict[str, Any]] = {}
        places: list[SeriesKey] = []
        for _, filing in work.new:
            study = books.studies[work.facilities[filing.slug].id, filing.study_uid]
            places.append((study.id, filing.series_uid))
            if places[-1] not in series:
                series[places[-1]] = series_row(study.id, filing)
        books.open_series(series, [(row.study_id, row.series_instance_uid) for row in removed])
        for row in removed:
            books.remove(row)
        rows = []
        for (position, filing), place in zip(work.new, places, strict=True):
            facility_id = work.facilities[filing.slug].id
            path = str(filing.source.relative_to(self.archive.root)) if where_they_lie else self.relative(filing)
            work.places[position] = path
            rows.append(instance_row(facility_id, books.series[place].id, path, filing))
            study = books.studies[facility_id, filing.study_uid]
            known = work.outcomes.get(position) == Outcome.RESTORED
            books.add(study, books.series[place], filing.bytes, filing.received_at, known=known)
        books.insert_instances(rows)

    def _place(self, work: _Work, position: int, filing: Filing) -> None:
        relative = work.places[position]
        if filing.slot:
            self._copy_slot(work, position, filing, relative)
            return
        row = work.replaced.get(position)
        try:
            if row is not None:
                self._clear(filing, row, relative)
            work.placing.put(filing.source, relative, lambda path: self._displace(filing, path))
        except SourceGoneError:
            raise _LeftOut(position, Outcome.GONE) from None
        if row is not None and work.outcomes[position] == Outcome.RESTORED:
            work.books.event(row.facility_id, ACTOR, "instance.restored", row.sop_instance_uid, path=relative)

    def _copy_slot(self, work: _Work, position: int, filing: Filing, relative: str) -> None:
        try:
            work.placing.copy(relative, lambda target: slots.copy(filing.source, filing.slot, filing.meta, target))
        except FileExistsError:
            raise _LeftOut(position, Outcome.EJECT) from None
        except slots.SlotGoneError:
            raise _LeftOut(position, Outcome.GONE) from None
        except FileNotFoundError:
            if filing.source.exists():
                raise
            raise _LeftOut(position, Outcome.GONE) from None

    def _clear(self, filing: Filing, row: FiledRow, relative: str) -> None:
        """Move the older file out of the place, unless it is the newcomer's own."""
        if not filing.source.exists():
            raise SourceGoneError(filing.source.name)
        path = self.archive.path(row.path)
        if path.exists() and not same_content(filing.source, path):
            self._displace(filing, path, row)
        if row.path != relative:
            self.archive.remove(row.path)

    def _displace(self, filing: Filing, path: Path, row: FiledRow | None = None) -> None:
        """Set aside a file that is in the way: never thrown away, whatever the cap."""
        note = Note(
            reason=Reason.CONFLICT,
            detail="replaced by another instance with its SOP Instance UID"
            if row is not None
            else "lay in the archive without a row in the index, in the place of another instance",
            sop_class_uid=row.sop_class_uid if row else "",
            sop_instance_uid=filing.instance_uid,
            study_instance_uid=row.study_instance_uid if row else "",
            calling=row.calling_ae_title if row else "",
            called=row.called_ae_title if row else "",
            address=row.peer_address if row else "",
            received_at=(row.received_at if row else datetime.fromtimestamp(path.stat().st_mtime, UTC)).isoformat(),
        )
        name = quarantine_name(*identity(path))  # which may be none of ours: damaged, or put there by hand
        self.quarantine.keep(path, filing.slug, note, cap=NO_CAP, name=name)
        log.warning("instance.set_aside", facility=filing.slug, name=name, detail=note.detail)

    def _note_late(self, work: _Work) -> None:
        for (facility_id, uid), study in work.books.studies.items():
            if study.reopened and study.instances:
                work.books.event(
                    facility_id, ACTOR, "study.late", uid, instances=study.reopened, late_instances=study.late_instances
                )
                if self._tell:
                    counts = (study.reopened, study.late_instances)
                    notices.study_late(work.books.connection, facility_id, study.id, uid, *counts)
                log.warning("study.late", study=uid, instances=study.reopened)


class _LeftOut(Exception):
    """The filing at this position cannot be part of this transaction, and what becomes of it instead."""

    def __init__(self, position: int, outcome: Outcome) -> None:
        super().__init__(position, outcome)
        self.position = position
        self.outcome = outcome


def quarantine_name(sha256: str, transfer_syntax_uid: str) -> str:
    """The name of a conflicting instance in quarantine: the same content always gets the same, so nothing piles up."""
    return f"{sha256[:32]}-{hashlib.sha256(transfer_syntax_uid.encode()).hexdigest()[:8]}.dcm"


def is_outage(error: BaseException) -> bool:
    """Whether the database or the disk is away, as against one instance that cannot be filed.

    A row that is refused for what is in it, a value too large for an index among them, is no outage.
    """
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        kind = type(error).__name__
        if (
            error.connection_invalidated
            or is_damaged(error)
            or kind in ("InterfaceError", "ProgrammingError", "InternalError")
        ):
            return True
        return kind == "OperationalError" and not state.startswith(("22", "54"))
    if isinstance(error, OSError):
        return error.errno in _DISK_AWAY
    if isinstance(error, StorageError):
        return error.__cause__ is not None and is_outage(error.__cause__)
    if isinstance(error, DatabaseError):
        return True
    return type(error).__name__ == "TimeoutError" and type(error).__module__.startswith("sqlalchemy")


_DISK_AWAY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


def _is_race(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _RACES
    text = str(error.orig)
    return "UNIQUE constraint" in text or "FOREIGN KEY constraint" in text
