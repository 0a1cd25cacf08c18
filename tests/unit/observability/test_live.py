"""Files of open associations: written by whoever has them, and nobody's when he is gone."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

from noctis.observability import live
from noctis.observability.live import LiveAssociation

ROW = LiveAssociation(
    association_id="a1",
    facility="central",
    port=11113,
    called="CENTRAL",
    calling="CT_1",
    address="10.0.0.1",
    tls=False,
    started_at="2026-11-25T12:00:00.000+00:00",
    last_data_at="2026-11-25T12:00:05.000+00:00",
    received=500,
    instances=2,
    bytes=400,
    failures=0,
    echoes=1,
)


def put(folder: Path, pid: int, start: int | None, *rows: LiveAssociation, port: int = 11113) -> Path:
    path = folder / live.name_of(port, pid)
    live.write(path, pid, start, rows)
    return path


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_is_written_is_read(tmp_path: Path) -> None:
    put(tmp_path, os.getpid(), live.started(os.getpid()), ROW)
    assert live.read(tmp_path) == [ROW]


def test_what_a_killed_process_left_is_nobodys_whoever_has_its_number_now(tmp_path: Path) -> None:
    put(tmp_path, gone(), 1, ROW)
    put(tmp_path, os.getpid(), 1, ROW, port=11114)
    assert live.read(tmp_path) == []
    ours = put(tmp_path, os.getpid(), live.started(os.getpid()), ROW)
    (tmp_path / f"11113-{gone()}.tmp").write_text("{")
    (tmp_path / "11113-x.json").write_text("{")
    live.clear(tmp_path, 11113)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ours.name, live.name_of(11114, os.getpid())])


def test_files_that_are_none_of_ours_are_left_out(tmp_path: Path) -> None:
    pid, start = os.getpid(), live.started(os.getpid())
    wrong = asdict(ROW) | {"started_at": "yesterday"}
    for number, text in enumerate(
        [
            "",
            "[]",
            "{}",
            "[" * 100_000,
            json.dumps({"pid": pid, "started": start, "associations": [{"facility": "central"}]}),
            json.dumps({"pid": pid, "started": start, "associations": [wrong]}),
            json.dumps({"pid": pid, "started": start, "associations": 5}),
            json.dumps({"pid": "../..", "started": start, "associations": []}),
        ]
    ):
        (tmp_path / f"{number}.json").write_text(text)
    assert live.read(tmp_path) == []
    assert live.read(tmp_path / "missing") == []


def test_a_process_that_is_not_there_was_never_started() -> None:
    assert live.started(gone()) is None
    assert live.started(os.getpid()) is not None
