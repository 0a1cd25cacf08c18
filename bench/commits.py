"""The commit, in every way there is a class for: what one instance costs until it may be acknowledged.

    python -m bench.commits                          every way, on the file system of the temporary folder
    python -m bench.commits --scratch DIR            on another one
    python -m bench.commits --json FILE              the figures, for machines

Each way is measured twice: receiving alone; and with a second process that takes what was committed into an archive at
the same time, as the archiver does, until the last one is filed. There, files that are made ahead and used once are
counted too, as if they were made before. The CPU figures are of both processes; work that the kernel does in threads of
its own (journal, writeback) is in none of them. Nothing is removed before the end, because removing many files makes
creating others slow for a while; `--tidy` is for where there is no room for that.

What is promised by each way, and proven, is in tests/unit/bench.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.commit_filing import Copy, CutAndLink, Link, Make
from bench.commit_inplace import RecycledSlots, Segment
from bench.commit_record import HEAD, Way
from bench.commit_ways import FilesAhead, GroupCommit, GroupSyncfs, LinkedAhead, RenameThenSync, TwoSyncs, WrittenAhead

SIZES = {"6.6 kB": 6_600, "131 kB": 131_000, "525 kB": 525_000}  # bytes of data
THREADS = (1, 4, 16)
PIECE = 1 << 16  # bytes that come at a time
BATCH_MAX = 64  # instances that are filed at once
_MEASURED = {"6.6 kB": 4.0, "131 kB": 1.0, "525 kB": 0.5}  # times --instances
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Contender:
    """One way, and how the archive takes from it."""

    name: str
    make: Callable[[Path, int, int], Way]  # root, bytes of an instance, instances
    filing: Make | None  # None: only receiving alone
    alone: bool = True
    ahead_each: bool = False  # what is made ahead is used once, so it is a part of each instance's cost


def _written_ahead(root: Path, size: int, count: int) -> WrittenAhead:
    way = WrittenAhead(root, size=size)
    way.prepare(count)
    return way


def _slots(root: Path, size: int, count: int) -> RecycledSlots:
    return RecycledSlots(root, slots=96, size=-(-(HEAD + size) // 4096) * 4096)


CONTENDERS = [
    Contender("two-syncs", lambda root, *_: TwoSyncs(root), Link),
    Contender("group", lambda root, *_: GroupCommit(root), Link),
    Contender("group-syncfs", lambda root, *_: GroupSyncfs(root), Link),
    Contender("rename-then-sync (not by POSIX)", lambda root, *_: RenameThenSync(root), Link),
    Contender("files-ahead", lambda root, *_: FilesAhead(root), Link),
    Contender("linked-ahead", lambda root, *_: LinkedAhead(root), Link),
    Contender("written-ahead", _written_ahead, CutAndLink, ahead_each=True),
    Contender("slots, copies fsync", _slots, partial(Copy, how="fsync")),
    Contender("slots, copies syncfs", _slots, partial(Copy, how="syncfs"), alone=False),
    Contender("slots, copies direct", _slots, partial(Copy, how="direct"), alone=False),
    Contender("segment, copies fsync", lambda root, *_: Segment(root), partial(Copy, how="fsync")),
    Contender("segment, copies direct", lambda root, *_: Segment(root), partial(Copy, how="direct"), alone=False),
]


@dataclass
class Row:
    """One way under one load."""

    way: str
    filed: bool
    size: str
    threads: int
    instances: int
    acknowledged_us: float  # wall, an instance, until the last is acknowledged
    wall_us: float  # the same until the last is filed too
    receive_cpu_us: float
    filing_cpu_us: float
    ahead_us: float  # wall, an instance, of making ahead what is used once; when filed it is in `wall_us` too

    @property
    def cpu_us(self) -> float:
        return self.receive_cpu_us + self.filing_cpu_us


def measure(contender: Contender, filed: bool, size: str, threads: int, count: int, root: Path) -> Row:
    """One load, in a folder of its own."""
    root.mkdir()
    data = memoryview(os.urandom(SIZES[size]))
    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    begun, cpu_begun = time.perf_counter(), time.process_time()
    way = contender.make(root, len(data), count)
    ahead, ahead_cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    if not contender.ahead_each:
        ahead = ahead_cpu = 0.0
    os.sync()
    ours, theirs = _fork.Pipe()
    process = None
    if filed:
        assert contender.filing is not None
        process = _fork.Process(target=_file, args=(contender.filing, root, theirs), daemon=True)
        process.start()
        theirs.close()
        ours.recv()
    sending = threading.Lock()
    failures: list[BaseException] = []
    spent: list[float] = []  # CPU seconds of each thread: asked from outside, it may be short by a tick of the kernel's

    def receive(number: int) -> None:
        try:
            for index in range(number, count, threads):
                hint = way.receive(f"1.2.3.{index}", pieces)
                if filed:
                    with sending:
                        ours.send(hint)
                else:
                    way.forget(hint)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        spent.append(time.thread_time())

    associations = [threading.Thread(target=receive, args=(number,), daemon=True) for number in range(threads)]
    begun = time.perf_counter()
    for thread in associations:
        thread.start()
    for thread in associations:
        while thread.is_alive():
            thread.join(1)
            if process and not process.is_alive():  # or they would wait for ever for a place to be given back
                raise SystemExit("the process that files has ended; see above")
    acknowledged = time.perf_counter() - begun
    filing_cpu = 0.0
    if process:
        ours.send(None)
        filing_cpu = ours.recv() + ahead_cpu
    wall = time.perf_counter() - begun
    if process:
        process.join()
    way.close()
    if failures:
        raise failures[0]
    each = 1e6 / count
    return Row(
        contender.name,
        filed,
        size,
        threads,
        count,
        acknowledged * each,
        (wall + ahead if filed else wall) * each,
        sum(spent) * each,
        filing_cpu * each,
        ahead * each,
    )


def _file(make: Make, root: Path, hints: Connection) -> None:
    """The second process: files what it is told of, in batches of what has come meanwhile."""
    filing = make(root)
    hints.send("ready")
    begun = _cpu()
    more = True
    while more:
        batch = [hints.recv()]
        while len(batch) < BATCH_MAX and batch[-1] is not None and hints.poll():
            batch.append(hints.recv())
        if batch[-1] is None:
            batch.pop()
            more = False
        if batch:
            filing.file(batch)
    hints.send(_cpu() - begun)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def file_system(path: Path) -> str:
    """Its type, and for ext4 whether it has a journal."""
    device, best, kind = "", "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        point = before.split()[4]
        if path.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
            device = Path(after.split()[1]).name
    if kind == "ext4":
        kind += " with a journal" if list(Path("/proc/fs/jbd2").glob(f"{device}-*")) else " without a journal"
    return kind


def best(rows: list[Row]) -> Row:
    """Of several runs of the same, the one that was disturbed least."""
    values = asdict(min(rows, key=lambda row: row.wall_us))
    rounded: dict[str, Any] = {
        name: round(some, 1) if isinstance(some, float) else some for name, some in values.items()
    }
    return Row(**rounded)


def table(rows: list[Row], title: str) -> Table:
    result = Table(title=title, caption="microseconds an instance: wall / CPU of both processes")
    result.add_column("way", no_wrap=True)
    columns = [(size, threads) for size in SIZES for threads in THREADS]
    for size, threads in columns:
        result.add_column(f"{size}\nn={threads}", justify="right", no_wrap=True)
    for name in dict.fromkeys(row.way for row in rows):
        found = {(row.size, row.threads): row for row in rows if row.way == name}
        cells = (found.get(column) for column in columns)
        result.add_row(name, *(f"{row.wall_us:.0f} / {row.cpu_us:.0f}" if row else "-" for row in cells))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.commits", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scratch", type=Path, help="a folder on the file system to measure")
    parser.add_argument("--instances", type=int, default=160, help="of 131 kB in each run; others by size [160]")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, of which the fastest counts [3]")
    parser.add_argument("--only", default="", help="ways whose name holds this")
    parser.add_argument("--tidy", action="store_true", help="remove what each run wrote at once: for little space")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    chosen = [contender for contender in CONTENDERS if options.only in contender.name]
    plan = [
        (contender, filed, size, threads)
        for size in SIZES
        for threads in THREADS
        for filed in (False, True)
        for contender in chosen
        if (contender.filing if filed else contender.alone)
    ]
    scratch = Path(tempfile.mkdtemp(prefix="noctis-commits-", dir=options.scratch))
    kind = file_system(scratch)
    runs: dict[tuple[str, bool, str, int], list[Row]] = {}
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("measuring", total=options.rounds * len(plan))
            for turn in range(options.rounds):
                for number, (contender, filed, size, threads) in enumerate(plan):
                    count = max(threads, int(options.instances * _MEASURED[size]))
                    row = measure(contender, filed, size, threads, count, scratch / f"{turn}-{number}")
                    runs.setdefault((contender.name, filed, size, threads), []).append(row)
                    progress.advance(task)
                    if options.tidy:
                        shutil.rmtree(scratch / f"{turn}-{number}")
    finally:
        with suppress(OSError):
            shutil.rmtree(scratch)
    rows = [best(some) for some in runs.values()]
    console = Console(width=None if Console().is_terminal else 160)
    for filed, title in ((False, "receiving alone"), (True, "receiving, and filing by a second process")):
        if some := [row for row in rows if row.filed is filed]:
            console.print(table(some, f"{title}: {kind}, {os.cpu_count()} cores"))
    if options.json:
        machine = {"file_system": kind, "cores": os.cpu_count(), "kernel": platform.release()}
        machine |= {"python": platform.python_version(), "rounds": options.rounds}
        figures = {"machine": machine, "rows": [asdict(row) | {"cpu_us": round(row.cpu_us, 1)} for row in rows]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
