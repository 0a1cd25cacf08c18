"""Does the archive hold what the index says, and the index what the archive holds? And: the index from the files alone.

`verify` looks both ways: every row's file (there, size, digest of the data set), every file's row, and whether the
counts of studies and series are what their instances add up to. It changes nothing, may run while instances are
filed, and holds a bounded number of rows in memory.

`reindex` rebuilds studies, series and instances of each facility from its files, in one transaction a facility: until
it ends the old index stays, and whoever files waits. It uses the code that files, in the order in which the files were
received; their time is that of the file.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, func, select, text

from noctis.config import Settings
from noctis.db.engine import reachable, reading
from noctis.errors import StorageError
from noctis.facilities.recover import take_from_snapshot
from noctis.repository import filemeta
from noctis.repository.archive import SUFFIX, Archive
from noctis.repository.content import content, linked_in
from noctis.repository.header import HeaderError, read_header
from noctis.repository.index import Index
from noctis.repository.index_rows import Books
from noctis.repository.index_statements import FACILITY, INSTANCE, SERIES, STUDY, TERM
from noctis.repository.index_values import Filing, bounded, file_time
from noctis.repository.names import is_uid

Progress = Callable[[int, int], None]  # done, total

FINDINGS_MAX = 10_000  # kept one by one; beyond it only counted
_PAGE = 1000  # rows or files at a time


class Kind(StrEnum):
    """What can be wrong."""

    NO_FILE = "no-file"  # a row whose file is missing
    NO_ROW = "no-row"  # a file that no row tells of
    SIZE = "size"  # the file has another size than the row says
    DIGEST = "digest"  # the data set is not the one that was filed
    UNREADABLE = "unreadable"  # the file cannot be read, or is none of ours
    COUNTS = "counts"  # a study or series has other counts than its instances
    UNKNOWN_FACILITY = "unknown-facility"  # a folder that belongs to no facility
    TWICE = "twice"  # reindex: a second file with the same SOP Instance UID, left out


@dataclass(frozen=True)
class Finding:
    kind: Kind
    facility: str  # slug
    subject: str  # a path below the archive, or a UID
    detail: str = ""


@dataclass
class Report:
    """What was looked at and what was found."""

    files: int = 0
    rows: int = 0
    bytes: int = 0  # read
    findings: list[Finding] = field(default_factory=list)
    counts: dict[Kind, int] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not self.counts

    def add(self, kind: Kind, facility: str, subject: str, detail: str = "") -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(kind, facility, subject, detail))


def verify(settings: Settings, engine: Engine, progress: Progress | None = None, *, digests: bool = True) -> Report:
    """Compare archive and index.

    Parameters
    ----------
    digests
        Read every file and compare its digest; without it only presence and size are looked at.

    Raises
    ------
    DatabaseError
        The index cannot be read.
    """
    archive = Index(engine, settings).archive
    report = Report()
    with reading(engine) as connection:
        facilities = {row.slug: row.id for row in connection.execute(select(FACILITY.c.slug, FACILITY.c.id))}
        total = connection.scalar(select(func.count()).select_from(INSTANCE)) or 0
    steps = _Steps(progress, 2 * total)
    _check_rows(engine, archive, report, steps, digests=digests)
    for slug in archive.slugs():
        if slug not in facilities:
            report.add(Kind.UNKNOWN_FACILITY, slug, slug, "no row in the facilities table has this slug")
            continue
        new = settings.paths.spool / slug / "new"
        _check_files(engine, archive, facilities[slug], slug, new, report, steps)
    _check_counts(engine, report)
    steps.end()
    return report


class _Steps:
    """Progress towards a total that may grow."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self.done = 0
        self.total = total

    def step(self) -> None:
        self.done += 1
        self.total = max(self.total, self.done)
        if self._progress is not None:
            self._progress(self.done, self.total)

    def end(self) -> None:
        if self._progress is not None:
            self._progress(self.total, self.total)


def _check_rows(engine: Engine, archive: Archive, report: Report, steps: _Steps, *, digests: bool) -> None:
    query = (
        select(INSTANCE.c.id, FACILITY.c.slug, INSTANCE.c.path, INSTANCE.c.bytes, INSTANCE.c.sha256)
        .join(FACILITY, FACILITY.c.id == INSTANCE.c.facility_id)
        .order_by(INSTANCE.c.id)
        .limit(_PAGE)
    )
    last = 0
    while True:
        with reading(engine) as connection:
            rows = connection.execute(query.where(INSTANCE.c.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        for row in rows:
            report.rows += 1
            finding = _check_file(archive.path(row.path), row.bytes, row.sha256, report, digests=digests)
            if finding is not None and _still_there(engine, row.id):
                report.add(finding[0], row.slug, row.path, finding[1])
            steps.step()


def _check_file(path: Path, size: int, sha256: str, report: Report, *, digests: bool) -> tuple[Kind, str] | None:
    try:
        found = path.stat().st_size
        if found != size:
            return Kind.SIZE, f"{found} bytes, the index says {size}"
        if not digests:
            return None
        digest, _ = content(path)
        report.bytes += size
    except FileNotFoundError:
        return Kind.NO_FILE, ""
    except (OSError, StorageError) as error:
        return Kind.UNREADABLE, error.message if isinstance(error, StorageError) else str(error.strerror)
    return None if digest == sha256 else (Kind.DIGEST, f"{digest[:16]}…, the index says {sha256[:16]}…")


def _still_there(engine: Engine, key: int) -> bool:
    """A row that was replaced meanwhile tells nothing."""
    with reading(engine) as connection:
        return connection.scalar(select(INSTANCE.c.id).where(INSTANCE.c.id == key)) is not None


def _check_files(
    engine: Engine, archive: Archive, facility_id: int, slug: str, new: Path, report: Report, steps: _Steps
) -> None:
    for page in _pages(archive.files(slug)):
        strays = _without_row(engine, archive, facility_id, page)
        if strays:  # files get their place before their rows are committed
            wait_for_writers(engine)
            strays = _without_row(engine, archive, facility_id, strays)
        for path in strays:
            if not _being_filed(path, new):
                report.add(Kind.NO_ROW, slug, str(path.relative_to(archive.root)))
        for _ in page:
            report.files += 1
            steps.step()


def _without_row(engine: Engine, archive: Archive, facility_id: int, page: list[Path]) -> list[Path]:
    """Those of the files that no row tells of, as the index is now."""
    wanted = sorted({uid for path in page if (uid := _instance_uid(path))})
    with reading(engine) as connection:
        owned = set(
            connection.scalars(
                select(INSTANCE.c.path).where(
                    INSTANCE.c.facility_id == facility_id, INSTANCE.c.sop_instance_uid.in_(wanted)
                )
            )
        )
    return [path for path in page if str(path.relative_to(archive.root)) not in owned]


def wait_for_writers(engine: Engine) -> None:
    """Until every transaction that was open at the call has ended."""
    with reachable(engine), engine.begin() as connection:  # BEGIN IMMEDIATE waits for SQLite's one writer
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE instance IN SHARE MODE"))


def _being_filed(path: Path, new: Path) -> bool:
    """A file that is still linked from the spool gets its row in a moment; one that is gone was moved."""
    try:
        return path.stat().st_nlink > 1 and linked_in(new, path)
    except FileNotFoundError:
        return True


def _instance_uid(path: Path) -> str:
    """The SOP Instance UID of a file in the archive, as the index has it; "" if it cannot be told."""
    if path.suffix != SUFFIX:
        return ""
    if is_uid(path.stem):
        return path.stem
    try:
        with path.open("rb") as file:
            meta = filemeta.read(file.fileno())
            header = read_header(file.fileno(), meta.dataset_start, meta.transfer_syntax_uid)
    except (OSError, StorageError, HeaderError):
        return ""
    return bounded(header.sop_instance_uid)


def _check_counts(engine: Engine, report: Report) -> None:
    sums = (
        select(
            INSTANCE.c.series_id,
            func.count().label("instances"),
            func.sum(INSTANCE.c.bytes).label("bytes"),
        )
        .group_by(INSTANCE.c.series_id)
        .subquery()
    )
    wrong_series = (
        select(FACILITY.c.slug, SERIES.c.series_instance_uid)
        .join(STUDY, STUDY.c.facility_id == FACILITY.c.id)
        .join(SERIES, SERIES.c.study_id == STUDY.c.id)
        .outerjoin(sums, sums.c.series_id == SERIES.c.id)
        .where(
            (SERIES.c.instances != func.coalesce(sums.c.instances, 0))
            | (SERIES.c.bytes != func.coalesce(sums.c.bytes, 0))
        )
    )
    by_study = (
        select(
            SERIES.c.study_id,
            func.count().label("series"),
            func.sum(SERIES.c.instances).label("instances"),
            func.sum(SERIES.c.bytes).label("bytes"),
        )
        .group_by(SERIES.c.study_id)
        .subquery()
    )
    wrong_studies = (
        select(FACILITY.c.slug, STUDY.c.study_instance_uid)
        .join(STUDY, STUDY.c.facility_id == FACILITY.c.id)
        .outerjoin(by_study, by_study.c.study_id == STUDY.c.id)
        .where(
            (STUDY.c.series != func.coalesce(by_study.c.series, 0))
            | (STUDY.c.instances != func.coalesce(by_study.c.instances, 0))
            | (STUDY.c.bytes != func.coalesce(by_study.c.bytes, 0))
        )
    )
    with reading(engine) as connection:
        for query, what in ((wrong_series, "series"), (wrong_studies, "study")):
            for slug, uid in connection.execute(query):
                report.add(Kind.COUNTS, slug, uid, f"the counts of this {what} are not true")


# -- reindex


def reindex(settings: Settings, engine: Engine, progress: Progress | None = None) -> Report:
    """Rebuild the index from the archive's files; what could not be taken in is in the report, and stays as it is.

    Where there is no facility at all, those of the last snapshot are entered first.

    Raises
    ------
    DatabaseError
        The index cannot be written; what was not finished is as it was before.
    """
    index = Index(engine, settings)
    report = Report()
    take_from_snapshot(engine, settings, actor="reindex")
    with reading(engine) as connection:
        facilities = {row.slug: row.id for row in connection.execute(select(FACILITY.c.slug, FACILITY.c.id))}
    slugs = index.archive.slugs()
    steps = _Steps(progress, sum(1 for slug in slugs if slug in facilities for _ in index.archive.files(slug)))
    for slug in slugs:
        if slug not in facilities:
            report.add(Kind.UNKNOWN_FACILITY, slug, slug, "add a facility with this slug, then reindex again")
    for slug, facility_id in sorted(facilities.items()):
        with reachable(engine), engine.begin() as connection:
            _reindex_facility(connection, index, slug, facility_id, report, steps)
    steps.end()
    return report


def _reindex_facility(
    connection: Connection, index: Index, slug: str, facility_id: int, report: Report, steps: _Steps
) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has locked everything at BEGIN
        connection.execute(text("LOCK TABLE study, series, instance IN SHARE ROW EXCLUSIVE MODE"))
    studies = select(STUDY.c.id).where(STUDY.c.facility_id == facility_id)
    connection.execute(delete(INSTANCE).where(INSTANCE.c.facility_id == facility_id))
    connection.execute(delete(SERIES).where(SERIES.c.study_id.in_(studies)))
    connection.execute(delete(TERM).where(TERM.c.facility_id == facility_id))
    connection.execute(delete(STUDY).where(STUDY.c.facility_id == facility_id))
    seen: set[bytes] = set()
    for page in _pages(_by_age(index.archive, slug)):
        filings = []
        for path in page:
            filing = _read(path, slug, index.archive, report)
            if filing is not None:
                key = hashlib.sha256(filing.instance_uid.encode("utf-8", "surrogatepass")).digest()[:16]
                if key in seen:
                    report.add(Kind.TWICE, slug, str(path.relative_to(index.archive.root)))
                else:
                    seen.add(key)
                    filings.append(filing)
            steps.step()
        if filings:
            index.enter(Books(connection), facility_id, filings)
            report.rows += len(filings)


def _by_age(archive: Archive, slug: str) -> Iterator[Path]:
    """A facility's files, as they were received."""
    found = sorted((path.lstat().st_mtime_ns, str(path)) for path in archive.files(slug))
    return (Path(path) for _, path in found)


def _read(path: Path, slug: str, archive: Archive, report: Report) -> Filing | None:
    report.files += 1
    relative = str(path.relative_to(archive.root))
    if path.suffix != SUFFIX or path.name.startswith("."):
        report.add(Kind.UNREADABLE, slug, relative, "no name that the archive gives")
        return None
    try:
        with path.open("rb") as file:
            meta = filemeta.read(file.fileno())
            header = read_header(file.fileno(), meta.dataset_start, meta.transfer_syntax_uid)
            file.seek(meta.dataset_start)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            status = path.stat()
    except (OSError, StorageError, HeaderError) as error:
        report.add(Kind.UNREADABLE, slug, relative, error.message if isinstance(error, StorageError) else str(error))
        return None
    report.bytes += status.st_size
    if meta.record is not None and meta.record.sha256 != digest:
        report.add(Kind.DIGEST, slug, relative, "the data set is not the one that was committed; taken in as it is")
    filing = Filing(slug, path, meta, header, digest, status.st_size, file_time(status.st_mtime_ns))
    if not (filing.study_uid and filing.series_uid and filing.instance_uid):
        report.add(Kind.UNREADABLE, slug, relative, "no Study, Series or SOP Instance UID")
        return None
    return filing


def _pages(paths: Iterable[Path]) -> Iterator[list[Path]]:
    page: list[Path] = []
    for path in paths:
        page.append(path)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
