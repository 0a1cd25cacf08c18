"""Imports: files from a folder tree, a DICOMDIR or one by one, into the facility's spool like what comes by network.

Takes paths; promises that each data set's bytes are spooled as they are, behind a file meta of ours that tells of the
data set's own UIDs. Refuses nothing: what is no DICOM is skipped with a reason, and so is what a DICOMDIR names outside
its folder. Interrupted and run again, what was taken before is a duplicate and changes nothing.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noctis.config import Settings
from noctis.errors import UsageError
from noctis.facilities.naming import IMPORTING
from noctis.importing.sources import SkippedError, examine, referenced_files
from noctis.repository.filemeta import Origin
from noctis.repository.header import HeaderError, read_header
from noctis.repository.spool import Spool

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from noctis.supervisor.control import Control

PATIENCE_SECONDS = 30.0  # without any progress of the archiver: then it is left to it
CLOCK_STEP = timedelta(milliseconds=10)  # files' times lag behind the clock by less
_CHUNK = 1 << 20
_WAIT_SECONDS = 0.1
_UIDS_AT_ONCE = 500  # of a query

Progress = Callable[[int, int], None]  # done, total


@dataclass
class ImportResult:
    """What an import did. Every instance that was taken is imported, a duplicate, set aside, or still waiting."""

    spooled: int = 0
    bytes: int = 0
    imported: int = 0  # new in archive and index
    duplicates: int = 0  # the same bytes were filed before, or came twice
    quarantined: int = 0  # conflicts, and what could not be filed
    waiting: int = 0  # in the spool, for the archiver
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path, why

    def as_json(self) -> dict[str, Any]:
        skipped = [{"path": path, "reason": reason} for path, reason in self.skipped]
        return {**vars(self), "skipped": skipped}


class Importer:
    """One import into one facility: `find`, `spool`, `file`, `count`."""

    def __init__(self, settings: Settings, slug: str, ae_title: str) -> None:
        self._settings = settings
        self._slug = slug
        self._origin = Origin(calling=IMPORTING, called=ae_title)
        self._begun = datetime.now(UTC) - CLOCK_STEP
        self._entries: set[str] = set()  # names of what was taken and may still wait
        self._taken: Counter[tuple[str, str]] = Counter()  # SOP Instance UID, digest of the data set
        self.result = ImportResult()

    def find(self, paths: Sequence[Path]) -> list[Path]:
        """Every file to look at, each once.

        Raises
        ------
        UsageError
            A path does not exist.
        """
        found: dict[Path, None] = {}
        for path in paths:
            path = path.expanduser().absolute()
            if os.path.isdir(path):
                found |= dict.fromkeys(sorted(self._walk(path)))
            elif os.path.isfile(path):
                found |= dict.fromkeys(self._named(path))
            else:
                raise UsageError(f"there is no file or folder {path}")
        return list(found)

    def _walk(self, folder: Path) -> Iterator[Path]:
        def unreadable(error: OSError) -> None:
            self.result.skipped.append((str(error.filename), error.strerror or "cannot be read"))

        for root, folders, names in os.walk(folder, onerror=unreadable):
            linked = [name for name in folders if os.path.islink(os.path.join(root, name))]  # not gone into
            for name in (*linked, *names):
                path = Path(root, name)
                if path.is_symlink():
                    self.result.skipped.append((str(path), "a symbolic link"))
                elif path.is_file():
                    yield path
                else:
                    self.result.skipped.append((str(path), "no regular file"))

    def _named(self, path: Path) -> list[Path]:
        listed = referenced_files(path) if path.name.upper().startswith("DICOMDIR") else None
        if listed is None:
            return [path]
        files, skipped = listed
        self.result.skipped += skipped
        return files

    def spool(self, files: Sequence[Path], progress: Progress) -> None:
        """Take every file into the spool.

        Raises
        ------
        SpoolFullError
            Free space is below the reserve; what was taken stays taken.
        """
        storage = self._settings.storage
        target = Spool(
            self._settings.paths.spool,
            self._slug,
            strict=storage.durability == "strict",
            reserve_bytes=storage.reserve_bytes,
        )
        try:
            for number, path in enumerate(files):
                progress(number, len(files))
                try:
                    self._take(target, path)
                except (SkippedError, HeaderError, OSError) as error:
                    self.result.skipped.append((str(path), getattr(error, "strerror", None) or str(error)))
            progress(len(files), len(files))
        finally:
            target.close()

    def _take(self, target: Spool, path: Path) -> None:
        source = examine(path)
        with path.open("rb") as opened:
            header = read_header(opened.fileno(), source.start, source.transfer_syntax)
            if header.missing_uids:
                raise SkippedError(f"no {header.missing_uids}")
            file = target.receive(
                header.sop_class_uid.encode("latin-1", "replace"),
                header.sop_instance_uid.encode("latin-1", "replace"),
                source.transfer_syntax,
                self._origin,
            )
            try:
                opened.seek(source.start)
                while piece := opened.read(_CHUNK):
                    file.write(piece)
            except BaseException:
                file.discard()
                raise
        size, sha256 = file.size, file.sha256
        self._entries.add(file.commit().name)
        self._taken[header.sop_instance_uid, sha256] += 1
        self.result.bytes += size
        self.result.spooled += 1

    def file(self, engine: "Engine", control: "Control", progress: Progress) -> None:
        """Have what was spooled filed: by the running archiver, or by ourselves where no supervisor runs."""
        total = len(self._entries)
        waiting, moved_at = total, time.monotonic()
        while control.is_running():
            left = self._waiting()
            if left < waiting:
                waiting, moved_at = left, time.monotonic()
            progress(total - waiting, total)
            if not waiting or time.monotonic() - moved_at > PATIENCE_SECONDS:
                return
            time.sleep(_WAIT_SECONDS)
        from noctis.archiver.filing import file_spool_once

        file_spool_once(self._settings, engine=engine, progress=lambda _done: progress(total - self._waiting(), total))

    def _waiting(self) -> int:
        """How many of ours the archiver has not filed yet."""
        folder = self._settings.paths.spool / self._slug / "new"
        self._entries &= {entry.name for entry in os.scandir(folder)}
        return len(self._entries)

    def count(self, engine: "Engine") -> None:
        """Tell what became of what was taken, from what the index says now."""
        from noctis.repository.index_values import bounded
        from noctis.repository.queries import filed_instances

        result = self.result
        result.waiting = self._waiting() if self._entries else 0
        uids = sorted({uid for uid, _ in self._taken})
        for start in range(0, len(uids), _UIDS_AT_ONCE):
            some = {bounded(uid): uid for uid in uids[start : start + _UIDS_AT_ONCE]}
            for stored, sha256, received_at in filed_instances(engine, self._slug, list(some)):
                times = self._taken[some[stored], sha256]
                new = min(times, 1) if received_at >= self._begun else 0
                result.imported += new
                result.duplicates += times - new
        result.quarantined = max(0, result.spooled - result.waiting - result.imported - result.duplicates)
