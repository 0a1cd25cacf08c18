"""What listeners leave in the journal."""

from typing import Any

from noctis.repository.journal import Journal


def associate(journal: Journal, number: int, started: str, ended: str, **changes: Any) -> None:
    """An association of CT1 with central that brought three instances; times are ISO 8601."""
    line = {
        "association_id": f"a{number:05}",
        "slug": "central",
        "port": 11113,
        "called": "CENTRAL",
        "calling": "CT1",
        "address": "192.0.2.7",
        "started_at": started,
        "ended_at": ended,
        "outcome": "released",
        "instances": 3,
        "bytes": 1000,
        "failures": 0,
        "echoes": 0,
    }
    assert journal.append("association", **(line | changes))
