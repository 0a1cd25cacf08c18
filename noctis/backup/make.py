"""`noctis backup`: one generation, while images flow. Nothing of the home is changed, locked or stopped.

Takes the settings, the database and a folder. Promises that everything acknowledged before the call is in the
generation (`intake` has the argument), that its index is of one moment, and that every row of it has its file, with
the digest that the row says; what cannot be had so is a problem in the result and in the manifest, and the rest goes
on. A file that the generation before has, by path, size and digest, is not read again. Interrupted at any moment it
leaves no generation, and what was copied is taken over by the next run. Memory does not grow with the archive.
"""

import contextlib
import errno
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from noctis import __version__
from noctis.backup import database, files, generations, intake
from noctis.config import Settings
from noctis.errors import StorageError
from noctis.receipts.document import folder_of
from noctis.repository.index import quarantine_name
from noctis.repository.journal import Journal
from noctis.repository.room import FULL

Progress = Callable[[int, int], None]  # files done, files in all

PROBLEMS_MAX = 10_000  # kept one by one; beyond it only counted
_BLOCK = 4096  # bytes that a file takes at least, and on average half of it more
_ROWS = """
    FROM main.instance AS i CROSS JOIN main.facility AS f ON f.id = i.facility_id
    LEFT JOIN {previous} AS p ON p.facility_id = i.facility_id AND p.sop_instance_uid = i.sop_instance_uid
        AND p.path = i.path AND p.sha256 = i.sha256 AND p.bytes = i.bytes
"""
_NONE = (
    "(SELECT NULL AS id, NULL AS facility_id, NULL AS sop_instance_uid, NULL AS path, NULL AS sha256, NULL AS bytes)"
)


@dataclass(frozen=True)
class Problem:
    """One file that is not in the generation as it should be."""

    kind: str  # missing | damaged | unreadable | spool
    path: str  # below the generation
    detail: str


@dataclass
class Result:
    """What was done."""

    generation: str = ""
    instances: int = 0
    copied: int = 0
    unchanged: int = 0  # shared with the generation before
    linked: int = 0  # shared with the archive itself
    bytes: int = 0  # copied
    spool: int = 0
    quarantine: int = 0
    receipts: int = 0
    seconds: float = 0.0
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def backup(
    settings: Settings,
    engine: Engine,
    folder: Path,
    *,
    config: Path | None = None,
    link: bool = False,
    keep: int | None = None,
    actor: str = "backup",
    progress: Progress | None = None,
) -> Result:
    """Make a generation in `folder`.

    Parameters
    ----------
    config
        The configuration file that is in force.
    link
        Share files with the archive by hard links instead of copying them.
    keep
        How many complete generations are left at the end; None: all.

    Raises
    ------
    UsageError, StorageError, DatabaseError
        There is no generation more than before.
    """
    home = settings.paths
    generations.require_usable(folder, {"home": home.root, "archive": home.media})
    if link and folder.stat().st_dev != home.media.stat().st_dev:
        raise StorageError(
            f"{folder} and the archive {home.media} are on different file systems", fix="leave out --link"
        )
    with generations.locked(folder):
        began = datetime.now(UTC)
        complete = generations.generations(folder)
        previous = complete[-1] if complete else None
        partial, left = generations.begin(folder, began)
        try:
            run = _Run(settings, engine, partial, previous, left, link, progress)
            with closing(run):
                run.everything(config)
            result = run.result
            result.seconds = round((datetime.now(UTC) - began).total_seconds(), 2)
            generation = generations.finish(partial, run.manifest(began))
        except NotEnoughRoomError:
            generations.remove(partial)
            raise
        except OSError as error:
            full = error.errno in FULL
            if full and partial.exists():
                generations.remove(partial)
            where = f" ({error.filename})" if error.filename else ""
            raise StorageError(
                f"the backup was not made: {error.strerror}{where}",
                fix=f"make room on the file system of {folder}: --keep N removes old generations" if full else None,
            ) from error
        result.generation = generation.name
        for path in left:
            generations.remove(path)
        if keep is not None:
            result.pruned = generations.prune(folder, keep)
    detail = {name: value for name, value in result.as_json().items() if name not in ("problems", "pruned")}
    Journal(home.journal, "backup").append(
        "event",
        at=datetime.now(UTC).isoformat(),
        actor=actor,
        action="backup.made",
        subject=str(generation)[:400],
        detail=detail,
    )
    return result


class NotEnoughRoomError(StorageError):
    """The generation would not find room."""


class _Run:
    """One backup under way."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        partial: Path,
        previous: Path | None,
        left: list[Path],
        link: bool,
        progress: Progress | None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._home = settings.paths
        self._partial = partial
        self._previous = previous
        self._left = left
        self._link = link
        self._progress = progress
        self._ledger = files.Ledger(partial / generations.LEDGER, partial)
        self.result = Result()

    def close(self) -> None:
        self._ledger.close()

    def everything(self, config: Path | None) -> None:
        """All steps. Their order is what keeps an instance from slipping through: see `intake`."""
        self._copy_settings(config)
        self._copy_spool()
        self._copy_quarantine()
        self._copy_database()
        self._copy_archive()
        self._copy_quarantine()
        self._copy_receipts()

    def manifest(self, began: datetime) -> dict[str, Any]:
        result = self.result
        return {
            "noctis": __version__,
            "began": began.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "home": str(self._home.root),
            "database": self._engine.dialect.name,
            "instances": result.instances,
            "spool": result.spool,
            "quarantine": result.quarantine,
            "receipts": result.receipts,
            "problem_count": result.problem_count,
            "problems": [asdict(each) for each in result.problems],
            "sha256": {
                name: files.sha256_of(self._partial / name) for name in (generations.DATABASE, generations.LEDGER)
            },
        }

    def _problem(self, kind: str, path: str, detail: str) -> None:
        self.result.problem_count += 1
        if len(self.result.problems) < PROBLEMS_MAX:
            self.result.problems.append(Problem(kind, path, detail))

    # -- the steps

    def _copy_settings(self, config: Path | None) -> None:
        """The configuration file, the settings that are in force, and the certificates and keys."""
        if config is not None:
            self._copy_small(config, self._partial / generations.CONFIG)
        document = self._settings.shown() | {"home": str(self._home.root)}
        path = self._partial / generations.SETTINGS
        with open(path, "x", encoding="utf-8") as file:
            json.dump(document, file, indent=1, ensure_ascii=False)
        with open(path, "rb", buffering=0) as written:
            self._ledger.add(path, files.digest(written.fileno()))
        tls = self._home.root / generations.TLS
        for folder, _, names in os.walk(tls):
            for name in names:
                source = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    self._copy_small(source, self._partial / generations.TLS / source.relative_to(tls))

    def _copy_small(self, source: Path, target: Path) -> None:
        with open(source, "rb", buffering=0) as file:
            self._ledger.add(target, files.copy(file.fileno(), target))

    def _copy_spool(self) -> None:
        self.result.spool = intake.copy_spool(self._home.spool, self._partial, self._ledger, self._problem)

    def _copy_quarantine(self) -> None:
        self.result.quarantine += intake.copy_quarantine(
            self._home.quarantine, self._partial, self._previous, self._ledger
        )

    def _copy_database(self) -> None:
        database.snapshot(self._engine, self._settings, self._partial / generations.DATABASE)

    def _copy_receipts(self) -> None:
        """After the database: a receipt's file is there before the row that tells of it."""
        folder = folder_of(self._settings)
        for source in folder.glob("*/[!.]*"):
            below = Path(generations.RECEIPTS) / source.relative_to(folder)
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                earlier = self._previous and self._previous / below
                files.copy_or_link(source, self._partial / below, earlier, self._ledger)
                self.result.receipts += 1

    def _copy_archive(self) -> None:
        before = self._previous and self._previous / generations.DATABASE
        with closing(self._open(before)) as rows:
            joined = _ROWS.format(previous="previous.instance" if _attached(rows) else _NONE)
            count, new, size = rows.execute(
                "SELECT count(*), count(CASE WHEN p.id IS NULL THEN 1 END), "
                f"sum(CASE WHEN p.id IS NULL THEN i.bytes ELSE 0 END) {joined}"
            ).fetchone()
            self._require_room((size or 0) + new * _BLOCK)
            found = rows.execute(
                f"SELECT f.slug, i.path, i.bytes, i.sha256, i.transfer_syntax_uid, p.id {joined} ORDER BY i.id"
            )
            for done, (slug, path, size, sha256, syntax, known) in enumerate(found, 1):
                self._copy_instance(slug, path, size, sha256, syntax, known=known is not None)
                if self._progress is not None:
                    self._progress(done, count)
            self.result.instances = count

    def _open(self, before: Path | None) -> sqlite3.Connection:
        path = self._partial / generations.DATABASE
        try:
            rows = database.open_snapshot(path, previous=before)
            if before is not None:
                rows.execute("SELECT id, path, sha256, bytes FROM previous.instance LIMIT 1").fetchone()
        except sqlite3.Error:  # the generation before is damaged: its files are copied anew
            return database.open_snapshot(path)
        return rows

    def _require_room(self, needed: int) -> None:
        """So much is to be copied; what an interrupted run has copied need not be once more."""
        if self._link:
            return
        for left in self._left:
            for folder, _, names in os.walk(left / generations.ARCHIVE):
                with contextlib.suppress(FileNotFoundError):
                    needed -= sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        found = os.statvfs(self._partial)
        free = found.f_bavail * found.f_frsize
        if free < needed:
            raise NotEnoughRoomError(
                f"the backup needs {needed >> 20} MiB, and {free >> 20} MiB are free in {self._partial.parent}",
                fix="make room, or remove old generations there: they are folders of their own",
            )

    # -- one instance

    def _copy_instance(self, slug: str, path: str, size: int, sha256: str, syntax: str, *, known: bool) -> None:
        result, source = self.result, self._home.media / path
        target = self._partial / generations.ARCHIVE / path
        if known and self._previous and files.link(self._previous / generations.ARCHIVE / path, target, size):
            result.unchanged += 1
            return
        if self._link and files.link(source, target, size):
            result.linked += 1
            return
        if self._take_over(path, target, size, sha256):
            result.copied += 1
            return
        wrong = self._copy_checked(source, target, size, sha256)
        if wrong is not None:  # replaced since the snapshot? then what the snapshot tells of is in quarantine
            other = self._home.quarantine / slug / quarantine_name(sha256, syntax)
            if self._copy_checked(other, target, size, sha256) is not None:
                self._problem(wrong[0], f"{generations.ARCHIVE}/{path}", wrong[1])
                return
            with contextlib.suppress(FileNotFoundError):
                (self._partial / generations.DAMAGED / path).unlink()
        result.copied += 1
        result.bytes += size

    def _take_over(self, path: str, target: Path, size: int, sha256: str) -> bool:
        """What an interrupted run has copied, if it is sound: it may not have been on disk yet."""
        for left in self._left:
            source = left / generations.ARCHIVE / path
            with contextlib.suppress(OSError):
                read = files.digest_instance(source)
                if (read.bytes, read.dataset_sha256) == (size, sha256) and files.link(source, target, size):
                    return True
        return False

    def _copy_checked(self, source: Path, target: Path, size: int, sha256: str) -> tuple[str, str] | None:
        """Copy; what is wrong with it, if anything: then it is kept in `damaged`, as far as it can be read."""
        try:
            copied = files.copy_instance(source, target)
        except FileNotFoundError:
            return "missing", "the index tells of it, and there is no such file"
        except OSError as error:
            if error.errno in (*FULL, errno.EROFS, errno.EMFILE):
                raise
            return "unreadable", str(error.strerror)
        if (copied.bytes, copied.dataset_sha256) == (size, sha256):
            return None
        damaged = self._partial / generations.DAMAGED / target.relative_to(self._partial / generations.ARCHIVE)
        damaged.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.replace(target, damaged)
        return "damaged", "its content is not what was filed: noctis archive verify"


def _attached(rows: sqlite3.Connection) -> bool:
    return any(name == "previous" for _, name, _ in rows.execute("PRAGMA database_list"))
