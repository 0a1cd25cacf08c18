"""`noctis receipt`: what a facility sent on one day, study by study, with digests."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from noctis.cli.common import App, json_option, plain
from noctis.errors import UsageError
from noctis.text import counted


@click.command()
@click.argument("facility")
@click.argument("date")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="A line for each study.")
@click.option("--send", is_flag=True, help="Send the receipt that was made by e-mail once more, instead of showing it.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="With --send: to this address, not to the usual ones.")
@click.pass_obj
def receipt(app: App, facility: str, date: str, as_json: bool, as_csv: bool, send: bool, to: tuple[str, ...]) -> None:
    """Show what FACILITY sent on DATE (YYYY-MM-DD, today or yesterday), as the index has it now.

    Digests are SHA-256: of a study, over the digests of the data sets of its instances that came on that day; see
    docs/notifications.md. The receipts that are made every night are in <home>/receipts.
    """
    from noctis.receipts.day import Summing, parse_day, study_lines
    from noctis.receipts.document import Head, as_text
    from noctis.receipts.document import as_csv as csv_lines
    from noctis.receipts.document import as_json as json_lines

    day = parse_day(date)
    engine = app.engine()
    found = app.registry.get(facility)
    if as_json and as_csv:
        raise UsageError("--json or --csv, not both")
    if to and not send:
        raise UsageError("--to goes with --send")
    if send:
        _send(app, found.slug, date, to)
        return
    _note(app, found.slug, day.isoformat())
    head = Head.of(found.slug, found.name, found.ae_title, day, 0)
    summing = Summing()
    with _bar() as update:
        lines = study_lines(engine, found.id, day, update)
        if as_json:
            pieces = json_lines(head, lines, summing)
        else:
            pieces = csv_lines(lines, summing) if as_csv else map(_plain_line, as_text(head, lines, summing))
        for piece in pieces:
            sys.stdout.write(piece)


def _note(app: App, slug: str, day: str) -> None:
    """Looking at what patients sent is an event."""
    from noctis.cli.events import note_query

    note_query(app, "query.receipt", facility=slug, day=day)


def _plain_line(text: str) -> str:
    """What a sender wrote must not command the terminal."""
    return "\n".join(plain(line) for line in text.split("\n"))


def _send(app: App, slug: str, date: str, to: tuple[str, ...]) -> None:
    import re

    from noctis.receipts.day import parse_day
    from noctis.receipts.keeper import send_again
    from noctis.sections import EMAIL

    for each in to:
        if not re.fullmatch(EMAIL, each):
            raise UsageError(f"{each!r} is no e-mail address")
    count = send_again(app.engine(), app.settings, slug, parse_day(date), list(to))
    where = counted(count, "address", "addresses")
    click.echo(f"The receipt is on its way to {where}; noctis notification list shows what becomes of it.")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Progress on stderr, where that is a terminal and the receipt itself goes elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = sys.stderr.isatty() and not sys.stdout.isatty()
    columns = (TextColumn("studies"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as progress:
        task = progress.add_task("studies", total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update
