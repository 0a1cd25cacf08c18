"""What a change of a facility will do to what runs, in sentences, before it is made. Pure.

The parent's plan says which ports are opened and closed; what listeners read by themselves is said here. Whether
anybody is cut off is said in every case: an instance in flight is always finished and acknowledged.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noctis.facilities.snapshot import Facility
from noctis.text import counted

Plan = Mapping[str, Sequence[Mapping[str, Any]]]  # as `supervisor.plan.Plan.as_json`


@dataclass(frozen=True)
class Effect:
    """One thing that happens."""

    text: str
    notable: bool = False  # a sender, or who runs it, has to do something


@dataclass(frozen=True)
class Use:
    """How a facility is used at the moment."""

    live: int = 0  # associations at its own port
    instances: int | None = None  # archived; None: not known
    bytes: int | None = None
    kept_out: Sequence[str] = ()  # why no TLS can be spoken at its port after the change


def effects(plan: Plan, before: Facility, after: Facility, use: Use, *, runs: bool) -> list[Effect]:
    """What changes when `before` becomes `after`.

    Parameters
    ----------
    plan
        What a reconcile with it would do.
    runs
        Whether a supervisor does.
    """
    kinds = {kind for kind, changes in plan.items() if any(each["facility"] == before.slug for each in changes)}
    found: list[Effect] = []
    if "rebound" in kinds:
        found += _rebound(before, after, use.live)
    elif "stopped" in kinds:
        found += [Effect(f"Port {before.port} closes: new callers are refused.", True), _drained(before.port, use.live)]
    elif "started" in kinds:
        found.append(Effect(f"A listener opens port {after.port}. Nothing else restarts, and nobody is cut off."))
    if after.enabled and before.enabled and after.workers != before.workers and "rebound" not in kinds:
        found += _resized(before, after, use.live)
    others = [Effect("Other facilities do not notice.")] if found else []
    found = found or [Effect("Nothing restarts, and nobody is cut off.")]
    if after.enabled:
        found += _read(before, after, use)
    found += others
    if not runs:
        found.append(Effect("No supervisor runs: all this happens when one is started.", True))
    return found


def _rebound(before: Facility, after: Facility, live: int) -> list[Effect]:
    return [
        Effect(f"A new listener opens port {after.port}, then port {before.port} closes."),
        _drained(before.port, live),
        Effect(f"Its senders must be pointed at port {after.port}.", True),
    ]


def _drained(port: int, live: int) -> Effect:
    if not live:
        return Effect(f"No association is open at port {port}: nobody is cut off.")
    are = counted(live, "association that is", "associations that are")
    return Effect(
        f"The {are} open at port {port} now may finish the instance in flight, which is acknowledged and kept, and "
        "then end: what their senders have not sent by then they send again.",
        True,
    )


def _resized(before: Facility, after: Facility, live: int) -> list[Effect]:
    more = after.workers - before.workers
    if more > 0:
        processes = counted(more, "more process", "more processes")
        text = f"{processes} will serve port {after.port}; those that run go on, and nobody is cut off."
        return [Effect(text)]
    processes = counted(-more, "process", "processes")
    found = [Effect(f"{processes} of port {after.port} will end; the others go on, and the port stays open.")]
    if live:
        found.append(
            Effect(
                f"Of the associations open there ({live}), those of an ending process finish the instance in flight, "
                "which is acknowledged and kept, and then end.",
                True,
            )
        )
    return found


def _read(before: Facility, after: Facility, use: Use) -> Iterator[Effect]:
    """What listeners find in the snapshot by themselves."""
    if after.ae_title != before.ae_title:
        yield Effect(
            f"From the next association on it is called {after.ae_title}: senders that still call {before.ae_title} "
            "are refused, unless they are devices of it.",
            True,
        )
    if (after.tls, after.client_certificates) != (before.tls, before.client_certificates):
        yield Effect("From the next connection on TLS is asked for as set here: senders must be set up for it.", True)
        for each in use.kept_out:
            yield Effect(f"Nobody can connect then: {each}", True)
    if after.conflict != before.conflict:
        yield Effect("From the next conflict on it is settled as set here; those in quarantine stay there.")
    if after.max_associations is not None and after.max_associations != before.max_associations:
        more = f"; the {use.live} that are open stay" if use.live > after.max_associations else ""
        yield Effect(f"New associations beyond {after.max_associations} are refused{more}.")
    if after.max_instance_bytes is not None and after.max_instance_bytes != before.max_instance_bytes:
        yield Effect("From the next instance on larger ones are refused (A700).")
    for name, limit, was, used in (
        ("bytes", after.quota_bytes, before.quota_bytes, use.bytes),
        ("instances", after.quota_instances, before.quota_instances, use.instances),
    ):
        if limit is not None and limit != was and used is not None and used >= limit:
            text = (
                f"It has {used} {name} already: from the next instance on C-STORE is answered A700. Nothing is deleted."
            )
            yield Effect(text, True)
