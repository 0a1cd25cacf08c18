"""Receiving, filing, conflicts, quarantine and recovery in any order, each killed at any call: the books balance.

A state machine of Hypothesis runs the real code. What a step does it does in a child that may be gone before any of its
calls (`tests.crashing`); besides, listeners that live on hold their slots and receive. `tests.receiving` has the model.

`TEST_CRASHES=N` runs N times as many examples as usual, and says with `-s` what was covered.
"""

import os
import shutil
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from noctis.archiver.filing import file_spool_once
from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.errors import NoctisError
from noctis.facilities.registry import Registry
from noctis.repository import quarantine_rows, release, spool
from noctis.repository.quarantine import Quarantine
from noctis.repository.slots import SlotBudget
from noctis.repository.spool import Spool
from tests.books import empty
from tests.crashing import Say, run_in_child
from tests.receiving import SLUGS, Ledger, check, contents, digest, receive

EXAMPLES, STEPS = 10, 14
SLOT_BYTES = 1 << 20
MANY = int(os.environ.get("TEST_CRASHES", "1").replace("all", "30"))

slugs = st.sampled_from(SLUGS)
numbers, variants = st.integers(0, 9), st.integers(0, 2)
deaths = st.one_of(st.integers(0, 40), st.integers(1, 200))
receptions = st.tuples(numbers, variants, st.sampled_from(["commit"] * 4 + ["discard", "leave"]))

Action = tuple[str, Any]
actions = st.one_of(
    st.tuples(st.just("receive"), st.lists(receptions, min_size=1, max_size=4)),
    st.tuples(st.just("file"), st.none()),
    st.tuples(st.just("recover"), st.none()),
    st.tuples(st.just("release"), st.booleans()),
)


class House(RuleBasedStateMachine):
    """Two facilities of one home."""

    settings: Settings
    engine: Engine
    registry: Registry
    covered: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        home = self.settings.paths
        empty(self.engine)
        for folder in (home.media, home.quarantine, home.spool):
            shutil.rmtree(folder)
            folder.mkdir()
        for slug in SLUGS:
            self.registry.edit(slug, {"conflict": "keep"})
        self.ledger = Ledger()
        self.living: dict[tuple[str, int], Spool] = {}

    def teardown(self) -> None:
        try:
            check(self.settings, self.engine, self.ledger, tuple(self.living.values()))
            for each in self.living.values():
                each.close()
            self.living.clear()
            check(self.settings, self.engine, self.ledger)
        finally:
            for each in self.living.values():
                die(each)

    # -- a process that lives on

    @rule(slug=slugs, slot_bytes=st.sampled_from([0, SLOT_BYTES]), what=st.lists(receptions, min_size=1, max_size=4))
    def receive(self, slug: str, slot_bytes: int, what: list[tuple[int, int, str]]) -> None:
        key = (slug, slot_bytes)
        if key not in self.living:
            self.living[key] = Spool(self.settings.paths.spool, slug, slots=SlotBudget(slot_bytes))
        for number, variant, end in what:
            self.ledger.sent.add((slug, digest(number, variant)))
            receive(self.living[key], self.ledger, number, variant, end=end)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), cleanly=st.booleans())
    def listener_ends(self, data: st.DataObject, cleanly: bool) -> None:
        ended = self.living.pop(data.draw(st.sampled_from(sorted(self.living))))
        ended.close() if cleanly else die(ended)

    # -- processes that may be killed

    @rule(slug=slugs, slot_bytes=st.sampled_from([0, SLOT_BYTES]), what=st.lists(actions, min_size=1, max_size=3),
          die_at=deaths, torn=st.booleans(), close=st.booleans())  # fmt: skip
    def process(self, slug: str, slot_bytes: int, what: list[Action], die_at: int, torn: bool, close: bool) -> None:
        """One process that does one thing after the other, until it is killed or ends."""
        for name, argument in what:
            if name == "receive":
                self.ledger.sent |= {(slug, digest(number, variant)) for number, variant, _ in argument}

        def work(say: Say) -> None:
            own: Spool | None = None
            for name, argument in what:
                if name == "receive":
                    own = own or Spool(self.settings.paths.spool, slug, slots=SlotBudget(slot_bytes))
                    for number, variant, end in argument:
                        receive(own, self.ledger, number, variant, end=end, say=say)
                else:
                    act(self.settings, slug, name, argument)
            if close and own is not None:
                own.close()

        self._run(work, die_at, torn)

    @rule(die_at=deaths)
    def archiver(self, die_at: int) -> None:
        """What the archiver does at its start and then in every round."""

        def work(_: Say) -> None:
            spool.recover(self.settings.paths.spool)
            file_spool_once(self.settings)

        self._run(work, die_at, torn=False)

    @rule(slug=slugs, die_at=st.integers(0, 30))
    def discard_from_quarantine(self, slug: str, die_at: int) -> None:
        quarantine = Quarantine(self.settings.paths.quarantine)
        names = sorted(quarantine.names(slug))
        if not names:
            return
        for key in contents(quarantine.folder(slug).parent, names[0]):
            self.ledger.discarded(key)
        self._run(lambda _: act(self.settings, slug, "discard", None), die_at, torn=False)

    @rule(slug=slugs, policy=st.sampled_from(["keep", "replace"]))
    def change_policy(self, slug: str, policy: str) -> None:
        self.registry.edit(slug, {"conflict": policy})

    @rule()
    def look(self) -> None:
        check(self.settings, self.engine, self.ledger, tuple(self.living.values()))

    @invariant()
    def nothing_is_half(self) -> None:
        """At every moment: what has its name in archive or quarantine is whole, and was sent."""
        home = self.settings.paths
        found = set(contents(home.media, "[!.]*.dcm")) | set(contents(home.quarantine, "*.dcm"))
        assert found <= self.ledger.sent

    def _run(self, work: Any, die_at: int, torn: bool) -> None:
        self.engine.dispose()  # a child must not have its parent's connections
        told = run_in_child(work, die_at=die_at, torn=torn)
        self.ledger.acknowledged |= {(slug, sha256) for slug, sha256 in told.said}
        self.covered[told.died_at or "(to its end)"] += 1


def act(settings: Settings, slug: str, name: str, argument: Any) -> None:
    """What others than a listener do, with what they open themselves."""
    if name == "file":
        file_spool_once(settings)
        return
    if name == "recover":
        spool.recover(settings.paths.spool)
        return
    engine = make_engine(settings)
    quarantine = Quarantine(settings.paths.quarantine)
    try:
        for kept in sorted(quarantine.names(slug))[:1]:
            if name == "release":
                release.release(settings, engine, slug, kept, replace=argument)
            else:
                release.discard(settings, engine, slug, kept)
        quarantine_rows.sync(engine, quarantine)
    except NoctisError:
        pass  # a conflict, or it cannot be read: it says so and stays
    finally:
        engine.dispose()


def die(spool_: Spool) -> None:
    """A process's end as the kernel sees it: its descriptors are closed, and that is all."""
    for slot in (*spool_.slots._free, *spool_.slots._committed):
        os.close(slot.descriptor)
    os.close(spool_._own_descriptor)
    os.close(spool_._own_lock)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.timeout(0)
def test_any_order_and_any_death(registry: Registry, engine: Engine, settings: Settings) -> None:
    covered: Counter[str] = Counter()
    House.settings, House.engine, House.registry, House.covered = settings, engine, registry, covered
    run_state_machine_as_test(
        House,
        settings=hypothesis_settings(
            max_examples=EXAMPLES * MANY,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    died = sum(covered.values()) - covered["(to its end)"]
    print(f"\n{covered.total()} processes, {died} killed: {dict(covered.most_common())}")
    assert died
