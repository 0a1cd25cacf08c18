"""What is said of a change before it is made, against the plan that the parent would follow."""

from dataclasses import replace
from typing import Any

from noctis.facilities.effect import Effect, Use, effects
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.supervisor.plan import make_plan

CENTRAL = Facility(1, "central", "Central", "CENTRAL", 11113, workers=2)
NORTH = Facility(2, "north", "North", "NORTH", 11114)


NOBODY = Use()


def said(use: Use = NOBODY, *, runs: bool = True, before: Facility = CENTRAL, **changes: Any) -> list[Effect]:
    after = replace(before, **changes)
    plan = make_plan(Snapshot((before, NORTH)), Snapshot((after, NORTH))).as_json()
    return effects(plan, before, after, use, runs=runs)


def text(found: list[Effect]) -> str:
    return " ".join(each.text for each in found)


def notable(found: list[Effect]) -> bool:
    return any(each.notable for each in found)


def test_what_only_people_read_restarts_nothing() -> None:
    found = said(name="Central Hospital")
    assert text(found) == "Nothing restarts, and nobody is cut off."
    assert not notable(found)


def test_a_new_port_says_what_becomes_of_the_old_one() -> None:
    found = said(port=11200)
    assert "opens port 11200, then port 11113 closes" in text(found)
    assert "nobody is cut off" in text(found)
    assert "must be pointed at port 11200" in text(found)
    busy = said(Use(live=3), port=11200)
    assert "The 3 associations that are open at port 11113 now may finish the instance in flight" in text(busy)
    assert "nobody is cut off" not in text(busy)
    assert busy[-1].text == "Other facilities do not notice."


def test_disabling_and_enabling() -> None:
    assert "Port 11113 closes: new callers are refused." in text(said(enabled=False))
    again = said(before=replace(CENTRAL, enabled=False), enabled=True)
    assert text(again).startswith("A listener opens port 11113.")
    assert not notable(again)
    quiet = said(before=replace(CENTRAL, enabled=False), port=11300)
    assert text(quiet) == "Nothing restarts, and nobody is cut off."


def test_workers() -> None:
    assert "1 more process will serve port 11113" in text(said(workers=3))
    assert not notable(said(workers=3))
    assert not notable(said(workers=1))
    assert notable(said(Use(live=1), workers=1))


def test_what_listeners_read_by_themselves() -> None:
    assert "senders that still call CENTRAL are refused" in text(said(ae_title="OTHER"))
    assert "TLS is asked for" in text(said(tls="on"))
    assert "the 9 that are open stay" in text(said(Use(live=9), max_associations=5))
    assert "larger ones are refused" in text(said(max_instance_bytes=1))
    assert "next conflict" in text(said(conflict="replace"))
    assert "It has 10 bytes already" in text(said(Use(bytes=10), quota_bytes=10))
    assert "already" not in text(said(Use(bytes=9, instances=1), quota_bytes=10, quota_instances=2))
    assert "It has 2 instances already" in text(said(Use(instances=2), quota_instances=2))


def test_without_a_supervisor_it_all_happens_later() -> None:
    assert said(runs=False, port=11200)[-1].text == "No supervisor runs: all this happens when one is started."
