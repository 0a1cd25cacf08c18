"""Very many senders at once, and one facility that floods."""

import subprocess
import sys
import threading
from pathlib import Path

import psutil

from bench.studies import CT, TINY
from tests.faults.ground import Ground, row
from tests.faults.senders import Sender, quantile
from tests.support import wait_for

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
    _crowd(ground, 1000)


@row("crowd-refused", "many senders at once, more than the limits allow: the refused ones come again")
def crowd_refused(ground: Ground) -> None:
    ground.make(listeners={"max_associations": 20})
    ground.start("Central")
    _crowd(ground, 1000 if ground.long else 60)


@row("crowd-facilities", "1000 senders at once at twenty facilities", only_long=True)
def crowd_facilities(ground: Ground) -> None:
    ground.make(listeners={"max_unassociated": 200})
    ground.start(*(f"Clinic {number}" for number in range(20)))
    _crowd(ground, 1000)


def _crowd(ground: Ground, count: int) -> None:
    """So many threads, each with three instances in an association of its own, all at once."""
    slugs = list(ground.doors)
    for slug in slugs:
        ground.send(slug, limit=3)  # everything is loaded
    before = {slug: _listener(ground, slug) for slug in slugs}
    former = threading.stack_size(STACK_BYTES)
    try:
        senders = []
        for number in range(count):
            door = ground.doors[slugs[number % len(slugs)]]
            sender = Sender(door.port, door.called, 50_000 + number, kind=TINY, limit=3, per_association=3)
            door.senders.append(sender)
            senders.append(sender)
        for sender in senders:
            sender.start()
    finally:
        threading.stack_size(former)
    peak = {"threads": 0, "descriptors": 0}

    def all_have_sent() -> bool:
        for process, *_ in before.values():
            peak["threads"] = max(peak["threads"], process.num_threads())
            peak["descriptors"] = max(peak["descriptors"], process.num_fds())
        return all(not sender.is_alive() for sender in senders)

    wait_for(all_have_sent, seconds=600, what="every sender to have sent")
    ground.heal()
    for slug, (process, threads, _, resident) in before.items():
        wait_for(lambda: process.num_threads() <= threads, seconds=60, what=f"the threads of {slug} to end")  # noqa: B023
        if len(slugs) == 1:
            now = process.memory_info().rss
            ground.notes.append(
                f"at most {peak['threads']} threads and {peak['descriptors']} descriptors in the listener; afterwards "
                f"{process.num_threads()} threads, {process.num_fds()} descriptors, {now >> 20} MiB resident "
                f"({resident >> 20} MiB before)"
            )
    if len(slugs) > 1:
        ground.notes.append(f"at most {peak['threads']} threads and {peak['descriptors']} descriptors in any listener")


def _listener(ground: Ground, slug: str) -> tuple[psutil.Process, int, int, int]:
    (pid,) = ground.pids(slug)
    process = psutil.Process(pid)
    wait_for(lambda: not ground.noctis.listener(slug)["live_associations"], what="no association")
    return process, process.num_threads(), process.num_fds(), process.memory_info().rss


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
        wait_for(lambda: ground.noctis.listener("central")["live_associations"] >= 30, seconds=60, what="the flood")
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
