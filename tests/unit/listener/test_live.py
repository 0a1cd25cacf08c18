"""What is told of an association."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from noctis.listener.live import Seen, told

BEGAN = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_nothing_came_before_it_began() -> None:
    """The kernel's silence is in whole milliseconds, and counts from the connection."""
    origin = SimpleNamespace(port=11113, called="A", calling="B", address="127.0.0.1")
    association: Any = SimpleNamespace(
        association_id="1", connection=None, origin=origin, tally=SimpleNamespace(started_at=BEGAN)
    )
    counts = {"instances": 0, "bytes": 0, "failures": 0, "echoes": 0}
    seen = Seen(cast(Any, association), "a", received=10, silent=1000, counts=counts)
    assert told(seen, BEGAN + timedelta(milliseconds=5)).last_data_at == "2026-11-26T12:00:00.000+00:00"
    assert told(seen, BEGAN + timedelta(seconds=3)).last_data_at == "2026-11-26T12:00:02.000+00:00"
