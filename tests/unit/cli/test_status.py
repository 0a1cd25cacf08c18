"""What `noctis status` says of listeners below the table, where a terminal with hundreds of them ends."""

from typing import Any

import pytest
from rich.console import Console

from noctis.cli.status import NAMED_MAX, render


def document(*states: str) -> dict[str, Any]:
    listener = {"ae_title": "A", "workers": [], "live_associations": 0, "instances": 0, "bytes": 0}
    listener |= {"last_instance": None, "last_error": ""}
    return {
        "supervisor": {"running": False},
        "listeners": [
            listener | {"facility": f"clinic-{number}", "port": number, "state": state}
            for number, state in enumerate(states)
        ],
        "spool": {"pending": 0},
        "archiver": {},
        "database": {"url": "sqlite://", "up_to_date": True, "upgrade": None},
        "disk": {"free_bytes": 1, "total_bytes": 1, "reserve_bytes": 1},
        "verify": {"next": None, "running": False, "last": None},
        "archive": {"no_room": {}},
        "usage": None,
        "tls": [],
        "web": None,
        "audit": None,
        "notifier": None,
    }


def said(*states: str) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(render(document(*states)))
    return next(line.strip() for line in capture.get().splitlines() if line.startswith("listeners"))


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["running", "idle"], "listeners 2, all run"),
        (["running", "backoff", "stopped"], "listeners 2 of 3 do not run: clinic-1, clinic-2"),
    ],
)
def test_listeners_that_do_not_run_are_counted_and_named(states: list[str], expected: str) -> None:
    assert said(*states) == expected


def test_of_many_some_are_named() -> None:
    assert said(*["backoff"] * (NAMED_MAX + 2)).endswith(f"clinic-{NAMED_MAX - 1} and 2 more")
