"""`noctis status`: every listener, the spool, the archiver, the database and the disk, as they are now."""

import time
from typing import Any

import click

from noctis.checks.status import GOOD, Place, gather, is_well
from noctis.cli.common import App, console, emit_json, json_option, safe
from noctis.errors import ExitCode
from noctis.text import moment, size

WATCH_SECONDS = 1.0
NAMED_MAX = 10  # listeners that do not run: the table has the others
NEARLY_PERCENT = 90  # of a quota: worth a line


@click.command()
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C; with --json a line each.")
@json_option
@click.pass_obj
def status(app: App, watch: bool, as_json: bool) -> int:
    """Show what runs. Exit code 1 when something does not."""
    app.open_home()
    place = Place(app.settings, app.control, app.snapshots)
    if watch:
        return follow(place, as_json)
    document = gather(place)
    if as_json:
        emit_json(document)
    else:
        console().print(render(document))
    return ExitCode.DONE if is_well(document) else ExitCode.FOUND_WRONG


def follow(place: Place, as_json: bool) -> int:
    from rich.live import Live

    while as_json:
        emit_json(gather(place), indent=None)
        time.sleep(WATCH_SECONDS)
    with Live(render(gather(place)), console=console(), auto_refresh=False, screen=console().is_terminal) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(render(gather(place)), refresh=True)


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
    shut = [each for each in document["listeners"] if each["state"] not in GOOD]
    names = ", ".join(safe(each["facility"] or "(default)") for each in shut[:NAMED_MAX])
    more = f" and {len(shut) - NAMED_MAX} more" if len(shut) > NAMED_MAX else ""
    lines = [
        f"[red]listeners {len(shut)} of {len(document['listeners'])} do not run: {names}{more}[/red]"
        if shut
        else f"listeners {len(document['listeners'])}, all run",
        f"spool     {spool['pending']} waiting{oldest}",
        f"archiver  {archiver.get('state', '-')}, {archiver.get('filed', 0)} filed, "
        f"{archiver.get('duplicates', 0)} duplicates, {archiver.get('conflicts', 0)} conflicts, "
        f"{archiver.get('quarantined', 0)} quarantined {safe(archiver.get('last_error', ''))}",
        f"database  {safe(database['url'])}, " + database_line(database),
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
    if (web := document["web"]) is not None:
        error = web["last_error"].partition("\n")[0]
        lines.append(f"web       {web['state']}, {safe(web['url'])} {safe(error)}")
    if (audit := document["audit"]) is not None:
        waits = f", for {audit['waiting_seconds']} s" if audit.get("waiting_seconds") is not None else ""
        lines.append(
            f"audit     {audit['state']}, {audit.get('sent', 0)} sent, {audit.get('waiting', 0)} waiting{waits} "
            + safe(audit["last_error"])
        )
    if (notifier := document["notifier"]) is not None:
        text = f"{notifier['state']}, {notifier.get('sent', 0)} delivered"
        if waiting := notifier.get("waiting_addresses"):
            text += f", {waiting} receivers wait"
        lines.append(f"notifier  {text} {safe(notifier['last_error'])}")
    return Group(head, "", table, "", *lines)


def database_line(database: dict[str, Any]) -> str:
    if database["upgrade"] is not None:
        return f"[yellow]{safe(database['error'])}[/yellow]; what arrives is received, and filed when it is done"
    return "reachable" if database["up_to_date"] else f"[red]{safe(database['error'])}[/red]"


def verify_line(verify: dict[str, Any]) -> str:
    upcoming = f"next {moment(verify['next'])}" if verify["next"] else "none is scheduled"
    if verify["running"]:
        upcoming = "one is running"
    if not verify["last"]:
        return f"never; {upcoming}"
    found = ", ".join(f"{count} {kind}" for kind, count in verify["findings"].items())
    said = f"[red]found {safe(found)}[/red]" if found else "all well"
    return f"{moment(verify['last'])}, {verify['files']} files, {said}; {upcoming}"
