"""Out of quarantine: release files an instance after all, discard throws it away. Both leave an event with the actor.

Takes the facility's slug and the file's name as `quarantine list` shows them. It is filed in its own facility, or in
another one that is named: whoever does that knows that it came in at the wrong door. A released instance goes through
filing like any other: a conflict stays in quarantine unless it shall replace what is filed, and then the older one goes
into quarantine in its stead. An instance whose UIDs differed from the command's is filed by those of its data set; its
file meta is written anew, the data set stays bit for bit. What cannot be read, or has no Study, Series or SOP Instance
UID, cannot be filed as it is, and the message says so. Interrupted and done again, both end the same; and what a
release that was killed had begun in the archive is finished by the archiver, as the instance has a name in the spool
meanwhile. Into which facility a release was begun stands in the note, so that none is begun into a second one: an
instance belongs to one facility alone.
"""

import contextlib
import getpass
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine, insert, select

from noctis.config import Settings
from noctis.db.engine import reachable, reading
from noctis.errors import ConflictError, NotFoundError, StorageError
from noctis.facilities.naming import is_slug
from noctis.repository import filemeta, quarantine_rows
from noctis.repository.header import Header, HeaderError, read_header
from noctis.repository.index import Index, Outcome
from noctis.repository.index_statements import EVENT, FACILITY
from noctis.repository.index_values import Filing, file_time
from noctis.repository.quarantine import Note, Quarantine, read_note, taken, write_note
from noctis.repository.spool_entries import NO_LINK, entry_name, sync_folder

log = structlog.get_logger()

_NOT_BEGUN = (Outcome.CONFLICT, Outcome.GONE, Outcome.UNKNOWN_FACILITY)  # nothing of it is in the archive


class NotFilableError(StorageError):
    """The instance cannot be filed as it is, whatever is done here."""


@dataclass(frozen=True)
class Released:
    """What became of a released instance."""

    outcome: Outcome  # FILED, REPLACED, or DUPLICATE: the same bytes were filed already
    path: str  # below the archive's folder


def release(
    settings: Settings,
    engine: Engine,
    facility: str,
    name: str,
    *,
    replace: bool = False,
    into: str | None = None,
    actor: str | None = None,
) -> Released:
    """File a quarantined instance.

    Parameters
    ----------
    facility
        The slug.
    replace
        Take the place of what is filed under the same SOP Instance UID; that one goes into quarantine.
    into
        The slug of another facility: file it there. None: in its own.

    Raises
    ------
    NotFoundError
        There is no such facility or file.
    ConflictError
        Other bytes are filed under its SOP Instance UID, and `replace` was not said; or a release into another
        facility has been begun.
    NotFilableError
        It cannot be filed as it is.
    StorageError
        Archive, spool or quarantine cannot take it now.
    DatabaseError
        The index cannot be reached; the instance is still in quarantine.
    """
    index = Index(engine, settings)
    facility_id, path = _find(engine, index.quarantine, facility, name)
    target = into or facility
    taker = None if target == facility else _facility_id(engine, target, live=True)
    moved = {} if taker is None else {"into": target}
    with _held(path, facility):
        outcome, relative = _file(index, settings, path, facility, target, replace)
        if outcome is Outcome.CONFLICT:
            other = f" --into {target}" if moved else ""
            raise ConflictError(
                f"another instance with the SOP Instance UID of {name} is filed in {target}",
                fix=f"noctis quarantine release {facility} {name}{other} --replace   "
                "(the one filed now goes into quarantine)",
            )
        if outcome in _NOT_BEGUN:
            raise NotFoundError(f"{name} was taken out of the quarantine of {facility} a moment ago")
        gone = _Gone(facility, facility_id, name, actor or _user())
        _forget(engine, index.quarantine, gone, "released", taker, outcome=str(outcome), **moved)
    if outcome is Outcome.REPLACED:
        quarantine_rows.sync(engine, index.quarantine)
    log.info("quarantine.released", facility=facility, name=name, outcome=str(outcome), **moved)
    return Released(outcome, relative)


def _file(
    index: Index, settings: Settings, path: Path, facility: str, target: str, replace: bool
) -> tuple[Outcome, str]:
    before = _intend(path, facility, target)
    begun = False
    try:
        with _filable(path, facility, target) as filing, _spooled(settings, filing), reachable(index.engine):
            begun = True
            (outcome,) = index.file_batch([filing], policy="replace" if replace else "keep")
            begun = outcome not in _NOT_BEGUN
            return outcome, index.relative(filing)
    finally:
        if not begun:
            _take_back(path, before)


def discard(settings: Settings, engine: Engine, facility: str, name: str, *, actor: str | None = None) -> None:
    """Throw a quarantined instance away for good.

    Raises
    ------
    NotFoundError
        There is no such facility or file.
    DatabaseError
        The index cannot be reached; the instance is still there.
    """
    quarantine = Quarantine(settings.paths.quarantine)
    facility_id, path = _find(engine, quarantine, facility, name)
    with _held(path, facility):
        _forget(engine, quarantine, _Gone(facility, facility_id, name, actor or _user()), "discarded")
    log.info("quarantine.discarded", facility=facility, name=name)


def _find(engine: Engine, quarantine: Quarantine, facility: str, name: str) -> tuple[int, Path]:
    facility_id = _facility_id(engine, facility)
    if not quarantine.has(facility, name):
        raise _not_there(facility, name)
    return facility_id, quarantine.folder(facility) / name


def _not_there(facility: str, name: str) -> NotFoundError:
    return NotFoundError(
        f"the quarantine of {facility} has no {name!r}", fix=f"noctis quarantine list --facility {facility}"
    )


def _facility_id(engine: Engine, slug: str, *, live: bool = False) -> int:
    query = select(FACILITY.c.id).where(FACILITY.c.slug == slug)
    if live:
        query = query.where(FACILITY.c.removed_at.is_(None))
    with reading(engine) as connection:
        found = connection.scalar(query) if is_slug(slug) else None
    if found is None:
        raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
    return int(found)


@contextlib.contextmanager
def _held(path: Path, facility: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(taken(path))
        except FileNotFoundError:
            raise _not_there(facility, path.name) from None
        except OSError as error:
            raise StorageError(f"{path.name} cannot be read: {error.strerror}") from error
        yield


def _intend(path: Path, facility: str, target: str) -> Note:
    """Write down where it shall be filed; the note as it was."""
    note = read_note(path)
    if note.into not in ("", target):
        other = f" --into {note.into}" if note.into != facility else ""
        raise ConflictError(
            f"a release of {path.name} into {note.into} has been begun and must be finished",
            fix=f"noctis quarantine release {facility} {path.name}{other}",
        )
    if note.into != target:
        try:
            write_note(path, changed(note, into=target))
        except OSError as error:
            raise StorageError(f"the quarantine cannot be written: {error.strerror}") from error
    return note


def _take_back(path: Path, note: Note) -> None:
    """Nothing was begun after all. What an earlier try has begun stays written down."""
    with contextlib.suppress(OSError):
        if not note.into and path.exists():
            write_note(path, note)


@dataclass(frozen=True)
class _Gone:
    """What leaves the quarantine, and by whom."""

    facility: str
    facility_id: int
    name: str
    actor: str


def _forget(
    engine: Engine, quarantine: Quarantine, gone: _Gone, action: str, taker: int | None = None, **detail: Any
) -> None:
    """Row and file go, the event comes. The file goes just before the commit: the row follows it, whatever happens.

    Parameters
    ----------
    taker
        The id of another facility that has it from now on, and an event of its own.
    """
    note = read_note(quarantine.folder(gone.facility) / gone.name)
    detail |= {"reason": str(note.reason), "sop_instance_uid": note.sop_instance_uid.replace("\0", "\ufffd")}
    if note.study_instance_uid:
        detail["study_instance_uid"] = note.study_instance_uid.replace("\0", "\ufffd")
    common = {"actor": gone.actor, "subject": gone.name}
    events = [{"action": f"quarantine.{action}", "facility_id": gone.facility_id, "detail": detail} | common]
    if taker is not None:
        told = {"from": gone.facility, **{key: value for key, value in detail.items() if key != "into"}}
        events.append({"action": "quarantine.taken_over", "facility_id": taker, "detail": told} | common)
    with reachable(engine), engine.begin() as connection:
        quarantine_rows.forget(connection, gone.facility_id, gone.name)
        connection.execute(insert(EVENT), events)
        quarantine.discard(gone.facility, gone.name)


@contextlib.contextmanager
def _filable(path: Path, facility: str, target: str) -> Iterator[Filing]:
    """The quarantined file as something that can be filed, its file meta mended where that tells of other UIDs."""
    try:
        with path.open("rb") as file:
            meta = filemeta.read(file.fileno())
            header = read_header(file.fileno(), meta.dataset_start, meta.transfer_syntax_uid)
            file.seek(meta.dataset_start)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (HeaderError, StorageError) as error:
        raise NotFilableError(
            f"{path.name} cannot be filed: {error}", fix=f"mend a copy of {path}, then: noctis import {facility} COPY"
        ) from error
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror}") from error
    if header.missing_uids:
        raise NotFilableError(
            f"{path.name} cannot be filed: its data set has no {header.missing_uids}",
            fix=f"mend a copy of {path}, then: noctis import {facility} COPY",
        )
    told = (meta.sop_class_uid, meta.sop_instance_uid)
    source = path
    if told != (header.sop_class_uid, header.sop_instance_uid) or meta.record is None:
        source = path.with_suffix(".release")
        meta = _mend(path, source, meta, header, sha256)
    try:
        status = source.stat()
        yield Filing(target, source, meta, header, sha256, status.st_size, file_time(status.st_mtime_ns))
    finally:
        if source != path:
            with contextlib.suppress(FileNotFoundError):
                source.unlink()


@contextlib.contextmanager
def _spooled(settings: Settings, filing: Filing) -> Iterator[None]:
    """While the block runs its instance waits in the spool too: killed in the middle, it is filed by the archiver.

    The name stays when the block raises, as the archive may have been changed. Without hard links there is none.
    """
    folder = settings.paths.spool / filing.slug / "new"
    entry = folder / entry_name(filing.source.stat().st_mtime_ns)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.link(filing.source, entry)
        sync_folder(folder)
    except OSError as error:
        if error.errno not in NO_LINK:
            entry.unlink(missing_ok=True)
            raise StorageError(f"the spool cannot be written: {error.strerror}") from error
    yield
    entry.unlink(missing_ok=True)


def _mend(path: Path, target: Path, meta: filemeta.FileMeta, header: Header, sha256: str) -> filemeta.FileMeta:
    """Write `target`: the data set of `path` with a file meta that tells of the data set's own UIDs."""
    head = filemeta.encode(
        (header.sop_class_uid or meta.sop_class_uid).encode("latin-1", "replace"),
        header.sop_instance_uid.encode("latin-1", "replace"),
        meta.transfer_syntax_uid,
        meta.origin,
        meta.flags,
    )
    try:
        status = path.stat()
        target.unlink(missing_ok=True)  # an interrupted try left it, and the archive may have a link to it
        with path.open("rb") as reader, target.open("x+b") as writer:
            os.fchmod(writer.fileno(), 0o600)
            writer.write(head.encoded)
            reader.seek(meta.dataset_start)
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            length = writer.tell() - len(head.encoded)
            os.pwrite(writer.fileno(), head.record(sha256, length), head.record_at)
            os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(writer.fileno())
            return filemeta.read(writer.fileno())
    except OSError as error:
        raise StorageError(f"{path.name} cannot be rewritten: {error.strerror}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
