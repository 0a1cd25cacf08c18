"""The filer: takes spool entries, files them, and gives back what became of each.

A batch goes into archive and index in one transaction; only then its spool entries go. What cannot be filed moves to
quarantine with its reason; what cannot be filed now (unknown facility, unreadable, archive not there) stays in the
spool and is reported as held, and so do a facility's entries where the disk of its archive is full. One instance that
upsets the rest is found by halving the batch. Nothing is deleted but a spool entry whose content is filed. Raises only
when the database or the disk is away: then everything stays.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import structlog
from sqlalchemy import Engine, select

from noctis.archiver.intake import NO_META, Rejected, examine, reject
from noctis.config import Settings
from noctis.db.engine import make_engine, reachable, reading
from noctis.db.migrate import require_current
from noctis.db.models import Facility
from noctis.errors import StorageError
from noctis.repository import quarantine_rows, slots
from noctis.repository.content import identity
from noctis.repository.hints import Hint
from noctis.repository.index import ACTOR, NO_CAP, Index, Outcome, is_outage, quarantine_name
from noctis.repository.index_values import Filing
from noctis.repository.quarantine import QuarantineFullError, Reason
from noctis.repository.room import ArchiveFullError
from noctis.repository.spool import SpoolEntry
from noctis.repository.usage import NONE, Usage

log = structlog.get_logger()


class Result(StrEnum):
    """What became of one spool entry."""

    FILED = "filed"
    DUPLICATE = "duplicate"
    REPLACED = "replaced"  # filed in the place of other bytes, which are in quarantine
    CONFLICT = "conflict"  # in quarantine: other bytes are filed
    QUARANTINED = "quarantined"  # for another reason
    GONE = "gone"  # somebody else has filed it
    HELD = "held"  # still in the spool: it cannot be filed now
    UNKNOWN_FACILITY = "unknown-facility"  # still in the spool: no row has its slug
    NO_ROOM = "no-room"  # still in the spool: the file system of its facility's archive is (nearly) full


_RESULTS = {
    Outcome.FILED: Result.FILED,
    Outcome.RESTORED: Result.FILED,
    Outcome.REPLACED: Result.REPLACED,
    Outcome.DUPLICATE: Result.DUPLICATE,
    Outcome.GONE: Result.GONE,
    Outcome.UNKNOWN_FACILITY: Result.UNKNOWN_FACILITY,
}


@dataclass
class Batch:
    """What became of one batch, entry by entry."""

    results: dict[SpoolEntry, Result] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)  # files that were filed or replaced another, by slug
    errors: list[str] = field(default_factory=list)  # of what is held; no patient's data
    full: dict[str, ArchiveFullError] = field(default_factory=dict)  # by slug

    def count(self, *results: Result) -> int:
        return sum(each in results for each in self.results.values())


class Filer:
    """Files batches of spool entries. One thread at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._index = Index(engine, settings)
        self._quarantine = self._index.quarantine

    def clear_incoming(self) -> None:
        """Remove what an archiver that was killed had begun to write into the archive."""
        self._index.archive.clear_incoming()

    def file(self, entries: Iterable[tuple[SpoolEntry, Hint | None]]) -> Batch:
        """File a batch.

        Raises
        ------
        DatabaseError, StorageError, OSError
            The database or the disk is away; what is not filed is still in the spool.
        """
        batch = Batch()
        ejected = self._file_examined(entries, batch)
        if ejected:
            self._file_ejected(ejected, batch)
        with reachable(self._engine):
            if batch.count(Result.CONFLICT, Result.QUARANTINED, Result.REPLACED):
                quarantine_rows.sync(self._engine, self._quarantine, tell=self._settings.notifications.enabled)
        return batch

    def _file_examined(self, entries: Iterable[tuple[SpoolEntry, Hint | None]], batch: Batch) -> list[SpoolEntry]:
        """File, or set aside; those in slots that want a file of their own first are returned."""
        filings: list[tuple[SpoolEntry, Filing]] = []
        rejected: list[Rejected] = []
        ejected: list[SpoolEntry] = []
        entries = list(entries)
        self._look_for_room({entry.slug for entry, _ in entries}, batch)
        for entry, hint in entries:
            if entry.slug in batch.full:
                batch.results[entry] = Result.NO_ROOM
                continue
            examined = self._examine(entry, hint, batch)
            if isinstance(examined, Filing):
                filings.append((entry, examined))
            elif examined is not None:
                rejected.append(examined)
        with reachable(self._engine):
            self._file(filings, batch, rejected, ejected)
            for each in rejected:
                if each.entry.slot:
                    ejected.append(each.entry)
                else:
                    self._set_aside(each, batch)
        return ejected

    def _look_for_room(self, slugs: set[str], batch: Batch) -> None:
        """Once a facility; one that was full before in this batch is not looked at again."""
        for slug in slugs - batch.full.keys():
            try:
                self._index.archive.room.check(slug)
            except ArchiveFullError as error:
                batch.full[slug] = error

    def _file_ejected(self, entries: list[SpoolEntry], batch: Batch) -> None:
        """A slot is for what is plainly new: anything else gets a file of its own, and is filed from there."""
        moved: dict[SpoolEntry, SpoolEntry] = {}
        for entry in entries:
            own = slots.eject(self._settings.paths.spool, entry)
            if own is None:
                batch.results[entry] = Result.GONE
            else:
                moved[own] = entry
        self._file_examined([(own, None) for own in moved], batch)
        for own, entry in moved.items():
            batch.results[entry] = batch.results.pop(own)

    def _examine(self, entry: SpoolEntry, hint: Hint | None, batch: Batch) -> Filing | Rejected | None:
        try:
            examined = examine(entry, hint)
        except OSError as error:
            if is_outage(error):
                raise
            self._hold(entry, error, batch)
            return None
        except Exception as error:  # noqa: BLE001 - one entry must not block the others
            return _poison(entry, error)
        if examined is None:
            batch.results[entry] = Result.GONE
        return examined

    def _file(
        self,
        filings: list[tuple[SpoolEntry, Filing]],
        batch: Batch,
        rejected: list[Rejected],
        ejected: list[SpoolEntry],
    ) -> None:
        """File all, or, when something is wrong, each half by itself."""
        if not filings:
            return
        try:
            outcomes = self._index.file_batch([filing for _, filing in filings])
        except ArchiveFullError as error:
            batch.full[error.slug] = error
            for entry, filing in filings:
                if entry.slug == error.slug:
                    batch.results[entry] = Result.NO_ROOM
                    self._forget_stray(filing)
            self._file([each for each in filings if each[0].slug != error.slug], batch, rejected, ejected)
            return
        except Exception as error:
            if is_outage(error):
                raise
            if len(filings) > 1:
                half = len(filings) // 2
                self._file(filings[:half], batch, rejected, ejected)
                self._file(filings[half:], batch, rejected, ejected)
                return
            entry, filing = filings[0]
            if isinstance(error, OSError | StorageError):
                self._hold(entry, error, batch)
            elif filing.slot:
                ejected.append(entry)
            else:
                rejected.append(_poison(entry, error, filing))
                self._forget_stray(filing)
            return
        for (entry, filing), outcome in zip(filings, outcomes, strict=True):
            if outcome is Outcome.CONFLICT:
                rejected.append(
                    reject(
                        entry,
                        filing.meta,
                        filing.received_at,
                        Reason.CONFLICT,
                        "another instance with its SOP Instance UID is filed",
                        filing.study_uid,
                    )
                )
                self._forget_stray(filing)
                continue
            if outcome is Outcome.EJECT:
                ejected.append(entry)
                continue
            batch.results[entry] = _RESULTS[outcome]
            if outcome in (Outcome.FILED, Outcome.RESTORED, Outcome.REPLACED):
                batch.usage[entry.slug] = batch.usage.get(entry.slug, NONE).plus(Usage(1, filing.bytes))
            if outcome is not Outcome.UNKNOWN_FACILITY:
                _forget(entry, filing)

    def _forget_stray(self, filing: Filing) -> None:
        """An earlier, interrupted try may have put the file into the archive."""
        relative = self._index.relative(filing)
        if self._index.archive.path(relative).exists() and not self._index.owns(relative, filing):
            self._index.archive.forget(filing.source, relative)

    def _hold(self, entry: SpoolEntry, error: Exception, batch: Batch) -> None:
        batch.results[entry] = Result.HELD
        batch.errors.append(f"{entry.slug}/{entry.name}: {_say(error)}")
        log.error("archiver.held", facility=entry.slug, entry=entry.name, error=_say(error))

    def _set_aside(self, rejected: Rejected, batch: Batch) -> None:
        entry, note = rejected.entry, rejected.note
        conflict = note.reason is Reason.CONFLICT
        facility = self._facility(entry.slug)
        if facility is None:
            batch.results[entry] = Result.UNKNOWN_FACILITY
            return
        facility_id, cap = facility
        if cap is None:
            cap = self._settings.storage.quarantine_max_instances
        try:
            name = _content_name(entry.path, conflict=conflict)
            try:
                kept = self._quarantine.keep(entry.path, entry.slug, note, cap=cap, name=name)
            except QuarantineFullError:
                # It was acknowledged: never lost, whatever the cap.
                kept = self._quarantine.keep(entry.path, entry.slug, note, cap=NO_CAP, name=name)
                if quarantine_rows.note_over_cap(self._engine, facility_id, entry.slug, ACTOR, cap):
                    log.error("quarantine.over_cap", facility=entry.slug, cap=cap)
        except (StorageError, OSError) as error:
            if not entry.path.exists():
                batch.results[entry] = Result.GONE
                return
            if is_outage(error):
                raise
            self._hold(entry, error, batch)
            return
        batch.results[entry] = Result.CONFLICT if conflict else Result.QUARANTINED
        log.warning(
            "instance.quarantined", facility=entry.slug, reason=str(note.reason), detail=note.detail, name=kept.name
        )

    def _facility(self, slug: str) -> tuple[int, int | None] | None:
        with reading(self._engine) as connection:
            row = connection.execute(
                select(Facility.id, Facility.quarantine_max_instances).where(Facility.slug == slug)
            ).first()
        return None if row is None else (row.id, row.quarantine_max_instances)


def file_spool_once(
    settings: Settings, *, engine: Engine | None = None, progress: Callable[[int], None] | None = None
) -> Mapping[Result, int]:
    """File what is in the spool now, without a running archiver, and say how much became of what.

    May be called while one runs: what it files is counted as gone or as a duplicate here.

    Parameters
    ----------
    progress
        Called after each batch with the number of entries done so far.

    Raises
    ------
    DatabaseError
        The database cannot be used; the spool keeps everything.
    """
    own = make_engine(settings) if engine is None else engine
    totals = dict.fromkeys(Result, 0)
    try:
        require_current(own, settings.paths)
        filer = Filer(own, settings)
        filer.clear_incoming()
        waiting = list(slots.everything_waiting(settings.paths.spool))
        size = settings.archiver.batch_instances
        for start in range(0, len(waiting), size):
            batch = filer.file((entry, None) for entry in waiting[start : start + size])
            for result in batch.results.values():
                totals[result] += 1
            if progress is not None:
                progress(sum(totals.values()))
    finally:
        if engine is None:
            own.dispose()
    return totals


def _forget(entry: SpoolEntry, filing: Filing) -> None:
    """Its content is filed: the spool needs it no more."""
    if filing.slot:
        slots.clear(entry, filing.meta)
    else:
        with contextlib.suppress(FileNotFoundError):
            filing.source.unlink()


def _poison(entry: SpoolEntry, error: Exception, filing: Filing | None = None) -> Rejected:
    log.error("archiver.poison", facility=entry.slug, entry=entry.name, error=_say(error))
    meta, received_at = (filing.meta, filing.received_at) if filing else (NO_META, datetime.now(UTC))
    return reject(entry, meta, received_at, Reason.UNPARSEABLE, f"cannot be filed: {_say(error)}")


def _say(error: BaseException) -> str:
    """What went wrong, without any value of the data set: library messages may quote them."""
    if isinstance(error, StorageError):
        return error.message
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    origin = getattr(error, "orig", None)
    return f"{type(error).__name__}" + (f" ({type(origin).__name__})" if origin is not None else "")


def _content_name(path: Path, *, conflict: bool) -> str:
    """The name in quarantine: of the content, so that a redo or a re-send ends in the same file."""
    sha256, syntax = identity(path)
    return quarantine_name(sha256, syntax) if conflict else f"{sha256[:40]}.dcm"
