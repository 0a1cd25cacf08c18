"""The journal: how processes without a database tell the ledgers what happened.

A listener appends one JSON line per refusal, association or quarantined instance to its own file in `run/journal/`;
the archiver takes the file whole, writes its lines in one transaction and then deletes it. With the archiver or the
database down the files wait. A line written twice is counted twice; a line is lost only by a power cut, as these are
ledgers and not images.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_BYTES = 32 << 20  # of one file; a flood beyond it is dropped, and counted by the scoreboard alone
TAKEN = ".taken"


class Journal:
    """One process's file. `append` may be called from several threads and, for one file, several processes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.jsonl"

    def append(self, kind: str, **fields: Any) -> bool:
        """Write one line; False if it was dropped (full, or not writable): a ledger never stops receiving."""
        line = json.dumps({"kind": kind, **fields}, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        try:
            while True:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    status = os.fstat(descriptor)
                    if status.st_size > MAX_BYTES:
                        return False
                    if self._is_ours(status.st_ino):
                        os.write(descriptor, line)
                        return True
                finally:
                    os.close(descriptor)  # taken between open and lock: once more, into a new file
        except OSError:
            return False

    def event(
        self,
        actor: str,
        action: str,
        detail: dict[str, Any],
        *,
        subject: str = "",
        slug: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        """Write an event, as the archiver enters it into the table; False if it was dropped.

        Parameters
        ----------
        detail
            What JSON can say.
        slug
            The facility's, where it concerns one.
        at
            None: now.
        """
        when = (at or datetime.now(UTC)).isoformat()
        return self.append("event", at=when, actor=actor, action=action, slug=slug, subject=subject, detail=detail)

    def _is_ours(self, inode: int) -> bool:
        """Whether the file under our name is still the one that was opened: it may be taken at any moment."""
        try:
            return os.stat(self._path).st_ino == inode
        except FileNotFoundError:
            return False


def take(folder: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Every file that waits, with its lines; those taken before and not finished come first.

    The caller writes the lines, then deletes the file. A line that is no JSON (a torn write) is left out.
    """
    taken = sorted(folder.glob(f"*{TAKEN}"))
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            taken.append(path.rename(path.with_name(f"{path.stem}.{status.st_mtime_ns}.{status.st_ino}{TAKEN}")))
    for path in taken:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # whoever opened it before the rename has finished
            lines = file.read().splitlines()
        records = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                records.append(json.loads(line))
        yield path, records
