"""The benchmark's shortest form: that everything runs and is reported. Never how fast."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def bench(
    module: str, *arguments: str, folder: Path, ends_with: tuple[int, ...] = (0,)
) -> tuple[str, dict[str, Any], str]:
    """What it printed, its JSON and its Markdown."""
    found, text = folder / "found.json", folder / "found.md"
    command = [sys.executable, "-m", module, *arguments, "--scratch", str(folder)]
    done = subprocess.run(
        [*command, "--json", str(found), "--markdown", str(text)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode in ends_with, done.stderr
    assert not list(folder.glob("noctis-bench-*"))
    return done.stdout, json.loads(found.read_text()), text.read_text()


def test_the_smoke_form_measures_and_reports(tmp_path: Path) -> None:
    printed, found, text = bench("bench.run", "--smoke", folder=tmp_path)
    labels = {f"{row['receiver']} {row['sender']} {row['kind']} {row['associations']}" for row in found["rows"]}
    assert {"noctis load MR 1", "raw load MR 1", "pynetdicom load MR 1", "noctis load-per-instance MR 1"} <= labels
    if shutil.which("storescu", path="/usr/bin"):
        assert {"storescp load MR 1", "noctis storescu-nodelay MR 4", "noctis storescu tiny 1"} <= labels
    left_out = {label: why for label, why in found["left_out"].items() if "is not installed" not in why}
    assert not left_out
    for row in found["rows"]:
        assert row["instances"] == 8
        assert row["instances_per_second"] > 0
        assert (row["p50_ms"] is None) == row["sender"].startswith("storescu")
    assert set(found["probes"]) == {"echo", "idle", "memory"}
    for target in found["targets"]:
        assert set(target) == {"target", "wanted", "measured", "verdict"}
        assert target["target"] in printed
        assert target["target"] in text
    assert "too short to mean anything" in text


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_filing_is_measured_on_both_databases(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    url = []
    if backend == "postgresql":
        url = ["--database-url", request.getfixturevalue("postgres").url("postgres")]
    arguments = ("--instances", "600", "--spool", "20", "--repeat", "1", *url)
    printed, found, text = bench("bench.filing", *arguments, folder=tmp_path)
    assert {each["uids"] for each in found["figures"]} == {"modality", "random"}
    assert all(len(each["empty"]) == len(each["full"]) == 1 for each in found["figures"])
    assert all(each["instances_in_index"] == 600 for each in found["figures"])
    assert {target["verdict"] for target in found["targets"]} == {"not measured"}
    assert "by scans alone" in printed
    assert "| modality UIDs, with hints |" in text


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_pages_are_measured_on_both_databases(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    """How long they take says nothing on a machine that runs tests; what is above the limit ends it with 1."""
    arguments = ["--studies", "20000", "--repeat", "1", "--database", backend]
    if backend == "postgresql":
        arguments += ["--database-url", request.getfixturevalue("postgres").url("postgres")]
    printed, found, text = bench("bench.pages", *arguments, folder=tmp_path, ends_with=(0, 1))
    (run,) = found["runs"]
    assert run["studies"] == 20_000
    paths = {figure["path"] for figure in run["figures"]}
    assert {"/", "/studies", "/studies?status=receiving"} <= paths
    assert all(len(figure["milliseconds"]) == 1 for figure in run["figures"])
    assert paths.isdisjoint(found["left_out"])
    assert len(run["figures"]) > 50
    assert "search: a rare name" in printed
    assert "| search: a rare name |" in text
