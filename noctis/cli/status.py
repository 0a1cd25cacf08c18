"""`noctis status`: every listener, the spool, the archiver, the database and the disk, as they are now."""

import contextlib
import time
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, console, emit_json, json_option, safe
from noctis.errors import ExitCode, NoctisError
from noctis.text import moment, size

if TYPE_CHECKING:
    from noctis.repository.usage import Usage

WATCH_SECONDS = 1.0
NEARLY_PERCENT = 90  # of a quota: worth a line
GOOD = ("running", "idle")


@click.command()
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C; with --json a line each.")
@json_option
@click.pass_obj
def status(app: App, watch: bool, as_json: bool) -> int:
    """Show what runs. Exit code 1 when something does not."""
    app.open_home()
    if watch:
        return follow(app, as_json)
    document = gather(app)
    if as_json:
        emit_json(document)
    else:
        console().print(render(document))
    return ExitCode.DONE if is_well(document) else ExitCode.FOUND_WRONG


def follow(app: App, as_json: bool) -> int:
    from rich.live import Live

    while as_json:
        emit_json(gather(app), indent=None)
        time.sleep(WATCH_SECONDS)
    with Live(render(gather(app)), console=console(), auto_refresh=False, screen=console().is_terminal) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(render(gather(app)), refresh=True)


def gather(app: App) -> dict[str, Any]:
    """The whole status; what cannot be had says why instead."""
    document: dict[str, Any] = {"supervisor": {"running": False}, "listeners": [], "audit": None}
    document |= {"archiver": {}, "watcher": {}, "scheduler": {}}
    try:
        told = app.control.status()
        document["supervisor"] = {"running": True} | {name: told[name] for name in ("pid", "version", "started_at")}
        document |= {name: told[name] for name in ("listeners", "archiver", "watcher", "scheduler", "audit")}
    except NoctisError as error:
        document["supervisor"]["error"] = error.message
    document["home"] = str(app.home.root)
    document["spool"] = spool_status(app)
    document["database"], document["usage"] = database_status(app)
    document["disk"] = disk_status(app)
    document["archive"] = archive_status(app)
    document["tls"] = tls_status(app)
    document["verify"] = verify_status(app)
    return document


def spool_status(app: App) -> dict[str, Any]:
    """What is acknowledged and not filed yet."""
    from noctis.repository.slots import everything_waiting

    pending = total = 0
    oldest: float | None = None
    for entry in everything_waiting(app.home.spool):
        try:
            found = entry.path.stat()
        except FileNotFoundError:
            continue
        pending += 1
        total += found.st_size
        oldest = found.st_mtime if oldest is None else min(oldest, found.st_mtime)
    seconds = None if oldest is None else round(max(0.0, time.time() - oldest), 1)
    return {"pending": pending, "oldest_seconds": seconds, "bytes": total}


def database_status(app: App) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """How the database is; and what is archived, against the quotas, of all and of each facility, where it says."""
    from noctis.db import migrate
    from noctis.db.engine import make_engine
    from noctis.repository.queries import archived_usage

    engine = make_engine(app.settings, pooled=False)
    document: dict[str, Any] = {"url": engine.url.render_as_string(hide_password=True), "reachable": False}
    usage = None
    try:
        state = migrate.schema_state(engine)
        error = None if state.up_to_date else "its schema is not this release's: noctis db upgrade"
        document |= {"reachable": True, "schema": state.current, "up_to_date": state.up_to_date, "error": error}
        if state.up_to_date:
            with contextlib.suppress(NoctisError):
                usage = against_quotas(app, archived_usage(engine))
    except NoctisError as error:
        document |= {"schema": None, "up_to_date": False, "error": error.message}
    finally:
        engine.dispose()
    return document, usage


def against_quotas(app: App, used: "dict[str, Usage]") -> dict[str, Any]:
    from noctis.repository.usage import NONE, UsageFile, limits_in_all, limits_of, report

    storage = app.settings.storage
    return {
        "in_all": report(UsageFile(archived=used).in_all, limits_in_all(storage)),
        "facilities": {
            each.slug: report(used.get(each.slug, NONE), limits_of(each, storage))
            for each in app.snapshots.current().facilities
        },
    }


def archive_status(app: App) -> dict[str, Any]:
    """For which facilities nothing is filed, as the file system of their folder has too little room."""
    from noctis.repository.room import ArchiveFullError, Room

    room = Room(app.home.media, app.settings.storage.reserve_bytes)
    full = {}
    for each in app.snapshots.current().facilities:
        try:
            room.check(each.slug)
        except ArchiveFullError as error:
            full[each.slug] = {"reason": error.message, "fix": error.fix}
    return {"no_room": full}


def disk_status(app: App) -> dict[str, Any]:
    from noctis.repository.room import Room

    folder = app.home.media
    while not folder.is_dir():
        folder = folder.parent
    space = Room(folder).space()
    return {
        "free_bytes": space.free,
        "total_bytes": space.total,
        "reserve_bytes": app.settings.storage.reserve_bytes,
    }


def tls_status(app: App) -> list[dict[str, Any]]:
    """Every certificate with its dates, and what is wrong with it."""
    from noctis.checks.tls import sentences

    return [
        entry.as_json() | {"sentence": sentence}
        for entry, sentence in sentences(app.settings, app.snapshots.current().facilities)
    ]


def verify_status(app: App) -> dict[str, Any]:
    """The last verify of the archive, and the next one."""
    from datetime import UTC, datetime

    from noctis.scheduler import times, verification

    last = verification.read(app.home)
    upcoming = times.next_slot(app.settings.schedule, datetime.now(UTC))
    ended = last.ended if last else None
    return {
        "running": verification.running_pid(app.home) is not None,
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
        and disk["free_bytes"] > disk["reserve_bytes"]
        and not document["archive"]["no_room"]
        and not any(each["stops"] for each in document["tls"])
    )


def render(document: dict[str, Any]) -> Any:
    """The status for a terminal."""
    from rich.console import Group
    from rich.table import Table

    supervisor = document["supervisor"]
    if supervisor["running"]:
        since = moment(supervisor["started_at"])
        head = f"[bold]noctis {supervisor['version']}[/bold]  pid {supervisor['pid']}  since {since}"
    else:
        head = "[red]no supervisor runs[/red]  start it: noctis supervise   (or: systemctl start noctis)"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "port",
        "facility",
        "AE title",
        "state",
        "pid",
        "live",
        "instances",
        "bytes",
        "last instance",
        "last error",
    ):
        table.add_column(name, justify="right" if name in ("port", "pid", "live", "instances", "bytes") else "left")
    for each in document["listeners"]:
        colour = "green" if each["state"] in GOOD else "red"
        table.add_row(
            str(each["port"]),
            safe(each["facility"] or "(default)"),
            safe(each["ae_title"]),
            f"[{colour}]{each['state']}[/{colour}]",
            " ".join(map(str, each["workers"])),
            str(each["live_associations"]),
            str(each["instances"]),
            size(each["bytes"]),
            moment(each["last_instance"]),
            safe(each["last_error"]),
        )
    spool, archiver, database, disk = (document[name] for name in ("spool", "archiver", "database", "disk"))
    oldest = f", the oldest for {spool['oldest_seconds']} s" if spool["pending"] else ""
    lines = [
        f"spool     {spool['pending']} waiting{oldest}",
        f"archiver  {archiver.get('state', '-')}, {archiver.get('filed', 0)} filed, "
        f"{archiver.get('duplicates', 0)} duplicates, {archiver.get('conflicts', 0)} conflicts, "
        f"{archiver.get('quarantined', 0)} quarantined {safe(archiver.get('last_error', ''))}",
        f"database  {safe(database['url'])}, "
        + ("reachable" if database["up_to_date"] else f"[red]{safe(database['error'])}[/red]"),
        f"disk      {size(disk['free_bytes'])} free of {size(disk['total_bytes'])}, "
        f"of which {size(disk['reserve_bytes'])} are the reserve",
        f"verify    {verify_line(document['verify'])}",
    ]
    for told in document["archive"]["no_room"].values():
        lines.append(f"archive   [red]{safe(told['reason'])}[/red]; {safe(told['fix'])}")
    for whose, usage in ((document["usage"] or {}).get("facilities", {})).items():
        percent = max(usage["bytes_percent"] or 0, usage["instances_percent"] or 0)
        if percent >= NEARLY_PERCENT:
            lines.append(f"quota     [yellow]{safe(whose)} has used {percent} % of its quota[/yellow]")
    for each in document["tls"]:
        if each["problem"]:
            colour = "red" if each["stops"] else "yellow"
            lines.append(f"tls       [{colour}]{safe(each['sentence'])}[/{colour}]: {safe(each['fix'])}")
    if (audit := document["audit"]) is not None:
        waits = f", for {audit['waiting_seconds']} s" if audit.get("waiting_seconds") is not None else ""
        lines.append(
            f"audit     {audit['state']}, {audit.get('sent', 0)} sent, {audit.get('waiting', 0)} waiting{waits} "
            + safe(audit["last_error"])
        )
    return Group(head, "", table, "", *lines)


def verify_line(verify: dict[str, Any]) -> str:
    upcoming = f"next {moment(verify['next'])}" if verify["next"] else "none is scheduled"
    if verify["running"]:
        upcoming = "one is running"
    if not verify["last"]:
        return f"never; {upcoming}"
    found = ", ".join(f"{count} {kind}" for kind, count in verify["findings"].items())
    said = f"[red]found {safe(found)}[/red]" if found else "all well"
    return f"{moment(verify['last'])}, {verify['files']} files, {said}; {upcoming}"
