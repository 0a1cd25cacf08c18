"""What a reconcile would do: the facilities as they shall be against the listeners that run. Pure."""

from dataclasses import dataclass
from typing import Any

from noctis.facilities.snapshot import Snapshot

DEFAULT = "default"  # the default listener's name
FACILITY_BOARD = "facility."  # before the slug, in the name of a scoreboard
SERVICE_BOARD = "service."


@dataclass(frozen=True)
class ListenerSpec:
    """One port that shall be served. What is not here needs nothing from the parent: listeners read it themselves."""

    slug: str | None  # None: the default listener
    port: int
    workers: int = 1

    @property
    def group(self) -> str:
        """The process group's name: a changed port is another group, so that the new one is up before the old goes."""
        return f"{self.slug or DEFAULT}@{self.port}"

    @property
    def board(self) -> str:
        """The name of its scoreboards, whatever its port: counts outlive a changed one."""
        return f"{FACILITY_BOARD}{self.slug}" if self.slug else DEFAULT


@dataclass(frozen=True)
class Change:
    """One listener that differs."""

    facility: str  # slug, or "default"
    port: int
    was: int | None = None  # re-bound: the port before; refreshed: None


@dataclass(frozen=True)
class Plan:
    started: tuple[Change, ...] = ()
    stopped: tuple[Change, ...] = ()
    rebound: tuple[Change, ...] = ()
    refreshed: tuple[Change, ...] = ()  # name, AE title, devices, policies, workers: nobody is cut off

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [
                {"facility": change.facility, "port": change.port, **({"was": change.was} if change.was else {})}
                for change in getattr(self, name)
            ]
            for name in ("started", "stopped", "rebound", "refreshed")
        }


def wanted(snapshot: Snapshot, default_port: int) -> dict[str, ListenerSpec]:
    """Group name → what shall run."""
    specs = [ListenerSpec(None, default_port)]
    specs += [ListenerSpec(each.slug, each.port, each.workers) for each in snapshot.facilities if each.enabled]
    return {spec.group: spec for spec in specs}


def make_plan(before: Snapshot, after: Snapshot) -> Plan:
    """What differs between two snapshots, as far as ports are concerned."""
    was = {each.slug: each for each in before.facilities if each.enabled}
    shall = {each.slug: each for each in after.facilities if each.enabled}
    return Plan(
        started=tuple(Change(slug, shall[slug].port) for slug in sorted(shall.keys() - was.keys())),
        stopped=tuple(Change(slug, was[slug].port) for slug in sorted(was.keys() - shall.keys())),
        rebound=tuple(
            Change(slug, shall[slug].port, was[slug].port)
            for slug in sorted(shall.keys() & was.keys())
            if shall[slug].port != was[slug].port
        ),
        refreshed=tuple(
            Change(slug, shall[slug].port)
            for slug in sorted(shall.keys() & was.keys())
            if shall[slug].port == was[slug].port and shall[slug] != was[slug]
        ),
    )
