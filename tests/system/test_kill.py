"""kill -9 of a listener, of the archiver, of the parent and of everything at once, at random moments under load.

Afterwards every acknowledged instance is in archive and index exactly once, nothing acknowledged is missing, and no
stray file lies in the archive. The short form runs with every test run; `TEST_KILLS=20` asks for the long one.
"""

import os
import random
import signal
import time

import psutil
import pytest

from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.senders import StubbornSender

KILLS = int(os.environ.get("TEST_KILLS", "3"))


def victims(noctis: Noctis, target: str) -> list[int]:
    """The pids to kill now."""
    parent = noctis.pid
    if target == "parent":
        return [parent]
    if target == "everything":
        return [parent, *(child.pid for child in psutil.Process(parent).children(recursive=True))]
    status = noctis.control_status()
    if target == "archiver":
        return [status["archiver"]["pid"]]
    return [each["pid"] for each in status["listeners"] if each["facility"] == "central"]


def kill(pids: list[int]) -> None:
    for pid in pids:
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", ["listener", "archiver", "parent", "everything"])
def test_what_was_acknowledged_is_there_once(noctis: Noctis, target: str) -> None:
    facility = noctis.json("facility", "add", "Central")
    dice = random.Random(f"{target}-{time.time_ns()}")
    loads = [StubbornSender(facility["port"], facility["ae_title"], seed) for seed in (1, 2)]
    for load in loads:
        load.start()
    for _ in range(KILLS):
        more_than(loads, [len(load.acknowledged) for load in loads])
        moment = time.monotonic() + dice.uniform(0.0, 0.4)
        wait_for(lambda: time.monotonic() > moment, what="a random moment")  # noqa: B023 - called at once
        kill(victims(noctis, target))
        if target in ("parent", "everything"):
            noctis.wait_gone()
            noctis.start()
    acknowledged = [uid for load in loads for uid in load.stop()]
    assert len(acknowledged) > 10 * KILLS
    assert len(set(acknowledged)) == len(acknowledged)
    wait_for(noctis.settled, seconds=120, what="the spool to be empty")
    rows = noctis.indexed()
    missing = set(acknowledged) - rows.keys()
    assert not missing, f"{len(missing)} of {len(acknowledged)} acknowledged instances are not indexed"
    assert max(rows.values()) == 1
    print(f"{KILLS} kills of {target}: {len(acknowledged)} acknowledged, {len(missing)} missing, {len(rows)} indexed")
    assert noctis.run("archive", "verify").returncode == 0
    (study_sum,) = noctis.query("SELECT sum(instances) FROM study")[0]
    assert study_sum == len(rows)


def more_than(loads: list[StubbornSender], before: list[int]) -> None:
    """Wait until each has had something acknowledged."""
    wait_for(
        lambda: all(len(load.acknowledged) > count for load, count in zip(loads, before, strict=True)),
        seconds=60,
        what="instances to be acknowledged",
    )
