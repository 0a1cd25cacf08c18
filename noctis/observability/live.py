"""Open associations, as listeners report them: one small file for each process that has any, in `run/live/`.

A listener replaces its file at most once a second while it has associations and takes it away when it has none
(`listener.live`). A file says whose it is by process and by that process's start, so what a killed listener has left
behind is known for what it is, whoever has its number now. Nothing here is kept: after a crash there is nothing to
recover. Pure standard library.
"""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FILE_MAX = 4 << 20  # bytes; a longer one is none of ours
_STARTED = 19  # field 22 of /proc/<pid>/stat, counted behind the name, which may hold spaces


@dataclass(frozen=True)
class LiveAssociation:
    """One open association of a facility, as it was when its listener last looked."""

    association_id: str  # as in the logs
    facility: str  # slug
    port: int  # the default one too
    called: str
    calling: str
    address: str
    tls: bool
    started_at: str  # ISO 8601, UTC; so is the next one
    last_data_at: str  # when the peer last sent anything
    received: int  # bytes that have come over the connection, those of an instance in flight too
    instances: int  # stored
    bytes: int  # of their files
    failures: int  # C-STOREs not answered with success
    echoes: int


def started(pid: int) -> int | None:
    """When a process was started, in clock ticks since the machine was; None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[_STARTED])
    except (OSError, ValueError, IndexError):
        return None


def name_of(port: int, pid: int) -> str:
    return f"{port}-{pid}.json"


def write(path: Path, pid: int, start: int | None, associations: Iterable[LiveAssociation]) -> None:
    """Replace the file as a whole.

    Raises
    ------
    OSError
        It cannot be written.
    """
    document = {"pid": pid, "started": start, "associations": [asdict(each) for each in associations]}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, separators=(",", ":")), encoding="ascii")
    temporary.replace(path)


def read(folder: Path) -> list[LiveAssociation]:
    """Every open association, the oldest first. What processes left that are gone is left out."""
    found: list[LiveAssociation] = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            document = _document(path)
            if _lives(document):
                found += [_checked(LiveAssociation(**row)) for row in document["associations"]]
    return sorted(found, key=lambda each: (each.started_at, each.association_id))


def clear(folder: Path, port: int) -> None:
    """Delete what processes of this port left that are gone."""
    for path in folder.glob(f"{port}-*"):
        try:
            gone = not _lives(_document(path)) if path.suffix == ".json" else not started(int(path.stem.split("-")[1]))
        except (ValueError, KeyError, TypeError, IndexError):
            gone = True  # no listener leaves such a file
        except OSError:
            continue
        if gone:
            path.unlink(missing_ok=True)


def _document(path: Path) -> Any:
    with path.open("rb") as file:
        return json.loads(file.read(FILE_MAX))


def _lives(document: Any) -> bool:
    start = started(int(document["pid"]))
    return start is not None and start == document["started"]


def _checked(row: LiveAssociation) -> LiveAssociation:
    for text in (row.started_at, row.last_data_at):
        datetime.fromisoformat(text)
    return row
