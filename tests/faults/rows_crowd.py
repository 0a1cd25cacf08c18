"""Very many senders at once, and one facility that floods."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from bench.studies import CT, TINY
from tests.faults.ground import Ground, row
from tests.faults.senders import quantile
from tests.support import wait_for
from tests.system.senders import StubbornSender

STACK_BYTES = 512 << 10  # of a sender's thread
TIMES = 3.0  # how much slower the quiet facility may be answered beside a flood
CHECKOUT = Path(__file__).parents[2]


@row("crowd-one-facility", "1000 senders at once at one facility, limits raised accordingly", only_long=True)
def crowd_one_facility(ground: Ground) -> None:
    ground.make(
        listeners={
            "max_associations": 1200,
            "max_associations_in_all": 2400,
            "max_unassociated": 1200,
            "backlog": 1024,
        }
    )
    ground.start("Central")
    _crowd(ground, 1000, 1000)


@row("crowd-refused", "many senders at once, more than the limits allow: the refused ones come again")
def crowd_refused(ground: Ground) -> None:
    ground.make(listeners={"max_associations": 20})
    ground.start("Central")
    _crowd(ground, 1000 if ground.long else 60, 20)


@row("crowd-facilities", "1000 senders at once at twenty facilities", only_long=True)
def crowd_facilities(ground: Ground) -> None:
    ground.make(listeners={"max_unassociated": 200})
    ground.start(*(f"Clinic {number}" for number in range(20)))
    _crowd(ground, 1000, 1000)


def _crowd(ground: Ground, count: int, at_once: int) -> None:
    """So many threads, each with three instances in an association of its own; so many are open at one moment."""
    slugs = list(ground.doors)
    for slug in slugs:
        ground.send(slug, limit=3)  # everything is loaded
    before = {slug: _listener(ground, slug) for slug in slugs}
    gate = threading.Event()
    options: dict[str, Any] = {"limit": 3, "per_association": 3, "gate": gate, "wait_seconds": 300}
    former = threading.stack_size(STACK_BYTES)
    try:
        senders = []
        for number in range(count):
            door = ground.doors[slugs[number % len(slugs)]]
            sender = StubbornSender(door.port, door.called, 50_000 + number, kind=TINY, **options)
            door.senders.append(sender)
            senders.append(sender)
        for sender in senders:
            sender.start()
    finally:
        threading.stack_size(former)

    def live() -> int:
        status = ground.noctis.control_status()
        return sum(each["live_associations"] for each in status["listeners"])

    wait_for(lambda: live() >= at_once, seconds=300, what=f"{at_once} associations at once")
    threads = max(process.num_threads() for process, *_ in before.values())
    descriptors = max(process.num_fds() for process, *_ in before.values())
    gate.set()
    wait_for(lambda: all(not sender.is_alive() for sender in senders), seconds=600, what="every sender to have sent")
    ground.heal()
    ground.notes.append(f"{at_once} associations open at once: {threads} threads, {descriptors} descriptors a listener")
    for slug, (process, threads, _) in before.items():
        wait_for(lambda: process.num_threads() <= threads, seconds=60, what=f"the threads of {slug} to end")  # noqa: B023
    process, _, resident = before[slugs[0]]
    ground.notes.append(
        f"afterwards {process.num_threads()} threads, {process.num_fds()} descriptors, "
        f"{process.memory_info().rss >> 20} MiB resident in the first ({resident >> 20} MiB before)"
    )


def _listener(ground: Ground, slug: str) -> tuple[psutil.Process, int, int]:
    """A facility's listener at rest: its threads, and its resident memory in bytes."""
    (pid,) = ground.pids(slug)
    process = psutil.Process(pid)
    wait_for(lambda: not ground.noctis.listener(slug)["live_associations"], what="no association")
    return process, process.num_threads(), process.memory_info().rss


@row(
    "flood",
    "one facility floods (32 associations, large instances and bad ones) while another sends a study",
    only_long=True,
)
def flood(ground: Ground) -> None:
    """The other one's p99 of C-STORE answer times is at most `TIMES` its p99 without the flood."""
    ground.make(storage={"quarantine_max_instances": 1_000_000})
    ground.start("Central", "North")
    quiet = ground.send("north", 1, CT, limit=1500)
    wait_for(lambda: not quiet[0].is_alive(), seconds=300, what="the quiet study to be sent")
    door = ground.doors["central"]
    command = [sys.executable, "-m", "tests.faults.flood", str(door.port), door.called]
    processes = [subprocess.Popen([*command, str(number)], cwd=CHECKOUT) for number in range(2)]
    try:
        wait_for(lambda: ground.noctis.listener("central")["live_associations"] >= 20, seconds=120, what="the flood")
        beside = ground.send("north", 1, CT, limit=1500)
        wait_for(lambda: not beside[0].is_alive(), seconds=600, what="the study to be sent beside the flood")
        taken = ground.noctis.listener("central")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    ground.heal()
    before, during = (quantile(each[0].seconds, 0.99) * 1000 for each in (quiet, beside))
    medians = [quantile(each[0].seconds, 0.5) * 1000 for each in (quiet, beside)]
    ground.notes.append(
        f"p99 {before:.1f} ms quiet, {during:.1f} ms beside the flood ({during / before:.1f} times; "
        f"the target is at most {TIMES:.0f}); "
        f"median {medians[0]:.1f} and {medians[1]:.1f} ms; the flood stored {taken['instances']} instances"
    )
    ground.fails_if(during > TIMES * before, "the p99 is beyond the target")
