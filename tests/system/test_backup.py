"""Backups while real senders store, one of them killed in the middle; each is restored and has what it must have."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import wait_for
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import StubbornSender
from tests.system.test_kill import more_than

BACKUPS = int(os.environ.get("TEST_BACKUPS", "3"))


def acknowledged(loads: list[StubbornSender]) -> set[str]:
    return {uid for load in loads for uid in list(load.acknowledged)}


def kill_one(noctis: Noctis, folder: Path, dice: random.Random) -> None:
    """Start a backup and kill it once it has begun to write."""
    before = {path.name for path in folder.glob("*.partial")}
    running = subprocess.Popen(
        [sys.executable, "-m", "noctis", "backup", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=noctis.environment,
    )
    step = dice.choice(["files.jsonl", "noctis.db", "archive"])
    wait_for(
        lambda: (
            running.poll() is not None
            or any((path / step).exists() for path in folder.glob("*.partial") if path.name not in before)
        ),
        seconds=60,
        what=f"the backup to come to {step}",
    )
    running.send_signal(signal.SIGKILL)
    running.wait(30)


@pytest.mark.timeout(900)
def test_what_was_acknowledged_before_a_backup_is_in_it(make_noctis: MakeNoctis, tmp_path: Path) -> None:
    noctis = make_noctis().start()
    facility = noctis.json("facility", "add", "Central")
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    dice = random.Random(time.time_ns())
    # At full speed they would store faster than a busy machine copies, and each backup would be larger than the last.
    loads = [StubbornSender(facility["port"], facility["ae_title"], seed, rest_seconds=0.005) for seed in (1, 2)]
    for load in loads:
        load.start()
    promised: dict[str, set[str]] = {}
    for _ in range(BACKUPS):
        more_than(loads, [len(load.acknowledged) for load in loads])
        kill_one(noctis, folder, dice)
        before = acknowledged(loads)
        made = noctis.json("backup", folder)
        assert made["problems"] == []
        assert acknowledged(loads) > before  # receiving went on all the while
        promised[made["generation"]] = before
    for load in loads:
        load.stop()
        assert load.refused == []
        assert load.broken == 0
    assert not list(folder.glob("*.partial"))
    noctis.stop()
    for generation, uids in promised.items():
        again = make_noctis()
        again.cli("restore", folder, "--generation", generation)
        again.start()
        wait_for(again.settled, seconds=120, what="the spool to be empty")
        rows = again.indexed()
        missing = uids - rows.keys()
        assert not missing, f"{len(missing)} of {len(uids)} acknowledged before {generation} are missing"
        assert max(rows.values()) == 1
        again.cli("archive", "verify")
        assert again.wait_listener("central")["port"] == facility["port"]
        again.stop()
        print(f"{generation}: {len(uids)} acknowledged before it, {len(rows)} in it, none missing")
