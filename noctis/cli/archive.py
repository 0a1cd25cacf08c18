"""`noctis archive`: do files and index agree, and the index from the files alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from noctis.cli.common import App, console, emit_json, json_option, show_table
from noctis.cli.events import note
from noctis.errors import ExitCode

if TYPE_CHECKING:
    from noctis.repository.verify import Report


@click.group()
def archive() -> None:
    """Verify the archive against the index, or rebuild the index from it."""


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere: a callback for (done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console()
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update


def answer(report: "Report", as_json: bool, well: str) -> int:
    if as_json:
        emit_json(asdict(report) | {"sound": report.sound})
    elif report.sound:
        click.secho(well, fg="green")
    else:
        rows = [[each.kind, each.facility, each.subject, each.detail] for each in report.findings]
        show_table(["finding", "facility", "what", "detail"], rows, empty="")
        counts = ", ".join(f"{count} {kind}" for kind, count in report.counts.items())
        click.secho(f"{report.files} files, {report.rows} rows: {counts}", fg="red")
    return ExitCode.DONE if report.sound else ExitCode.FOUND_WRONG


def counts(report: "Report") -> dict[str, Any]:
    """What an event says of a report."""
    return {"files": report.files, "rows": report.rows, "sound": report.sound, "findings": dict(report.counts)}


@archive.command()
@click.option("--no-digests", is_flag=True, help="Do not read the files; only whether they are there.")
@json_option
@click.pass_obj
def verify(app: App, no_digests: bool, as_json: bool) -> int:
    """Compare files and rows, both ways, and the digest of every data set. May run while instances arrive."""
    from datetime import UTC, datetime

    from noctis.repository.verify import verify as look
    from noctis.scheduler import verification

    engine = app.engine()
    with verification.only_one(app.home):
        began = datetime.now(UTC)
        with progress_bar("verifying") as update:
            report = look(app.settings, engine, update, digests=not no_digests)
        if no_digests:
            note(app, "archive.verified", digests=False, **counts(report))
        else:
            verification.conclude(app.home, report, began, app.actor)
    return answer(report, as_json, f"{report.files} files and {report.rows} rows agree.")


@archive.command()
@json_option
@click.pass_obj
def reindex(app: App, as_json: bool) -> int:
    """Rebuild studies, series and instances from the archive's files alone."""
    from noctis.repository.verify import reindex as rebuild

    engine = app.engine()
    with progress_bar("indexing") as update:
        report = rebuild(app.settings, engine, update)
    note(app, "archive.reindexed", **counts(report))
    return answer(report, as_json, f"{report.rows} instances are indexed anew from {report.files} files.")
