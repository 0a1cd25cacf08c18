"""The benchmark: every receiver in turn, the same senders, one table.

    scripts/bench                 everything (half an hour)
    scripts/bench --quick         a short form
    scripts/bench --json FILE     the figures, for machines

Each receiver is started anew, with an empty store, in its own defaults, for each kind of instance; Noctis counts as
done when its index is complete. What is not installed is left out.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import load, raw, receivers
from bench.receivers import Receiver
from bench.studies import CT, MR, TINY, TRANSFER_SYNTAX, Kind, make_dataset, make_uid

Start = Callable[[Path, int], AbstractContextManager[Receiver]]
RECEIVERS: dict[str, Start] = {
    "noctis": receivers.noctis,
    "noctis-fast": partial(receivers.noctis, durability="fast"),
    "orthanc": receivers.orthanc,
    "storescp": receivers.storescp,
    "pynetdicom": receivers.pynetdicom,
}
SENDERS = ("storescu", "storescu-nodelay", "load", "load-per-instance")
FIRST_PORT = 18100


@dataclass
class Row:
    """One receiver under one sender."""

    receiver: str
    sender: str
    kind: str
    associations: int
    instances: int
    seconds: float  # until the last answer, and the index complete
    index_lag_seconds: float
    instances_per_second: float
    mb_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_seconds_per_1000: float
    peak_rss_mb: float


def make_files(folder: Path, kind: Kind, count: int, associations: int) -> list[Path]:
    """One folder of files per association, each a study of its own."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    folders = []
    for number in range(associations):
        target = folder / f"{kind.name}-{number}"
        folders.append(target)
        if target.exists():
            continue
        target.mkdir(parents=True)
        study, series = make_uid(number * 1000 + 1), make_uid(number * 1000 + 2)
        for index in range(count // associations):
            instance = make_uid(number * 1_000_000 + index + 10)
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind.sop_class_uid, instance
            meta.TransferSyntaxUID = TRANSFER_SYNTAX
            dataset = make_dataset(kind, study, series, instance, index + 1)
            file = FileDataset("", dataset, file_meta=meta, preamble=b"\0" * 128)
            file.save_as(target / f"{index:06}.dcm")
    return folders


def send_with_storescu(receiver: Receiver, folders: list[Path], *, nodelay: bool) -> float:
    """dcmtk's storescu, one process an association; seconds until the last has ended."""
    program = shutil.which("storescu", path="/usr/bin:" + os.environ.get("PATH", ""))
    if program is None:
        raise FileNotFoundError("storescu is not installed (Debian: apt-get install dcmtk)")
    environment = {**os.environ, "TCP_NODELAY": "1"} if nodelay else os.environ
    begun = time.perf_counter()
    sending = [
        subprocess.Popen(
            [program, "+sd", "-aec", receiver.called, "127.0.0.1", str(receiver.port), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        for folder in folders
    ]
    for process in sending:
        if process.wait() != 0:
            raise RuntimeError(f"storescu failed against {receiver.name}")
    return time.perf_counter() - begun


def measure(name: str, sender: str, kind: Kind, instances: int, associations: int, scratch: Path, port: int) -> Row:
    """One row: a fresh receiver, one sender."""
    home = Path(tempfile.mkdtemp(dir=scratch))
    instances -= instances % associations
    folders = make_files(scratch / "files", kind, instances, associations) if sender.startswith("storescu") else []
    try:
        with RECEIVERS[name](home, port) as receiver:
            cpu = receiver.cpu_seconds()
            times: dict[str, float] = {}
            begun = time.perf_counter()
            if folders:
                size = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
                seconds = send_with_storescu(receiver, folders, nodelay=sender.endswith("nodelay"))
            else:
                result = load.run(
                    receiver.port,
                    receiver.called,
                    kind,
                    instances=instances,
                    associations=associations,
                    per_instance=sender.endswith("per-instance"),
                )
                if result.failures:
                    raise RuntimeError(f"{result.failures} instances were not taken by {name}")
                seconds, size, times = result.seconds, result.bytes, result.as_json()
            sent = time.perf_counter()
            receiver.wait_indexed(instances)
            lag = time.perf_counter() - sent if name.startswith("noctis") else 0.0
            assert time.perf_counter() - begun >= seconds
            total = seconds + lag
            return Row(
                receiver=name,
                sender=sender,
                kind=kind.name,
                associations=associations,
                instances=instances,
                seconds=round(total, 3),
                index_lag_seconds=round(lag, 3),
                instances_per_second=round(instances / total, 1),
                mb_per_second=round(size / total / 1e6, 1),
                p50_ms=times.get("p50_ms"),
                p99_ms=times.get("p99_ms"),
                cpu_seconds_per_1000=round((receiver.cpu_seconds() - cpu) / instances * 1000, 3),
                peak_rss_mb=round(receiver.peak_rss_mb(), 1),
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def plan(*, quick: bool) -> list[tuple[str, str, Kind, int, int]]:
    """(receiver, sender, kind, instances, associations) of every row."""
    rows = []
    for kind in (MR, CT, TINY):
        for sender in SENDERS:
            for associations in (1, 4, 16):
                for name in RECEIVERS:
                    slow = sender == "storescu" and name in ("orthanc", "storescp")
                    instances = 48 if slow else 160 if quick else 480
                    if associations == 16 and (quick or slow):
                        continue
                    if sender == "load-per-instance" and (kind is not MR or associations == 16):
                        continue
                    rows.append((name, sender, kind, instances, associations))
    return rows


def describe_machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }


def table(rows: list[Row]) -> Table:
    """Rows, with each peer's rate as the ratio Noctis / peer."""
    shown = Table(title="instances per second, index complete (ratio: noctis / peer)")
    for column in ("sender", "kind", "n", *RECEIVERS, "p50/p99 ms", "CPU s/1000", "RSS MB"):
        shown.add_column(column, justify="left" if column in ("sender", "kind") else "right")
    groups: dict[tuple[str, str, int], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row.sender, row.kind, row.associations), {})[row.receiver] = row
    for (sender, kind, count), by_name in groups.items():
        ours = by_name.get("noctis")
        cells = []
        for name in RECEIVERS:
            row = by_name.get(name)
            if row is None:
                cells.append("-")
            elif ours is None or name.startswith("noctis"):
                cells.append(f"{row.instances_per_second:.0f}")
            else:
                ratio = ours.instances_per_second / row.instances_per_second
                cells.append(f"{row.instances_per_second:.0f} ({ratio:.1f}x)")
        times = f"{ours.p50_ms}/{ours.p99_ms}" if ours and ours.p50_ms is not None else "-"
        shown.add_row(
            sender,
            kind,
            str(count),
            *cells,
            times,
            f"{ours.cpu_seconds_per_1000}" if ours else "-",
            f"{ours.peak_rss_mb}" if ours else "-",
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer instances, no 16 associations")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", help="rows whose 'receiver sender kind n' contains this text")
    parser.add_argument("--scratch", type=Path, help="where receivers store (default: the temporary folder)")
    options = parser.parse_args()
    console = Console(width=200 if not sys.stdout.isatty() else None)
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(dir=options.scratch) as folder,
        Progress(console=console, transient=True) as progress,
    ):
        todo = [
            each
            for each in plan(quick=options.quick)
            if not options.only or options.only in f"{each[0]} {each[1]} {each[2].name} {each[4]}"
        ]
        task = progress.add_task("measuring", total=len(todo))
        for number, (name, sender, kind, instances, associations) in enumerate(todo):
            progress.update(task, description=f"{name}, {sender}, {kind.name}, n={associations}")
            try:
                port = FIRST_PORT + 3 * number
                rows.append(measure(name, sender, kind, instances, associations, Path(folder), port))
            except (FileNotFoundError, RuntimeError, OSError) as error:
                left_out[f"{name}, {sender}, {kind.name}, n={associations}"] = str(error)
            progress.advance(task)
        limits = {kind.name: raw.measure(kind, Path(folder)) for kind in (MR, CT)}
    console.print(table(rows))
    for kind_name, figures in limits.items():
        console.print(f"raw socket to synced file (two syncs), {kind_name}: {figures}")
    for what, why in left_out.items():
        console.print(f"left out: {what}: {why}")
    if options.json:
        document = {"machine": describe_machine(), "rows": [asdict(row) for row in rows], "raw": limits}
        options.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
