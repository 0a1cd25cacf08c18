"""One verify of a home at a time, and what the last one found: `run/verify.lock` and `run/verify.json`.

Whoever verifies, the scheduler or an operator, holds the lock and notes the result in the file, which `status` and
`check` read without the database, and as an event, which goes through the journal and is written by the archiver. A
verify that was interrupted notes nothing. Holds no patient's data: paths of the archive and UIDs alone.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from noctis import locks
from noctis.errors import StorageError
from noctis.files import write_whole
from noctis.home import Home

if TYPE_CHECKING:
    from noctis.repository.verify import Report

ACTION = "archive.verified"
LOCK = "verify.lock"  # in run/
SHOWN = 20  # findings in the event, one by one


@dataclass(frozen=True)
class LastVerify:
    """What `run/verify.json` says. Times are ISO 8601, UTC."""

    began: str  # of the last verify; without `ended`: since when there is a schedule
    ended: str | None = None
    actor: str = ""
    files: int = 0
    rows: int = 0
    bytes: int = 0
    findings: dict[str, int] = field(default_factory=dict)  # by kind

    @property
    def began_at(self) -> datetime:
        return datetime.fromisoformat(self.began)

    @property
    def count(self) -> int:
        return sum(self.findings.values())


class BusyError(StorageError):
    """A verify of this home runs already."""


@contextlib.contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Hold the lock of this home's verify.

    Raises
    ------
    BusyError
        Somebody else holds it.
    """
    try:
        descriptor = locks.hold(home.run / LOCK)
    except locks.HeldError as held:
        raise BusyError(
            f"a verify runs on this home already (pid {held.pid})", fix="wait for it: noctis status shows its result"
        ) from None
    try:
        yield
    finally:
        try:
            os.ftruncate(descriptor, 0)  # nobody verifies now, however it ended: see `running_pid`
        finally:
            os.close(descriptor)


def running_pid(home: Home) -> int | None:
    """The process that verifies now, if one does. Takes no lock, so it is in nobody's way."""
    try:
        pid = int((home.run / LOCK).read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return pid
    except (OSError, ValueError, OverflowError):
        return None
    return pid


def read(home: Home) -> LastVerify | None:
    """The last verify's result, or since when there is a schedule; None: neither, or the file cannot be understood."""
    try:
        document = json.loads((home.run / "verify.json").read_text(encoding="utf-8"))
        last = LastVerify(**document)
        if last.began_at.tzinfo is None or (last.ended and datetime.fromisoformat(last.ended).tzinfo is None):
            return None
        return last if isinstance(last.findings, dict) else None
    except (OSError, ValueError, TypeError):
        return None


def write(home: Home, last: LastVerify) -> None:
    """Replace the file, whole or not at all."""
    write_whole(home.run / "verify.json", json.dumps(asdict(last)).encode())


def conclude(home: Home, report: "Report", began: datetime, actor: str) -> LastVerify:
    """Note the result of a verify that has ended, in the file and as an event."""
    from noctis.repository.journal import Journal

    ended = datetime.now(UTC)
    findings = {str(kind): count for kind, count in report.counts.items()}
    last = LastVerify(began.isoformat(), ended.isoformat(), actor, report.files, report.rows, report.bytes, findings)
    write(home, last)
    detail: dict[str, Any] = {
        "files": report.files,
        "rows": report.rows,
        "bytes": report.bytes,
        "seconds": round((ended - began).total_seconds(), 1),
        "findings": findings,
    }
    if report.findings:
        detail["first"] = [
            {"kind": str(each.kind), "facility": each.facility, "subject": each.subject[:200]}
            for each in report.findings[:SHOWN]
        ]
    Journal(home.journal, "verify").event(actor, ACTION, detail, at=ended)
    return last
