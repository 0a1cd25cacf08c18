"""An upgrade at the start: seconds until the first C-ECHO is answered, and until the schema is this release's.

An index of many studies is made at an older schema (bench.pages_fill), then `noctis supervise` is started on it and one
facility's port is asked again and again. What counts is from the start of the command to the end of the first answer;
echoes go on until the schema is there, each over an association of its own, so that it shows what callers notice.
"""

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from rich.console import Console
from sqlalchemy import Engine, insert
from sqlalchemy.exc import SQLAlchemyError

from bench import databases, machine
from bench.machine import Scratch
from bench.pages_fill import FACILITIES, Filled, fill
from bench.receivers import free_ports
from bench.report import Table, as_markdown, show_tables
from bench.scu import Association
from bench.studies import TINY
from noctis.config import Settings, load_settings
from noctis.db import migrate
from noctis.db.engine import make_engine, reachable
from noctis.db.models import AssociationRecord
from noctis.errors import NoctisError
from noctis.facilities.snapshot import Facility, SnapshotReader
from noctis.facilities.watcher import refresh

ASSOCIATIONS = 200_000  # as many as are kept
OLDER = "0003"
PAUSE_SECONDS = 0.02  # between two echoes
UPGRADE_SECONDS = 3600.0
STOP_SECONDS = 120.0


@dataclass
class Run:
    """One start on an older schema. Seconds count from the start of the command."""

    database: str
    studies: int
    before: str
    after: str
    first_echo: float = 0.0
    upgraded: float = 0.0
    failed: int = 0  # echoes between the first and the upgrade's end that were not answered with success
    milliseconds: list[float] = field(default_factory=list)  # of the others

    def as_row(self) -> list[str]:
        slowest = max(self.milliseconds, default=0.0)
        usual = statistics.median(self.milliseconds) if self.milliseconds else 0.0
        return [
            self.database,
            f"{self.first_echo:.2f}",
            f"{self.upgraded:.1f}",
            str(len(self.milliseconds)),
            str(self.failed),
            f"{usual:.0f}",
            f"{slowest:.0f}",
        ]


def make_schema(engine: Engine, revision: str) -> None:
    """The tables of an older release in an empty database."""
    from alembic import command

    config = migrate.alembic_config()
    with reachable(engine), engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def make_older(settings: Settings, studies: int) -> Filled:
    """An index of an older release, with the snapshot that its watcher left."""
    engine = make_engine(settings, pooled=False)
    try:
        make_schema(engine, OLDER)
        filled = fill(settings, studies, words=False)
        _fill_associations(engine, filled, min(ASSOCIATIONS, studies))
        refresh(settings, engine)
    finally:
        engine.dispose()
    return filled


def _fill_associations(engine: Engine, filled: Filled, count: int) -> None:
    begun = datetime.now(UTC) - timedelta(days=180)
    step = timedelta(days=180) / count
    rows = [
        {
            "association_id": f"{number:032x}",
            "facility_id": 1 + number % len(filled.slugs),
            "port": 11113,
            "called": "BENCH",
            "calling": f"DEVICE{number % 300}",
            "address": "192.0.2.1",
            "started_at": begun + step * number,
            "ended_at": begun + step * number + timedelta(seconds=20),
            "outcome": "released",
            "instances": 100,
            "bytes": 52_600_000,
        }
        for number in range(count)
    ]
    with engine.begin() as connection:
        for first in range(0, count, 1000):
            connection.execute(insert(AssociationRecord), rows[first : first + 1000])


def measure(run: Run, settings: Settings, checkout: Path | None, log: Path) -> Run:
    """Start Noctis and ask until its schema is there."""
    facility = SnapshotReader(settings.paths.snapshot).current().facilities[0]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOCTIS_")}
    environment |= {
        "NOCTIS_HOME": str(settings.paths.root),
        "NOCTIS_SERVER__BIND": "127.0.0.1",
        "NOCTIS_SERVER__PORT": str(settings.server.port),
        "NOCTIS_WEB__ENABLED": "false",
        "NOCTIS_NOTIFICATIONS__ENABLED": "false",
    }
    if settings.database.url:
        environment["NOCTIS_DATABASE__URL"] = settings.database.url
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    engine = make_engine(settings, pooled=False)
    with log.open("wb") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "noctis", "supervise"], env=environment, stdout=output, stderr=output
        )
    try:
        look_at = 0.0
        while not run.first_echo or not run.upgraded:
            if process.poll() is not None or time.monotonic() - begun > UPGRADE_SECONDS:
                raise RuntimeError(f"Noctis ended, or its upgrade does not; see {log}")
            _ask(run, facility, begun)
            if not run.upgraded and time.monotonic() >= look_at:
                if migrate.schema_state(engine).up_to_date:
                    run.upgraded = time.monotonic() - begun
                look_at = time.monotonic() + 0.2
            time.sleep(PAUSE_SECONDS)
    finally:
        engine.dispose()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return run


def _ask(run: Run, facility: Facility, begun: float) -> None:
    """One echo."""
    asked = time.monotonic()
    association = Association("127.0.0.1", facility.port, facility.ae_title, TINY)
    try:
        association.open()
        succeeded = association.echo() == 0
        association.close()
    except OSError:
        succeeded = False
    if succeeded and not run.first_echo:
        run.first_echo = time.monotonic() - begun
    elif run.first_echo and not run.upgraded:
        if succeeded:
            run.milliseconds.append((time.monotonic() - asked) * 1000)
        else:
            run.failed += 1


def table(runs: list[Run]) -> Table:
    columns = ["database", "first echo, s", "upgraded, s", "echoes meanwhile", "failed", "ms, p50", "ms, max"]
    title = f"start on an index at schema {runs[0].before} that is upgraded to {runs[0].after}"
    return Table(f"{title}, {runs[0].studies:,} studies", columns, 1, [run.as_row() for run in runs])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench --upgrade", description="Measure how soon an upgraded Noctis answers on a large index."
    )
    databases.add_arguments(parser)
    parser.add_argument("--checkout", type=Path, metavar="DIR", help="whose Noctis is started (this one)")
    return parser


def _runs(options: argparse.Namespace, scratch: Scratch, console: Console) -> Iterator[Run]:
    for database, url in databases.chosen(options, "up"):
        home, port = scratch.store(), free_ports(FACILITIES + 1)
        settings = load_settings(
            options={
                "home": str(home),
                "database": {"url": url},
                "server": {"port": port, "bind": "127.0.0.1"},
                "facilities": {"first_port": port + 1, "last_port": port + FACILITIES},
            }
        )
        settings.paths.create()
        begun = time.monotonic()
        make_older(settings, options.studies)
        console.print(f"{database}: made in {time.monotonic() - begun:.0f} s", highlight=False)
        run = Run(database, options.studies, OLDER, migrate.revisions()[-1])
        yield measure(run, settings, options.checkout, home / "output.log")


def main() -> int:
    options = arguments().parse_args()
    for name in [name for name in os.environ if name.startswith("NOCTIS_")]:
        del os.environ[name]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(width=None if sys.stdout.isatty() else 180)
    try:
        with Scratch(options.scratch) as scratch:
            described = machine.describe(scratch.path)
            runs = list(_runs(options, scratch, console))
    except (NoctisError, SQLAlchemyError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    introduction = f"{machine.in_words(described)}. Seconds from the start of `noctis supervise`."
    show_tables(introduction, [table(runs)], console)
    if options.json:
        document = {"machine": described, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(as_markdown(introduction, [table(runs)]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
