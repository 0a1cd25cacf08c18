"""How a home is now: every listener, the spool, the archiver, the database, the disk. For commands and pages alike.

Takes a `Place`; asks the supervisor, the database and the file system, and says of each that cannot be had why not.
"""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from noctis.config import Settings
from noctis.db.upgrading import under_way
from noctis.errors import NoctisError
from noctis.facilities.snapshot import SnapshotReader
from noctis.home import Home
from noctis.supervisor.control import Control

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from noctis.repository.usage import Usage

GOOD = ("running", "idle")  # states of a listener that receives


class Place(NamedTuple):
    """A home, and how it is asked."""

    settings: Settings
    control: Control
    snapshots: SnapshotReader

    @property
    def home(self) -> Home:
        return self.settings.paths


def gather(place: Place) -> dict[str, Any]:
    """The whole status; what cannot be had says why instead."""
    document: dict[str, Any] = {"supervisor": {"running": False}, "listeners": [], "audit": None, "notifier": None}
    document["web"] = None
    document |= {"archiver": {}, "watcher": {}, "scheduler": {}}
    try:
        told = place.control.status()
        document["supervisor"] = {"running": True} | {name: told[name] for name in ("pid", "version", "started_at")}
        document |= {
            name: told[name] for name in ("listeners", "archiver", "watcher", "scheduler", "audit", "notifier", "web")
        }
        if document["web"] is not None:
            document["web"]["url"] = place.settings.web_url
    except NoctisError as error:
        document["supervisor"]["error"] = error.message
    document["home"] = str(place.home.root)
    document["spool"] = spool_status(place)
    document["database"], document["usage"] = database_status(place)
    document["disk"] = disk_status(place)
    document["archive"] = archive_status(place)
    document["tls"] = tls_status(place)
    document["verify"] = verify_status(place)
    return document


def spool_status(place: Place) -> dict[str, Any]:
    """What is acknowledged and not filed yet."""
    from noctis.repository.slots import everything_waiting

    pending = total = 0
    oldest: float | None = None
    for entry in everything_waiting(place.home.spool):
        try:
            found = entry.path.stat()
        except FileNotFoundError:
            continue
        pending += 1
        total += found.st_size
        oldest = found.st_mtime if oldest is None else min(oldest, found.st_mtime)
    seconds = None if oldest is None else round(max(0.0, time.time() - oldest), 1)
    return {"pending": pending, "oldest_seconds": seconds, "bytes": total}


def database_status(place: Place) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """How the database is; and what is archived, against the quotas, of all and of each facility, where it says."""
    from noctis.db.engine import make_engine
    from noctis.repository.queries import archived_usage

    engine = make_engine(place.settings, pooled=False)
    usage = None
    try:
        document = look_at_database(engine, place.home)
        if document["up_to_date"]:
            with contextlib.suppress(NoctisError):
                usage = against_quotas(place, archived_usage(engine))
    finally:
        engine.dispose()
    return document, usage


def look_at_database(engine: "Engine", home: Home) -> dict[str, Any]:
    """Whether it is reachable, and of this release; or how far its upgrade is (`upgrade`, else None)."""
    from noctis.db import migrate

    document: dict[str, Any] = {"url": engine.url.render_as_string(hide_password=True), "reachable": False}
    document["upgrade"] = None
    try:
        state = migrate.schema_state(engine)
    except NoctisError as error:
        return document | {"schema": None, "up_to_date": False, "error": error.message}
    document |= {"reachable": True, "schema": state.current, "up_to_date": state.up_to_date, "error": None}
    if not state.up_to_date:
        found = under_way(home)
        document["upgrade"] = None if found is None else found.as_json()
        document["error"] = found.sentence if found else "its schema is not this release's: noctis db upgrade"
    return document


def against_quotas(place: Place, used: "dict[str, Usage]") -> dict[str, Any]:
    from noctis.repository.usage import NONE, UsageFile, limits_in_all, limits_of, report

    storage = place.settings.storage
    return {
        "in_all": report(UsageFile(archived=used).in_all, limits_in_all(storage)),
        "facilities": {
            each.slug: report(used.get(each.slug, NONE), limits_of(each, storage))
            for each in place.snapshots.current().facilities
        },
    }


def archive_status(place: Place) -> dict[str, Any]:
    """For which facilities nothing is filed, as the file system of their folder has too little room."""
    from noctis.repository.room import ArchiveFullError, Room

    room = Room(place.home.media, place.settings.storage.reserve_bytes)
    full = {}
    for each in place.snapshots.current().facilities:
        try:
            room.check(each.slug)
        except ArchiveFullError as error:
            full[each.slug] = {"reason": error.message, "fix": error.fix}
    return {"no_room": full}


def disk_status(place: Place) -> dict[str, Any]:
    """The archive's file system."""
    return space_of(place, place.home.media)


def space_of(place: Place, folder: Path) -> dict[str, Any]:
    """The file system that a folder lies on, or will."""
    from noctis.repository.room import Room

    while not folder.is_dir():
        folder = folder.parent
    space = Room(folder).space()
    return {
        "free_bytes": space.free,
        "total_bytes": space.total,
        "reserve_bytes": place.settings.storage.reserve_bytes,
    }


def has_room(disk: dict[str, Any]) -> bool:
    """Whether what `space_of` says is above the reserve."""
    return bool(disk["free_bytes"] > disk["reserve_bytes"])


def tls_status(place: Place) -> list[dict[str, Any]]:
    """Every certificate with its dates, and what is wrong with it."""
    from noctis.tls.known import sentences

    return [
        entry.as_json() | {"sentence": sentence}
        for entry, sentence in sentences(place.settings, place.snapshots.current().facilities)
    ]


def verify_status(place: Place) -> dict[str, Any]:
    """The last verify of the archive, and the next one."""
    from datetime import UTC, datetime

    from noctis.scheduler import times, verification

    last = verification.read(place.home)
    upcoming = times.next_slot(place.settings.schedule, datetime.now(UTC))
    ended = last.ended if last else None
    return {
        "running": verification.running_pid(place.home) is not None,
        "last": ended,
        "files": last.files if last and ended else None,
        "findings": last.findings if last and ended else None,
        "next": upcoming.isoformat() if upcoming else None,
    }


def is_well(document: dict[str, Any]) -> bool:
    disk = document["disk"]
    return bool(
        document["supervisor"]["running"]
        and all(each["state"] in GOOD for each in document["listeners"])
        and document["archiver"].get("state") == "running"
        and (document["audit"] is None or document["audit"]["state"] == "running")
        and document["database"]["up_to_date"]
        and has_room(disk)
        and not document["archive"]["no_room"]
        and not any(each["stops"] for each in document["tls"])
    )
