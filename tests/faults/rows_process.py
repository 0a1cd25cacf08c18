"""Processes that are stopped and killed: ours, and the senders'."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil

from bench.studies import MG, make_files
from tests.faults.ground import Ground, row
from tests.support import wait_for
from tests.system.senders import tool


@row("archiver-stopped", "the archiver is stopped (SIGSTOP) for a while")
def archiver_stopped(ground: Ground) -> None:
    ground.make()
    noctis = ground.start("Central")
    senders = ground.send("central", 2)
    (archiver,) = ground.pids("archiver")
    os.kill(archiver, signal.SIGSTOP)
    try:
        ground.more(senders, 1000 if ground.long else 100)
        waiting = noctis.status()["spool"]["pending"]
        ground.notes.append(f"{waiting} instances waited in the spool")
        assert waiting >= 100
    finally:
        os.kill(archiver, signal.SIGCONT)
    ground.heal()
    assert not any(sender.statuses or sender.broken for sender in senders)


@row("listener-stopped", "one facility's listener is stopped (SIGSTOP) for a while")
def listener_stopped(ground: Ground) -> None:
    ground.make()
    ground.start("Central", "North")
    senders, others = ground.send("central", 2), ground.send("north", 1)
    (listener,) = ground.pids("central")
    os.kill(listener, signal.SIGSTOP)
    try:
        ground.more(others, 1000 if ground.long else 100)
    finally:
        os.kill(listener, signal.SIGCONT)
    ground.heal()
    ground.more(senders)
    assert not any(sender.statuses or sender.broken for sender in (*senders, *others))


@row("kills", "SIGKILL of listeners, archiver, watcher and supervisor at random, under load")
def kills(ground: Ground) -> None:
    ground.make()
    noctis = ground.start("Central", "North")
    senders = [*ground.send("central", 2), *ground.send("north", 2)]
    seed = time.time_ns()
    dice = random.Random(seed)
    until = time.monotonic() + (60 * ground.minutes if ground.long else 0)
    done: Counter[str] = Counter()
    targets = ["central", "north", "archiver", "watcher", "supervisor"]
    while time.monotonic() < until or sum(done.values()) < len(targets):
        target = dice.choice(targets) if ground.long else targets[sum(done.values())]
        moment = time.monotonic() + dice.uniform(0.0, 1.5 if ground.long else 0.3)
        wait_for(lambda: time.monotonic() > moment, what="a random moment")  # noqa: B023 - called at once
        if target == "supervisor":
            noctis.kill()
            noctis.start()
        else:
            for pid in ground.pids(target):
                if pid and psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)
        done[target] += 1
        ground.more(senders, 1)
    ground.heal()
    ground.notes.append(f"seed {seed}: " + ", ".join(f"{count} {target}" for target, count in sorted(done.items())))


@row("senders-killed", "sending processes are killed (SIGKILL) in the middle of an instance, all at once")
def senders_killed(ground: Ground) -> None:
    noctis = ground.make()
    files = make_files(ground.folder / "files", MG, 1, 1)[0]
    ground.start("Central")
    senders = ground.send("central", 1)
    door, spool = ground.doors["central"], noctis.settings.paths.spool
    command = [tool("storescu"), "-aec", door.called, "127.0.0.1", str(door.port), *map(str, files * 20)]
    for _ in range(5 if ground.long else 1):
        before = len(noctis.events("instance.incomplete"))
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(8 if ground.long else 3)
        ]
        try:
            wait_for(lambda: _large(spool), seconds=60, what="a large instance in flight")
        finally:
            for process in processes:
                process.kill()
                process.wait()
        wait_for(lambda: noctis.listener("central")["live_associations"] <= 1, what="the associations to be gone")
        ground.more(senders)
        ground.notes.append(f"{len(noctis.events('instance.incomplete')) - before} instances were broken off")
    ground.heal()
    wait_for(lambda: not _large(spool), seconds=60, what="the partial files to be gone")


def _large(spool: Path) -> bool:
    """Whether anything is there that is not the load's, whose instances are small."""
    found = 0
    for path in spool.glob("*/tmp/*/*.dcm"):
        with contextlib.suppress(FileNotFoundError):
            found = max(found, path.stat().st_size)
    return found > 1 << 20
