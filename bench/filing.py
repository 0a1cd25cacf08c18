"""The archiver's rate as the index grows: how many instances a second it files into an empty index and into a full one.

The archiver is Noctis's own: it finds prepared spool entries by hints, or by its scan alone, files them in its batches
and does all else that is due meanwhile. Empty and full take turns; the medians count. UIDs are spread as modalities
make them, and at random, which is the worst that an index can meet.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from bench import machine
from bench.archiving import fresh_database, make_place, measure
from bench.index_fill import fill
from bench.machine import Scratch
from bench.report import Table, as_markdown, show_tables
from bench.targets import Target
from bench.uids import SOURCES
from noctis.errors import NoctisError

WANTED = 0.9  # of an empty index's rate
WANTED_AT = 1_000_000  # instances; at fewer the ratio says nothing
FIRST = 500  # instances that an "empty" index has: what is made only once is no part of its rate


@dataclass
class Figures:
    """Instances filed per second, run by run."""

    uids: str
    hints: bool
    instances_in_index: int
    empty: list[float] = field(default_factory=list)
    full: list[float] = field(default_factory=list)

    @property
    def what(self) -> str:
        return f"{self.uids} UIDs, {'with hints' if self.hints else 'by scans alone'}"

    @property
    def ratio(self) -> float:
        return round(statistics.median(self.full) / statistics.median(self.empty), 3)

    @property
    def target(self) -> Target:
        measured = self.ratio if self.instances_in_index >= WANTED_AT else None
        return Target(f"filing, {self.what}: at {WANTED_AT:,} instances / empty", WANTED, measured)


@dataclass(frozen=True)
class Bench:
    """One run's choices."""

    scratch: Scratch
    server: str | None  # PostgreSQL's URL; None: SQLite
    instances: int
    spooled: int
    repeat: int
    console: Console

    def run(self, spread: str) -> list[Figures]:
        """Empty and full in turn, with hints and without."""
        uids = SOURCES[spread](2)

        def empty(hints: bool) -> float:
            with fresh_database(self.server, "empty") as url:
                place = make_place(self.scratch.store(), url)
                measure(place, FIRST, uids, hints=hints)
                return measure(place, self.spooled, uids, hints=hints)

        with fresh_database(self.server, "full") as url:
            full = make_place(self.scratch.store(stays=True), url)
            begun = time.monotonic()
            rows = fill(full.settings, self.instances, SOURCES[spread](1))
            self._say(f"filled an index with {rows:,} instances in {time.monotonic() - begun:.0f} s")
            figures = [Figures(spread, hints, rows) for hints in (True, False)]
            for _ in range(self.repeat):
                for each in figures:
                    each.empty.append(empty(each.hints))
                    each.full.append(measure(full, self.spooled, uids, hints=each.hints))
                    self._say(f"{each.what}: empty {each.empty[-1]} /s, at {rows:,} {each.full[-1]} /s")
        return figures

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False)


def table(database: str, figures: Sequence[Figures]) -> Table:
    columns = ["filing", "empty /s", "full /s", "ratio", "wanted", "verdict"]
    shown = Table(f"instances filed per second, {database}, full: {figures[0].instances_in_index:,} instances", columns)
    for each in figures:
        rates = [f"{statistics.median(rates):.0f}" for rates in (each.empty, each.full)]
        shown.rows.append([each.what, *rates, f"{each.ratio:.2f}x", each.target.wanted_in_words, each.target.verdict])
    return shown


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench --filing", description="Measure the archiver as the index grows."
    )
    parser.add_argument("--instances", type=int, default=WANTED_AT, metavar="N", help="rows of the full index")
    parser.add_argument("--spool", type=int, default=5000, metavar="N", help="instances that are filed for a figure")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="figures of each kind: the medians")
    parser.add_argument("--uids", choices=[*sorted(SOURCES), "both"], default="both", help="how UIDs are spread")
    parser.add_argument("--database-url", metavar="URL", help="a PostgreSQL server whose user may create databases")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where all is stored (default: temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table, for documents")
    return parser


def main() -> int:
    options = arguments().parse_args()
    for name in [name for name in os.environ if name.startswith("NOCTIS_")]:
        del os.environ[name]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(width=None if sys.stdout.isatty() else 180)
    spreads = sorted(SOURCES) if options.uids == "both" else [options.uids]
    try:
        with Scratch(options.scratch) as scratch:
            described = machine.describe(scratch.path)
            bench = Bench(
                scratch, options.database_url, options.instances, options.spool, max(1, options.repeat), console
            )
            figures = [each for spread in spreads for each in bench.run(spread)]
    except (NoctisError, SQLAlchemyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    database = "SQLite" if options.database_url is None else "PostgreSQL"
    runs = f"The medians of {bench.repeat} runs, each of {bench.spooled} instances of 6.6 kB"
    introduction = f"{machine.in_words(described)}. {runs}."
    shown = [table(database, figures)]
    show_tables(introduction, shown, console)
    if options.json:
        document: dict[str, Any] = {
            "machine": described,
            "database": database,
            "spooled": bench.spooled,
            "repeat": bench.repeat,
            "figures": [{**asdict(each), "ratio": each.ratio} for each in figures],
            "targets": [each.target.as_json() for each in figures],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(as_markdown(introduction, shown), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
