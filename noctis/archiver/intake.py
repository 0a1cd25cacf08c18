"""From a spool entry to a `Filing`: what the file and its hint say, checked against each other.

Takes entries as the scan or a hint names them. Gives a `Filing`, or a `Rejected` with the reason for quarantine, or
None when the entry is gone. A hint saves reading the header and the digest; one that does not fit the file's own
commit record is not believed.
"""

import os
from dataclasses import dataclass
from datetime import datetime

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.header import Header, HeaderError, read_header
from noctis.repository.hints import Hint
from noctis.repository.index_values import Filing, file_time
from noctis.repository.quarantine import Note, Reason
from noctis.repository.spool import digest
from noctis.repository.spool_entries import SpoolEntry

NO_META = filemeta.FileMeta("", "", "", filemeta.Origin(), 0)


@dataclass(frozen=True)
class Rejected:
    """An entry that cannot be filed."""

    entry: SpoolEntry
    note: Note


def examine(entry: SpoolEntry, hint: Hint | None = None) -> Filing | Rejected | None:
    """What `entry` is; None when it is gone.

    Raises
    ------
    OSError
        It cannot be read; it stays where it is.
    """
    try:
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _examine(entry, hint, descriptor)
    finally:
        os.close(descriptor)


def _examine(entry: SpoolEntry, hint: Hint | None, descriptor: int) -> Filing | Rejected | None:
    status = os.fstat(descriptor)
    received_at = file_time(status.st_mtime_ns)
    try:
        meta = filemeta.read(descriptor)
    except StorageError as error:
        if entry.slot:
            return None  # it is being written over
        return reject(entry, NO_META, received_at, Reason.UNPARSEABLE, error.message)
    record, length = meta.record, status.st_size - meta.dataset_start
    if entry.slot:
        if record is None or record.stamp != entry.slot:
            return None  # cleared, or another instance by now
        length = min(length, record.length)  # what lies behind it is of an earlier instance
    header: Header | None = None
    if hint is not None and record is not None and (hint.sha256, length) == (record.sha256, record.length):
        header, sha256 = hint.header, hint.sha256
    if header is None:
        sha256 = digest(descriptor, meta.dataset_start, length)
        if record is not None and (sha256, length) != (record.sha256, record.length):
            return reject(
                entry, meta, received_at, Reason.UNPARSEABLE, "the data set is not the one that was committed: damaged"
            )
        try:
            header = read_header(descriptor, meta.dataset_start, meta.transfer_syntax_uid, length=length)
        except HeaderError as error:
            return reject(entry, meta, received_at, Reason.UNPARSEABLE, f"cannot understand: {error}")
    if header.missing_uids:
        return reject(entry, meta, received_at, Reason.MISSING_UID, f"the data set has no {header.missing_uids}")
    return Filing(entry.slug, entry.path, meta, header, sha256, meta.dataset_start + length, received_at, entry.slot)


def reject(
    entry: SpoolEntry, meta: filemeta.FileMeta, received_at: datetime, reason: Reason, detail: str, study: str = ""
) -> Rejected:
    note = Note(
        reason=reason,
        detail=detail,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        study_instance_uid=study,
        calling=meta.origin.calling,
        called=meta.origin.called,
        address=meta.origin.address,
        received_at=received_at.isoformat(),
    )
    return Rejected(entry, note)
