"""The databases that something is measured on: an empty one of SQLite, then one of PostgreSQL."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench.archiving import fresh_database

STUDIES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many studies, on which databases, and where the figures go."""
    parser.add_argument("--studies", type=int, default=STUDIES, metavar="N", help=f"rows of the index ({STUDIES:,})")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both", help="which (both)")
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="a PostgreSQL server whose user may create databases; without one, the tests' is started",
    )
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where all is stored (default: temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables, for documents")


def chosen(options: argparse.Namespace, name: str) -> Iterator[tuple[str, str | None]]:
    """What each is called, and its URL (None: SQLite's file); it is there until the next one is asked for."""
    for database in ("SQLite", "PostgreSQL"):
        if options.database not in (database.lower(), "both"):
            continue
        with ExitStack() as stack:
            url = None
            if database == "PostgreSQL":
                url = stack.enter_context(fresh_database(options.database_url or stack.enter_context(_server()), name))
            yield database, url


@contextmanager
def _server() -> Iterator[str]:
    """The tests' PostgreSQL server, in its own defaults."""
    from tests.postgres import PostgresServer

    with closing(PostgresServer()) as server:
        yield server.url("postgres")
