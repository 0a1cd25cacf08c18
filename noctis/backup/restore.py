"""`noctis restore`: a generation into an empty home, and a database without tables.

Takes settings whose places are the new home's. Refuses a home, archive or database that holds anything; what an
interrupted restore has left is ours, and is gone on with. Every file is compared with its digest: one that is missing
or damaged in the backup is named and left out, so that its sender can send it again, and all the rest is restored. The
database comes last, its schema upgraded where it is older: without it nothing of the rest is in force.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from noctis.backup import configuration, database, files, generations
from noctis.backup.make import PROBLEMS_MAX, Problem
from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import reading, sqlite_file
from noctis.db.models import Facility
from noctis.errors import HomeError, StorageError, UsageError
from noctis.receipts.document import folder_of
from noctis.repository.archive import sync_file_system
from noctis.repository.journal import Journal

Progress = Callable[[int, int], None]

MARK = "restore-incomplete"  # in the home, as long as it is not whole
_RESTORING = "noctis.db.restoring"


@dataclass
class Result:
    """What was restored, and what to look at."""

    generation: str = ""
    made: str = ""  # when the backup began, ISO 8601
    instances: int = 0
    bytes: int = 0
    spool: int = 0
    quarantine: int = 0
    receipts: int = 0
    schema_before: str = ""
    database: str = ""  # without its password
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    config: str = ""  # the file that was written
    differences: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def restore(
    settings: Settings,
    engine: Engine,
    source: Path,
    *,
    told: Mapping[tuple[str, ...], str] | None = None,
    actor: str = "restore",
    progress: Progress | None = None,
) -> Result:
    """Restore one generation.

    Parameters
    ----------
    settings
        Of the new home.
    engine
        Of the new database.
    source
        A complete generation (`generations.find`).
    told
        Places that the operator named (`configuration.PLACES`), to be written into the configuration.

    Raises
    ------
    UsageError, HomeError, StorageError, DatabaseError
        Nothing was restored, or not all; called again it goes on.
    """
    manifest = generations.read_manifest(source)
    run = _Run(settings, engine, source, progress)
    run.result.made = str(manifest.get("began", ""))
    snapshot = source / generations.DATABASE
    if not snapshot.is_file():
        raise StorageError(f"{snapshot} is missing", fix="restore another one with --generation")
    run.result.schema_before = database.require_restorable(snapshot)
    run.require_empty()
    try:
        run.everything(manifest, told or {})
    except OSError as error:
        raise StorageError(
            f"not everything was restored: {error.strerror} ({error.filename})",
            fix="mend it, then call the same command again: it goes on where it ended",
        ) from error
    result = run.result
    Journal(settings.paths.journal, "restore").append(
        "event",
        at=datetime.now(UTC).isoformat(),
        actor=actor,
        action="backup.restored",
        subject=str(source)[:400],
        detail={"instances": result.instances, "spool": result.spool, "problems": result.problem_count},
    )
    return result


class _Run:
    """One restore under way."""

    def __init__(self, settings: Settings, engine: Engine, source: Path, progress: Progress | None) -> None:
        self._settings = settings
        self._engine = engine
        self._home = settings.paths
        self._source = source
        self._progress = progress
        self.result = Result(source.name, database=engine.url.render_as_string(hide_password=True))

    def require_empty(self) -> None:
        """Refuse what holds anything, unless an interrupted restore of the same generation has left it."""
        root, media, mark = self._home.root, self._home.media, self._home.root / MARK
        if migrate.schema_state(self._engine).current is not None and not (mark.is_file() and self._no_facility()):
            raise UsageError(
                f"the database {self.result.database} has tables already",
                fix="name an empty one with --database-url, or another home with --home",
            )
        if mark.is_file():
            if (begun := mark.read_text(encoding="utf-8").strip()) != str(self._source.resolve()):
                raise HomeError(
                    f"a restore of {begun} into {root} was interrupted", fix="end that one, or name another home"
                )
            return
        places = {"home": root, "archive folder": media, "folder of receipts": folder_of(self._settings)}
        for what, place in places.items():
            if place.is_dir() and any(path.name != "lost+found" for path in place.iterdir()):
                raise HomeError(
                    f"the {what} {place} is not empty: a restore never writes over anything",
                    fix="name an empty or new folder: noctis --home DIR restore …",
                )
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark.write_text(f"{self._source.resolve()}\n", encoding="utf-8")

    def _no_facility(self) -> bool:
        with reading(self._engine) as connection:
            return not connection.scalar(select(func.count()).select_from(Facility))

    def everything(self, manifest: Mapping[str, Any], told: Mapping[tuple[str, ...], str]) -> None:
        home = self._home
        home.create()
        if files.sha256_of(self._source / generations.LEDGER) != manifest["sha256"][generations.LEDGER]:
            self._problem("damaged", generations.LEDGER, "it is not the one that was written")
        file = sqlite_file(self._engine)
        copy = (file.parent if file is not None else home.root) / _RESTORING
        self._own_copy(copy, manifest["sha256"][generations.DATABASE])
        self._listed()
        self._write_config(told)
        self._archive(copy)
        for folder in {home.root, home.media, *filter(Path.is_dir, [folder_of(self._settings)])}:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_file_system(descriptor)
            finally:
                os.close(descriptor)
        self._database(copy)
        (home.root / MARK).unlink()

    def _problem(self, kind: str, path: str, detail: str) -> None:
        self.result.problem_count += 1
        if len(self.result.problems) < PROBLEMS_MAX:
            self.result.problems.append(Problem(kind, path, detail))

    # -- what files.jsonl tells of

    def _listed(self) -> None:
        """Spool, quarantine, certificates and receipts."""
        places = {
            generations.SPOOL: self._home.spool,
            generations.QUARANTINE: self._home.quarantine,
            generations.TLS: self._home.tls,
            generations.RECEIPTS: folder_of(self._settings),
        }
        try:
            for line in files.ledger_lines(self._source / generations.LEDGER):
                first, *rest = Path(line["path"]).parts
                if first not in places:
                    self._check(line)
                elif self._restore_file(line, places[first].joinpath(*rest)):
                    instance = line["path"].endswith(".dcm")
                    self.result.spool += instance and first == generations.SPOOL
                    self.result.quarantine += instance and first == generations.QUARANTINE
                    self.result.receipts += first == generations.RECEIPTS
        except StorageError as error:
            self._problem("damaged", generations.LEDGER, error.message)

    def _check(self, line: Mapping[str, Any]) -> None:
        with contextlib.suppress(FileNotFoundError):
            if files.sha256_of(self._source / line["path"]) == line["sha256"]:
                return
            self._problem("damaged", line["path"], "its content is not what was saved")
            return
        self._problem("missing", line["path"], "there is no such file in the backup")

    def _restore_file(self, line: Mapping[str, Any], target: Path) -> bool:
        try:
            with open(self._source / line["path"], "rb", buffering=0) as file:
                if target.exists():
                    target.unlink()  # an interrupted restore's
                copied = files.copy(file.fileno(), target)
        except FileNotFoundError:
            self._problem("missing", line["path"], "there is no such file in the backup")
            return False
        if (copied.bytes, copied.sha256) != (line["bytes"], line["sha256"]):
            target.unlink()
            self._problem("damaged", line["path"], "its content is not what was saved")
            return False
        return True

    def _write_config(self, told: Mapping[tuple[str, ...], str]) -> None:
        """`noctis.yaml` of the new home."""
        target = self._home.root / generations.CONFIG
        try:
            original = (self._source / generations.CONFIG).read_text(encoding="utf-8")
        except FileNotFoundError:
            original = ""
        text = configuration.adapted(original, told)
        if text:
            _write(target, text)
            self.result.config = str(target)
        if original and text != original:
            _write(target.with_name(target.name + configuration.ORIGINAL), original)

    # -- archive and index

    def _own_copy(self, copy: Path, sha256: str) -> None:
        """The snapshot, brought to this release's schema."""
        copy.unlink(missing_ok=True)
        with open(self._source / generations.DATABASE, "rb", buffering=0) as file:
            if files.copy(file.fileno(), copy).sha256 != sha256:
                self._problem("damaged", generations.DATABASE, "it is not the one that was written")
        engine = database.sqlite_engine(self._settings, copy)
        try:
            migrate.upgrade(engine)
        finally:
            engine.dispose()
        database.as_one_file(copy)

    def _archive(self, copy: Path) -> None:
        with closing(database.open_snapshot(copy)) as rows:
            (count,) = rows.execute("SELECT count(*) FROM instance").fetchone()
            found = rows.execute("SELECT path, bytes, sha256 FROM instance ORDER BY id")
            for done, (path, size, sha256) in enumerate(found, 1):
                self._restore_instance(path, size, sha256)
                if self._progress is not None:
                    self._progress(done, count)
            for (slug,) in rows.execute("SELECT slug FROM facility WHERE id IN (SELECT facility_id FROM instance)"):
                (self._home.media / slug).mkdir(exist_ok=True, mode=0o700)  # without it nothing could be sent again

    def _restore_instance(self, path: str, size: int, sha256: str) -> None:
        target = self._home.media / path
        if target.exists():  # an interrupted restore's
            read = files.digest_instance(target)
            if (read.bytes, read.dataset_sha256) == (size, sha256):
                self.result.instances += 1
                return
            target.unlink()
        try:
            copied = files.copy_instance(self._source / generations.ARCHIVE / path, target)
        except FileNotFoundError:
            what = "damaged" if (self._source / generations.DAMAGED / path).exists() else "missing"
            self._problem(what, f"{generations.ARCHIVE}/{path}", f"{what} in the backup")
            return
        if (copied.bytes, copied.dataset_sha256) != (size, sha256):
            target.unlink()
            self._problem("damaged", f"{generations.ARCHIVE}/{path}", "its content is not what was filed")
            return
        self.result.instances += 1
        self.result.bytes += size

    def _database(self, copy: Path) -> None:
        file = sqlite_file(self._engine)
        if file is not None:
            os.replace(copy, file)
            return
        source = database.sqlite_engine(self._settings, copy)
        try:
            database.fill(self._engine, source)
        finally:
            source.dispose()
        for suffix in ("", "-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def settings_of(generation: Path) -> dict[str, Any]:
    """What was in force when it was made; {} when that cannot be read."""
    try:
        document = json.loads((generation / generations.SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def differences(generation: Path, settings: Settings) -> list[str]:
    """What is not as it was at the backup."""
    return configuration.differences(settings_of(generation), settings)
