"""The ground that a fault happens on: a supervised Noctis, senders, and the books that are drawn up afterwards."""

import contextlib
import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.studies import TINY, Kind
from noctis.checks.echo import echo
from noctis.repository.verify import verify
from tests.faults import network
from tests.faults.disks import Disk
from tests.faults.senders import what_they_saw
from tests.postgres import PostgresServer
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.senders import StubbornSender

QUIET_SECONDS = 1.0  # a study is complete
DIGESTS_BYTES = 2 << 30  # of an archive: what a flood has left is not read again
RECOVERY_SECONDS = 180.0  # at most, until a fault counts as not recovered from


@dataclass
class Figures:
    """What became of one row."""

    acknowledged: int = 0
    filed: int = 0  # of these, in archive and index
    lost: int = 0
    duplicates: int = 0  # rows or files beyond one for each instance
    recovery_seconds: float = 0.0
    senders: str = ""
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # targets that were missed

    @property
    def is_well(self) -> bool:
        return self.acknowledged > 0 and self.lost == self.duplicates == 0 and not self.failures


@dataclass
class Door:
    """A facility of the row, and who sends to it."""

    slug: str
    port: int
    called: str
    senders: list[StubbornSender] = field(default_factory=list)


class Ground:
    """One row's. `long`: as `scripts/faults` runs it, not as the tests do. Everything is taken down by `close`."""

    def __init__(self, folder: Path, *, long: bool, minutes: float = 2.0) -> None:
        self.folder = folder
        self.long = long
        self.minutes = minutes  # of the kills, in long form
        self.notes: list[str] = []
        self.failures: list[str] = []  # targets that were missed
        self.doors: dict[str, Door] = {}
        self.cable: network.Cable | None = None
        self._stack = contextlib.ExitStack()
        self._healed: tuple[float, set[tuple[str, str]]] | None = None
        self._seeds = iter(range(1, 100_000))
        self._noctis: Noctis | None = None

    def close(self) -> None:
        for door in self.doors.values():
            for sender in door.senders:
                sender.tell_to_stop()
        self._stack.close()

    # -- what a row begins with

    @property
    def noctis(self) -> Noctis:
        assert self._noctis is not None
        return self._noctis

    def make(self, **options: Mapping[str, Any]) -> Noctis:
        """A Noctis, not started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        archiver = {"scan_seconds": 0.5, "study_quiet_seconds": QUIET_SECONDS, **options.pop("archiver", {})}
        self._noctis = Noctis(self.folder / "home", {**options, "archiver": archiver})
        self._noctis.home.mkdir(mode=0o700)
        self._stack.callback(self._noctis.end)
        return self._noctis

    def disk(self, at: Path, mib: int) -> Disk:
        return self._stack.enter_context(Disk(self.folder / f"{at.name}.image", at, mib=mib))

    def postgres(self) -> PostgresServer:
        server = PostgresServer()
        self._stack.callback(server.close)
        return server

    def lay_cable(self) -> network.Cable:
        self.cable = self._stack.enter_context(network.Cable(f"{self.noctis.port:x}"))
        return self.cable

    def start(self, *names: str) -> Noctis:
        """Start it, with these facilities."""
        self.noctis.start()
        for name in names:
            found = self.noctis.add(name)
            self.doors[found.slug] = Door(found.slug, found.port, found.ae_title)
        for slug in self.doors:
            self.noctis.wait_listener(slug)
        return self.noctis

    def send(self, slug: str, count: int = 1, kind: Kind = TINY, **options: Any) -> list[StubbornSender]:
        """So many senders to one facility begin, and have had an instance acknowledged each."""
        door = self.doors[slug]
        if self.cable is not None:
            prepare = functools.partial(network.enter, self.cable.sender)
            options = {"host": network.RECEIVER_ADDRESS, "prepare": prepare, **options}
        made = [StubbornSender(door.port, door.called, next(self._seeds), kind=kind, **options) for _ in range(count)]
        door.senders += made
        for sender in made:
            sender.start()
        wait_for(lambda: all(sender.acknowledged for sender in made), seconds=60, what="a first instance acknowledged")
        return made

    # -- while it lasts

    @property
    def senders(self) -> list[StubbornSender]:
        return [sender for door in self.doors.values() for sender in door.senders]

    def more(self, senders: Iterable[StubbornSender], count: int = 20, seconds: float = 60) -> None:
        """Until each of them has had so many more acknowledged."""
        before = [(sender, len(sender.acknowledged)) for sender in senders]
        wait_for(
            lambda: all(len(sender.acknowledged) >= had + count for sender, had in before),
            seconds=seconds,
            what=f"{count} more instances acknowledged",
        )

    def refused(self, senders: Iterable[StubbornSender], status: int, count: int = 3) -> None:
        """Until each of them has been answered with this status so many times more."""
        before = [(sender, sender.statuses[status]) for sender in senders]
        wait_for(
            lambda: all(sender.statuses[status] >= had + count for sender, had in before),
            seconds=60,
            what=f"{count} answers {status:04X}",
        )

    def logged(self, events: str, *texts: str) -> None:
        """Until the log has one of these events (space-separated), with one of the texts in it where some are given."""

        def found() -> bool:
            lines = [str(line) for event in events.split() for line in self.noctis.events(event)]
            return any(each in line for line in lines for each in texts or ("",))

        wait_for(found, seconds=60, what=f"{events} {texts} in the log")

    def pids(self, what: str) -> list[int]:
        """Of the archiver, the watcher, or a facility's listeners."""
        status = self.noctis.control_status()
        if what in ("archiver", "watcher"):
            return [status[what]["pid"]]
        return [pid for each in status["listeners"] if each["facility"] == what for pid in each["workers"]]

    def fails_if(self, missed: bool, what: str) -> None:
        """Note a target that was missed; the row goes on to its books."""
        if missed:
            self.failures.append(what)

    def heal(self) -> None:
        """The fault is over: from now on recovery is timed."""
        self._healed = (time.monotonic(), self.acknowledged())

    # -- the books

    def acknowledged(self) -> set[tuple[str, str]]:
        """(facility, SOP Instance UID) of everything that any sender was told is stored."""
        return {
            (door.slug, uid)
            for door in self.doors.values()
            for sender in door.senders
            for uid in [*sender.acknowledged]
        }

    def filed(self) -> Counter[tuple[str, str]]:
        """(facility, SOP Instance UID) → rows whose file is there."""
        found: Counter[tuple[str, str]] = Counter()
        media = self.noctis.settings.paths.media
        for slug, uid, path in self.rows():
            if (media / path).is_file():
                found[slug, uid] += 1
        return found

    def rows(self) -> list[tuple[Any, ...]]:
        return self.noctis.query(
            "SELECT f.slug, i.sop_instance_uid, i.path FROM instance i JOIN facility f ON f.id = i.facility_id"
        )

    def conclude(self) -> Figures:
        """Wait for recovery, end the senders, let the spool run empty, stop, and draw up the books."""
        healed_at, owed = self._healed or (time.monotonic(), set())
        figures = Figures()
        wait_for(lambda: owed <= {(slug, uid) for slug, uid, _ in self.rows()}, seconds=RECOVERY_SECONDS, what="filing")
        self._fresh()
        figures.recovery_seconds = time.monotonic() - healed_at
        for sender in self.senders:
            sender.tell_to_stop()
        for sender in self.senders:
            sender.stop()
        noctis = self.noctis
        spool = noctis.settings.paths.spool
        wait_for(noctis.settled, seconds=RECOVERY_SECONDS, what="an empty spool")
        wait_for(self._all_complete, seconds=60, what="every study to be complete")
        assert noctis.stop() == 0, noctis.log_tail()
        acknowledged, filed = self.acknowledged(), self.filed()
        sizes = [path.stat().st_size for path in noctis.settings.paths.media.rglob("*.dcm")]
        figures.acknowledged = len(acknowledged)
        figures.filed = len(acknowledged & filed.keys())
        figures.lost = len(acknowledged - filed.keys())
        figures.duplicates = sum(filed.values()) - len(filed) + len(sizes) - len(filed)
        figures.senders = what_they_saw(self.senders)
        figures.notes, figures.failures = self.notes, self.failures
        left = [path.name for path in spool.rglob("*.dcm")]
        assert not left, f"half-written or not filed: {left[:5]}"
        engine = noctis.engine()
        try:
            report = verify(noctis.settings, engine, digests=sum(sizes) < DIGESTS_BYTES)
        finally:
            engine.dispose()
        assert report.sound, report.findings[:5]
        return figures

    def _fresh(self) -> None:
        """A new caller of each facility is answered, and stored."""
        for slug, door in self.doors.items():
            if self.cable is None:
                wait_for(
                    lambda: echo(self.noctis.settings, slug, door.port, door.called).succeeded,  # noqa: B023
                    seconds=60,
                    what=f"an echo of {slug}",
                )
            self.send(slug, limit=1)

    def _all_complete(self) -> bool:
        return self.noctis.query("SELECT count(*) FROM study WHERE status != 'complete'") == [(0,)]


@dataclass(frozen=True)
class Row:
    """One fault."""

    name: str
    fault: str  # in an operator's words
    happen: Callable[[Ground], None]
    needs: tuple[Callable[[], str], ...] = ()  # probes of `means`
    only_long: bool = False

    @property
    def missing(self) -> str:
        """Why it cannot be had here; "": it can."""
        return next((why for need in self.needs if (why := need())), "")


ROWS: dict[str, Row] = {}


def row(
    name: str, fault: str, *needs: Callable[[], str], only_long: bool = False
) -> Callable[[Callable[[Ground], None]], Callable[[Ground], None]]:
    """Register a function as a row of the table."""

    def register(happen: Callable[[Ground], None]) -> Callable[[Ground], None]:
        ROWS[name] = Row(name, fault, happen, needs, only_long)
        return happen

    return register


def carry_out(each: Row, folder: Path, *, long: bool, minutes: float = 2.0) -> Figures:
    """Let it happen, and draw up the books; whatever comes, nothing is left behind.

    Raises
    ------
    AssertionError
        It did not recover, or something that must hold did not.
    """
    ground = Ground(folder, long=long, minutes=minutes)
    try:
        each.happen(ground)
        return ground.conclude()
    except BaseException:
        if ground._noctis is not None:
            lines = ground.noctis.log_tail(100_000).splitlines()
            print("\n".join([line for line in lines if '"instance.stored"' not in line][-80:]), file=sys.stderr)
        raise
    finally:
        ground.close()
