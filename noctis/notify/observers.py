"""What is looked at: disks, certificates, listeners, refusals, silence. Each yields how things are now.

Disks, certificates and listeners are this machine's; refusals and silence are of the whole installation.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, select

from noctis.config import Settings
from noctis.db.engine import reading
from noctis.db.models import Facility, Refusal
from noctis.errors import SupervisorError
from noctis.facilities.snapshot import SnapshotReader
from noctis.notify.conditions import Observation
from noctis.repository.room import Room, Space
from noctis.silence import Watch
from noctis.supervisor.control import Control
from noctis.text import counted, duration, size
from noctis.tls import known

GOOD = ("running", "idle")  # states of a listener
AGAIN = 1.2  # free space is enough again at so many times the limit
ADDRESSES_MAX = 5  # at one port, one by one; more are told of together
REFUSALS_MAX = 1000  # rows of one look
QUIET_MAX = 50_000  # rows that are remembered; the ledger has fewer
PORT_FACTOR = 10  # so many times notifications.refusals at one port, whatever the addresses
HOST = os.uname().nodename


def facility_ids(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        return {row.slug: row.id for row in connection.execute(select(Facility.slug, Facility.id))}


# -- disks


def disks(settings: Settings) -> Iterator[Observation]:
    """Every file system that spool, archive or a facility's archive lies on."""
    seen: dict[int, tuple[str, Space]] = {}
    for name, folder in (("spool", settings.paths.spool), ("archive", settings.paths.media)):
        if folder.is_dir():
            space = Room(folder).space()
            names = f"{seen[space.device][0]} and the {name}" if space.device in seen else f"the {name}"
            seen[space.device] = (names, space)
    if settings.paths.media.is_dir():
        room = Room(settings.paths.media)
        for each in SnapshotReader(settings.paths.snapshot).current().facilities:
            if each.enabled:
                space = room.space(each.slug)
                seen.setdefault(space.device, (f"the archive of '{each.name}'", space))
    for device, (names, space) in seen.items():
        limit = disk_limit(settings, space.total)
        if space.free < limit * AGAIN:
            yield Observation(
                f"{HOST}:disk:{device}",
                space.free < limit,
                f"{size(space.free)} of {size(space.total)} are free for {names} on {HOST}; below {size(limit)} is low",
                f"there is room again for {names} on {HOST}",
                data={"host": HOST, "folder": str(space.folder), "free_bytes": space.free, "total_bytes": space.total}
                | {"limit_bytes": round(limit), "reserve_bytes": settings.storage.reserve_bytes},
            )


def disk_limit(settings: Settings, total: int) -> float:
    """Free bytes below which a disk is low."""
    told = settings.notifications
    return max(told.disk_reserves * settings.storage.reserve_bytes, told.disk_percent / 100 * total)


# -- certificates


def certificates(settings: Settings, ids: dict[str, int]) -> Iterator[Observation]:
    """Those of listeners, CAs and clients, and the one of the pages."""
    now = datetime.now(UTC)
    edge = now + timedelta(days=settings.tls.expiry_days)
    for title, slug, mark, not_after, fix in _all_certificates(settings):
        if not_after is not None and not_after < edge:
            left = (not_after - now).days
            when = (
                f"ends on {not_after:%Y-%m-%d}, in {left} days" if left >= 0 else f"has expired on {not_after:%Y-%m-%d}"
            )
            yield Observation(
                f"{HOST}:certificate:{mark}",
                True,
                f"{title} {when}",
                f"{title} was replaced",
                ids.get(slug or ""),
                {"host": HOST, "certificate": title, "not_after": not_after.isoformat(), "days": left, "fix": fix},
            )


def _all_certificates(settings: Settings) -> Iterator[tuple[str, str | None, str, datetime | None, str]]:
    for entry in known.certificates(settings, SnapshotReader(settings.paths.snapshot).current().facilities):
        yield entry.title, entry.facility, entry.fingerprint or str(entry.path), entry.not_after, entry.fix
    if settings.web.certificate is not None:
        from noctis.tls.inventory import of_pages

        if (own := of_pages(settings)) is not None:
            yield own.title, None, own.fingerprint, own.not_after, own.fix


# -- listeners

WORDS = {"backoff": "is not open", "stopped": "was stopped", "stopping": "is closing", "starting": "is not ready yet"}


def listeners(settings: Settings, ids: dict[str, int]) -> list[Observation] | None:
    """Doors that are not open; None: the supervisor does not say."""
    try:
        found = Control(settings.paths).status()["listeners"]
    except SupervisorError:
        return None
    return [
        Observation(
            f"{HOST}:listener:{each['facility'] or ''}",
            True,
            f"the listener of {_door(each)} on port {each['port']} {WORDS.get(each['state'], each['state'])}"
            + (f": {each['last_error']}" if each["last_error"] else ""),
            f"the listener of {_door(each)} on port {each['port']} is open again",
            ids.get(each["facility"] or ""),
            {"host": HOST, "state": each["state"], "port": each["port"], "ae_title": each["ae_title"]}
            | {"error": each["last_error"], "restarts": each["restarts"]},
            hold=float(settings.notifications.listener_seconds),
        )
        for each in found
        if each["state"] not in GOOD
    ]


def _door(listener: dict[str, Any]) -> str:
    return f"'{listener['name']}'" if listener["facility"] else "the default port"


# -- refusals


@dataclass
class RefusalWindow:
    """How many callers were turned away of late: the ledger's counts, and what they were before.

    Kept in the database by the notifier, so that a restart forgets nothing.
    """

    samples: dict[int, list[tuple[float, int]]] = field(default_factory=dict)  # row's id → (time, count), oldest first
    quiet: dict[int, int] = field(default_factory=dict)  # row's id → count, of those that were not turned away of late
    begun: bool = False  # `quiet` is known

    def as_json(self) -> dict[str, Any]:
        return {str(id_): samples for id_, samples in self.samples.items()}

    @classmethod
    def of(cls, document: dict[str, Any]) -> "RefusalWindow":
        return cls({int(id_): [(float(at), int(count)) for at, count in each] for id_, each in document.items()})

    def begin(self, connection: Connection, edge: datetime) -> None:
        """Learn the counts of all that was before."""
        query = select(Refusal.id, Refusal.count.label("times")).where(Refusal.last_seen < edge)
        self.quiet = {row.id: row.times for row in connection.execute(query)}
        self.begun = True

    def grown(self, rows: Iterable[Any], now: datetime, seconds: float) -> dict[int, int]:
        """By how much each row's count has grown within `seconds`; and remember the counts."""
        moment, edge = now.timestamp(), now.timestamp() - seconds
        found: dict[int, int] = {}
        before, self.samples = self.samples, {}
        for row in rows:
            samples = before.pop(row.id, None)
            if samples is None and row.id in self.quiet:
                samples = [(edge, self.quiet.pop(row.id))]
            elif samples is None:  # of one that came while nobody looked and was there before, it is not known
                samples = [(edge, 0)] if row.first_seen.timestamp() >= edge else [(moment, row.times)]
            while len(samples) > 1 and samples[1][0] <= edge:
                samples = samples[1:]
            found[row.id] = max(0, row.times - samples[0][1])
            if samples[-1][1] != row.times and moment - samples[-1][0] >= seconds / 20:
                samples = [*samples, (moment, row.times)]
            self.samples[row.id] = samples
        self.quiet |= {id_: samples[-1][1] for id_, samples in before.items()}
        return found


def refusals(connection: Connection, settings: Settings, window: RefusalWindow, now: datetime) -> Iterator[Observation]:
    """Addresses that were turned away often at one port, and ports at which many were."""
    told = settings.notifications
    least, seconds = told.refusals, told.refusal_seconds
    edge = now - timedelta(seconds=seconds)
    if not window.begun or len(window.quiet) > QUIET_MAX:
        window.begin(connection, edge)
    rows = connection.execute(
        select(*Refusal.__table__.c, Refusal.count.label("times"))
        .where(Refusal.last_seen >= edge)
        .order_by(Refusal.last_seen.desc(), Refusal.id.desc())
        .limit(REFUSALS_MAX)
    ).all()
    grown = window.grown(rows, now, seconds)
    facilities = {
        row.port: row for row in connection.execute(select(Facility.port, Facility.id, Facility.slug, Facility.name))
    }
    by_port: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if grown[row.id]:
            by_port[row.port][row.address].append(row)
    for port, addresses in sorted(by_port.items()):
        sums = {address: sum(grown[row.id] for row in mine) for address, mine in addresses.items()}
        facility = facilities.get(port)
        where = f"port {port}" + (f" ('{facility.name}')" if facility else "")
        facility_id = facility.id if facility else None
        bursting = [address for address, count in sums.items() if count >= least]
        total = sum(sums.values())
        together = len(bursting) > ADDRESSES_MAX or total >= PORT_FACTOR * least
        within = duration(seconds)
        if together or total >= PORT_FACTOR * least / 2:
            yield Observation(
                f"refusals:{port}:*",
                together,
                f"{counted(total, 'call')} turned away at {where} "
                f"from {counted(len(sums), 'address', 'addresses')} within {within}",
                f"few callers are turned away at {where} any more",
                facility_id,
                {"port": port, "count": total, "seconds": seconds, "addresses": _most(sums)},
            )
        for address, count in sums.items():
            if count >= least / 2:
                last = addresses[address][0]
                yield Observation(
                    f"refusals:{port}:{address}",
                    count >= least and not together,
                    f"{count} callers were turned away at {where} from {address} within {within}; the last one: "
                    f"{last.calling!r} called {last.called!r}: {last.reason}",
                    f"few callers are turned away at {where} from {address} any more",
                    facility_id,
                    {"port": port, "count": count, "seconds": seconds, "addresses": {address: count}}
                    | {"calling": last.calling, "called": last.called, "reason": last.reason, "fix": last.fix},
                )


def _most(sums: dict[str, int]) -> dict[str, int]:
    return dict(sorted(sums.items(), key=lambda each: -each[1])[:10])


# -- silence


def silences(watch: Watch) -> Iterator[Observation]:
    """Facilities and devices that are silent where that is unlikely; what was acknowledged or muted is not told."""
    for state in watch.evaluate():
        if state.alarm:
            whose = f"'{state.name}'" + (f", device {state.device}" if state.device else "")
            yield Observation(
                f"silence:{state.facility}:{state.device}",
                state.raised,
                f"{whose} is silent: {state.sentence}",
                f"{whose} is heard of again, or is not expected to be",
                state.facility_id,
                {
                    "device": state.device or None,
                    "last_at": state.last_at.isoformat() if state.last_at else None,
                    "silent_seconds": round(state.silent_seconds) if state.silent_seconds is not None else None,
                    "probability": state.probability,
                },
            )
