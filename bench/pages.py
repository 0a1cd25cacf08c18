"""The pages on a large index: milliseconds to the first byte of every page, search and combination of filters.

Databases are filled straight (bench.pages_fill), then Noctis's own web process is started on them, an operator logs
in, and every path is asked for in turn, over one kept connection as a browser's. What counts is from the request to the
first byte of the answer's body. Ends with 1 when a path's p95 is above the limit.
"""

import argparse
import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from bench import databases, machine
from bench.machine import Scratch
from bench.pages_fill import Filled, fill
from bench.report import Table, as_markdown, show_tables
from noctis.config import Settings, load_settings
from noctis.db.engine import make_engine
from noctis.db.migrate import upgrade
from noctis.errors import NoctisError
from noctis.users.accounts import Accounts
from noctis.users.roles import Role

WANTED_MS = 100.0
START_SECONDS = 60.0
USER, PASSWORD = "bench", "correct horse battery staple"
# Pages without parameters. One that this release has not is left out, and named.
PAGES = (
    "/",
    "/studies",
    "/quarantine",
    "/refusals",
    "/live",
    "/silence",
    "/notifications",
    "/events",
    "/users",
    "/account",
)


@dataclass
class Figures:
    """Milliseconds to the first byte of one path, in the order in which they were measured, and of the web process's
    CPU: what it takes is told even where others are at work."""

    what: str
    path: str
    milliseconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """By nearest rank."""
        ordered = sorted(self.milliseconds)
        return ordered[max(0, -(-round(share * 100) * len(ordered) // 100) - 1)]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "p50": self.percentile(0.5), "p95": self.percentile(0.95)}


@dataclass
class Run:
    """What was measured on one database."""

    database: str
    studies: int
    figures: list[Figures] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def slow(self) -> list[Figures]:
        return [each for each in self.figures if each.percentile(0.95) > WANTED_MS]


def searches(filled: Filled) -> list[tuple[str, dict[str, str]]]:
    """Searches and filters of the list of studies, easy ones and the hardest that we know."""
    large, small = filled.slugs[0], filled.slugs[-1]
    without_mg = filled.slugs[1]  # bench.pages_fill: facilities 2, 5, 8 … have no mammography
    common, rare, first = filled.common_name, filled.rare_name, filled.first_name
    year, since = {"from": "2019-01-01", "to": "2019-12-31"}, {"from": "2010-01-01"}
    most = {"modality": "CT", "status": "complete", "q": "ct", "patient": common, "accession": "19"}
    return [
        ("one letter", {"q": "a"}),
        ("two letters", {"q": "an"}),
        ("a frequent name", {"q": common}),
        ("a rare name", {"q": rare}),
        ("a frequent first name", {"q": first}),
        ("name and first name, both frequent", {"q": f"{common} {first}"}),
        ("beginnings of name and first name", {"q": f"{common[:3]} {first[:2]}"}),
        ("a patient's ID", {"q": filled.patient_id}),
        ("the beginning that all IDs have", {"q": "P0"}),
        ("an accession number", {"q": filled.accession}),
        ("a study UID", {"q": filled.uid}),
        ("a word of descriptions", {"q": "chest"}),
        ("words that no study has together", {"q": "chest mammography"}),
        ("a word that no study has", {"q": "qqqq"}),
        ("six letters", {"q": "a b c m p t"}),
        ("a patient's name", {"patient": common}),
        ("a patient's name that nobody has", {"patient": "qqqq"}),
        ("an accession number in its field", {"accession": filled.accession}),
        ("a year's accession numbers", {"accession": "19"}),
        ("the largest facility", {"facility": large}),
        ("the smallest facility", {"facility": small}),
        ("a frequent modality", {"modality": "CT"}),
        ("a rare modality", {"modality": "NM"}),
        ("a modality that nobody has", {"modality": "QQ"}),
        ("a modality that the facility has not", {"modality": "MG", "facility": without_mg}),
        ("modality and facility", {"modality": "MR", "facility": small}),
        ("receiving", {"status": "receiving"}),
        ("receiving, facility", {"status": "receiving", "facility": large}),
        ("complete", {"status": "complete"}),
        ("a day", {"from": "2020-03-05", "to": "2020-03-05"}),
        ("a year", year),
        ("since a day", {"from": "2016-06-01"}),
        ("until a day", {"to": "2017-01-31"}),
        ("a year, facility", {**year, "facility": small}),
        ("a year, modality", {**year, "modality": "XA"}),
        ("a year, a frequent name", {**year, "q": common}),
        ("a year, a rare name", {**year, "q": rare}),
        ("a year, words that no study has together", {**year, "q": "chest mammography"}),
        ("ten years, a modality that the facility has not", {**since, "modality": "MG", "facility": without_mg}),
        ("facility, a frequent name", {"facility": large, "q": common}),
        ("facility, a word, a first name", {"facility": large, "q": f"chest {first}"}),
        ("facility, modality, complete", {"facility": small, "modality": "US", "status": "complete", "q": "a b"}),
        ("everything", {**year, **most, "facility": large}),
    ]


def paths(filled: Filled) -> Iterator[tuple[str, str]]:
    """Everything that is asked for."""
    for page in PAGES:
        yield f"page {page}", page
    slug, uid = filled.newest
    yield "a study", f"/studies/{slug}/{quote(uid)}"
    yield "a study, API", f"/api/v1/studies/{slug}/{quote(uid)}"
    yield "its instances, API", f"/api/v1/studies/{slug}/{quote(uid)}/instances"
    yield (
        "rows that are asked for again",
        "/studies/rows?ids=" + ".".join(map(str, range(filled.studies - 49, filled.studies + 1))),
    )
    yield "studies, API", "/api/v1/studies"
    yield "a page far down", f"/studies?older={filled.studies // 2}"
    yield "a page far down, newer", f"/studies?newer={filled.studies // 2}"
    yield "a page far down, by date", "/studies?from=2010-01-01&older=" + quote(f"{filled.studies // 2}.20210101")
    for what, asked in searches(filled):
        yield f"search: {what}", f"/studies?{urlencode(asked)}"


class Client:
    """An operator's browser: one connection, one cookie."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._cookie = ""

    def log_in(self) -> None:
        body = urlencode({"name": USER, "password": PASSWORD, "next": "/"})
        self._connection.request("POST", "/login", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = self._connection.getresponse()
        answer.read()
        self._cookie = (answer.headers["Set-Cookie"] or "").partition(";")[0]
        if answer.status != 303 or not self._cookie:
            raise RuntimeError(f"the login was answered with {answer.status}")

    def first_byte(self, path: str) -> tuple[int, float]:
        """Status, and milliseconds to the first byte of the answer's body."""
        begun = time.perf_counter()
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        answer.read(1)
        taken = (time.perf_counter() - begun) * 1000
        answer.read()
        return answer.status, taken

    def close(self) -> None:
        self._connection.close()


def cpu_milliseconds(pid: int) -> float:
    """What a process's threads have had of the CPUs (Linux)."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            total += int((thread / "schedstat").read_text().split()[0])  # ns
    return total / 1e6


@contextmanager
def web(settings: Settings) -> Iterator[tuple[int, int]]:
    """The web process of a home; its port and its pid."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    environment = {
        **os.environ,
        "NOCTIS_HOME": str(settings.home),
        "NOCTIS_DATABASE__URL": settings.database_url,
        "NOCTIS_WEB__PORT": str(port),
        "NOCTIS_LOGGING__LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "noctis", "web"], env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(process, port)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the web process did not start") from None
            time.sleep(0.05)
        else:
            return


def measure(database: str, settings: Settings, studies: int, repeat: int, console: Console) -> Run:
    """Fill a database, and ask for everything `repeat` times, in turn."""
    engine = make_engine(settings)
    try:
        upgrade(engine)
        Accounts(engine, "bench").add(USER, PASSWORD, Role.ADMIN)
    finally:
        engine.dispose()
    begun = time.monotonic()
    filled = fill(settings, studies)
    console.print(f"{database}: {studies:,} studies made in {time.monotonic() - begun:.0f} s", highlight=False)
    return ask(Run(database, studies, [Figures(what, path) for what, path in paths(filled)]), settings, repeat)


def ask(run: Run, settings: Settings, repeat: int) -> Run:
    """Ask for every path of a run."""
    with web(settings) as (port, pid), closing(Client(port)) as client:
        client.log_in()
        for _ in range(repeat):
            for each in list(run.figures):
                before = cpu_milliseconds(pid)
                status, taken = client.first_byte(each.path)
                if status == 404 and each.path in PAGES:
                    run.figures.remove(each)
                    run.left_out.append(each.path)
                elif status != 200:
                    raise RuntimeError(f"{each.path} was answered with {status}")
                else:
                    each.milliseconds.append(round(taken, 2))
                    each.cpu.append(round(cpu_milliseconds(pid) - before, 2))
    return run


def table(run: Run) -> Table:
    shown = Table(
        f"milliseconds to the first byte, {run.database}, {run.studies:,} studies",
        ["what", "path", "p50", "p95", "max", "CPU, p50", "verdict"],
        2,
    )
    for each in run.figures:
        figures = [f"{value:.0f}" for value in (each.percentile(0.5), each.percentile(0.95), max(each.milliseconds))]
        figures.append(f"{statistics.median(each.cpu):.0f}")
        shown.rows.append([each.what, each.path[:60], *figures, "SLOW" if each in run.slow else "met"])
    return shown


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench --pages", description="Measure the pages and the search on a large index."
    )
    databases.add_arguments(parser)
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="how often each path is asked for (20)")
    return parser


def _runs(options: argparse.Namespace, scratch: Scratch, console: Console) -> Iterator[Run]:
    for database, url in databases.chosen(options, "pages"):
        settings = load_settings(options={"home": str(scratch.store()), "database": {"url": url}})
        settings.paths.create()
        yield measure(database, settings, options.studies, max(1, options.repeat), console)


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
    introduction = f"{machine.in_words(described)}. Each path was asked for {max(1, options.repeat)} times."
    left_out = sorted({path for run in runs for path in run.left_out})
    if left_out:
        introduction += f" Pages that are not there: {', '.join(left_out)}."
    shown = [table(run) for run in runs]
    show_tables(introduction, shown, console)
    slow = [each for run in runs for each in run.slow]
    for each in slow:
        console.print(f"above {WANTED_MS:g} ms: {each.what}, p95 {each.percentile(0.95):.0f} ms", highlight=False)
    if options.json:
        document = {"machine": described, "wanted_ms": WANTED_MS, "left_out": left_out}
        runs_in_json = [
            {"database": run.database, "studies": run.studies, "figures": [each.as_json() for each in run.figures]}
            for run in runs
        ]
        options.json.write_text(json.dumps(document | {"runs": runs_in_json}, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(as_markdown(introduction, shown), encoding="utf-8")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
