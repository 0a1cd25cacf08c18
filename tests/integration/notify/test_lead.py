"""Several machines on one PostgreSQL database: one sends, and another one goes on when it is gone."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from noctis.config import Settings
from noctis.db.engine import make_engine
from noctis.notify.lead import Lead
from noctis.notify.rules import Rules
from tests.integration.notify.conftest import Turned, rule
from tests.integration.notify.test_deliveries import states, tell
from tests.notifying import Receiver
from tests.support import wait_for


@pytest.mark.parametrize("backend", ["postgresql"])
def test_one_leads_and_the_next_follows(backend: str, settings: Settings) -> None:
    engines = [make_engine(settings) for _ in range(2)]
    first, second = (Lead(each) for each in engines)
    assert first.held()
    assert not second.held()
    assert first.held()
    first.give_up()
    wait_for(second.held)  # the server notices that the connection is gone
    assert not first.held()
    second.give_up()
    first.give_up()
    for each in engines:
        each.dispose()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_two_notifiers_send_each_message_once(
    backend: str, engine: Engine, rules: Rules, hook: Receiver, turn: Callable[..., Turned]
) -> None:
    rule(rules, hook, "silence")
    first, second = turn(), turn()
    first.turn()
    tell(engine, rules, 30)

    def both() -> bool:
        second.notifier.turn()
        return len(hook.posted) == 30

    first.until(both)
    first.settle()
    assert set(states(engine)) == {"sent"}
    assert len({each.id for each in hook.posted}) == len(hook.posted) == 30
    first.close()
    tell(engine, rules)
    second.until(lambda: len(hook.posted) == 31)
