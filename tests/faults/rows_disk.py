"""Disks that are full, read-only, broken or slow."""

from typing import Any

from tests.faults import means
from tests.faults.disks import Disk
from tests.faults.ground import Ground, row
from tests.faults.tracing import injected
from tests.support import wait_for
from tests.system.senders import StubbornSender

A700 = 0xA700


def _on_a_small_disk(ground: Ground, folder: str, mib: int = 64, **storage: Any) -> tuple[Disk, list[StubbornSender]]:
    """A Noctis whose `folder` (spool, media) is a disk of its own, and three senders under way."""
    noctis = ground.make(storage=storage)
    disk = ground.disk(getattr(noctis.settings.paths, folder), mib)
    ground.start("Central")
    senders = ground.send("central", 3)
    ground.more(senders)
    return disk, senders


@row("spool-full", "no space left in the spool", means.disks)
def spool_full(ground: Ground) -> None:
    # without slots: else what fits into the files that are used again is still taken
    disk, senders = _on_a_small_disk(ground, "spool", 32, slot_bytes=0)
    for _ in range(3 if ground.long else 1):
        disk.fill()
        ground.refused(senders, A700, 30)
        disk.make_room()
        ground.heal()
        ground.more(senders)
    assert "the disk is full" in ground.noctis.listener("central")["last_error"]


@row("archive-full", "no space left in the archive", means.disks)
def archive_full(ground: Ground) -> None:
    disk, senders = _on_a_small_disk(ground, "media", media=str(ground.folder / "archive"))
    disk.fill()
    ground.logged("archiver.waiting", "No space left")
    before = [dict(sender.statuses) for sender in senders]
    ground.more(senders, 300 if ground.long else 30)
    assert [dict(sender.statuses) for sender in senders] == before, "receiving goes on"
    disk.make_room()
    ground.heal()


@row(
    "spool-read-only",
    "the spool's file system turns read-only after an error; repaired, Noctis started again",
    means.disks,
)
def spool_read_only(ground: Ground) -> None:
    disk, senders = _on_a_small_disk(ground, "spool")
    disk.fail()
    ground.refused(senders, A700, 30)
    ground.noctis.stop()
    disk.repair()
    ground.heal()
    ground.noctis.start()


@row("archive-read-only", "the archive is remounted read-only, then writable", means.disks)
def archive_read_only(ground: Ground) -> None:
    disk, senders = _on_a_small_disk(ground, "media", media=str(ground.folder / "archive"))
    disk.read_only()
    ground.logged("archiver.waiting", "Read-only file system")
    ground.more(senders, 300 if ground.long else 30)
    disk.writable()
    ground.heal()
    assert not any(sender.statuses for sender in senders)


@row(
    "archive-broken",
    "the archive's file system turns read-only after an error; repaired, Noctis started again",
    means.disks,
    only_long=True,
)
def archive_broken(ground: Ground) -> None:
    disk, senders = _on_a_small_disk(ground, "media", media=str(ground.folder / "archive"))
    disk.fail()
    ground.logged("archiver.waiting")
    ground.more(senders, 100)
    ground.noctis.stop()
    disk.repair()
    ground.heal()
    ground.noctis.start()


@row("commit-error", "EIO when the spool is synced", means.tracing)
def commit_error(ground: Ground) -> None:
    _spool_error(ground, "fdatasync,fsync", "error=EIO")


@row("write-error", "EIO when the spool is written", means.tracing)
def write_error(ground: Ground) -> None:
    _spool_error(ground, "pwritev,pwrite64", "error=EIO")


def _spool_error(ground: Ground, calls: str, what: str) -> None:
    ground.make()
    noctis = ground.start("Central", "North")
    senders, others = ground.send("central", 3), ground.send("north")
    ground.more(senders)
    with injected(ground.pids("central"), calls, what):
        ground.refused(senders, A700, 30 if ground.long else 5)
        ground.more(others)
        # Not after it: a call that strace lets go of half-way fails with another error.
        wait_for(
            lambda: "Input/output error" in (noctis.listener("central")["last_error"] or ""),
            seconds=60,
            what="the status to say so",
        )
    ground.heal()
    ground.more(senders)
    assert not any(other.statuses or other.broken for other in others)


@row("commit-error-now-and-then", "EIO at every third sync of the spool", means.tracing, only_long=True)
def commit_error_now_and_then(ground: Ground) -> None:
    ground.make()
    ground.start("Central")
    senders = ground.send("central", 3)
    with injected(ground.pids("central"), "fdatasync,fsync", "error=EIO:when=1+3"):
        ground.more(senders, 60)
    ground.heal()
    assert any(sender.statuses for sender in senders)


@row("archive-error", "EIO when the archive is written and synced", means.tracing)
def archive_error(ground: Ground) -> None:
    ground.make()
    noctis = ground.start("Central")
    senders = ground.send("central", 2)
    ground.more(senders)
    with injected(ground.pids("archiver"), "fsync,syncfs,fdatasync", "error=EIO"):
        ground.logged("archiver.held archiver.waiting", "Input/output error", "disk I/O error")
        ground.more(senders, 60 if ground.long else 20)
        wait_for(lambda: noctis.control_status()["archiver"]["last_error"], seconds=60, what="the status to say so")
    ground.heal()
    assert not any(sender.statuses for sender in senders)


@row("slow-disk", "every sync of one listener takes 0.3 s longer", means.tracing)
def slow_disk(ground: Ground) -> None:
    ground.make()
    ground.start("Central", "North")
    senders, others = ground.send("central", 2), ground.send("north")
    ground.more(others)
    with injected(ground.pids("central"), "fdatasync,fsync", "delay_exit=300000"):
        ground.more(senders, 20 if ground.long else 5)
        ground.more(others, 50)
    ground.heal()
    assert not any(sender.statuses or sender.broken for sender in (*senders, *others))
    ground.notes.append(f"the other facility's slowest answer {max(others[0].seconds):.2f} s")


@row("slow-archive", "every sync of the archiver takes 0.3 s longer", means.tracing, only_long=True)
def slow_archive(ground: Ground) -> None:
    ground.make()
    ground.start("Central")
    senders = ground.send("central", 2)
    with injected(ground.pids("archiver"), "fdatasync,fsync,syncfs", "delay_exit=300000"):
        ground.more(senders, 500)
    ground.heal()
    assert not any(sender.statuses or sender.broken for sender in senders)
