"""An upgrade of the schema that is under way, in `run/upgrade.json`: for everybody who waits for it.

Whoever upgrades, the supervisor's process or an operator's command, notes there how far it is; it needs no database to
be read. The file is true for as long as the process lives that answers for it: after a kill it says nothing.
"""

import contextlib
import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noctis.errors import NoctisError
from noctis.files import write_whole
from noctis.home import Home
from noctis.observability.live import started
from noctis.text import moment

WAIT_FOR_IT = "wait until it is done; noctis status shows how far it is"
EVERY_SECONDS = 0.5  # between two notes of one step


@dataclass(frozen=True)
class Upgrade:
    """One upgrade."""

    before: str | None  # the schema's version; None: no tables
    after: str
    since: str  # ISO 8601, UTC
    pid: int  # who answers for it
    started: int  # when that process was started, in clock ticks since the machine was
    step: str = ""  # what is done at the moment, in a few words
    done: int = 0  # of the step
    of: int = 0  # 0: not known
    waiting: str = ""  # why it does not go on
    fix: str = WAIT_FOR_IT

    def as_json(self) -> dict[str, Any]:
        names = ("before", "after", "since", "step", "done", "of", "waiting", "fix")
        return {name: getattr(self, name) for name in names} | {"sentence": self.sentence, "public": self.public}

    @property
    def sentence(self) -> str:
        """In plain words, why it waits too."""
        return f"{self.public}: {self.waiting}" if self.waiting else self.public

    @property
    def public(self) -> str:
        """The same for those to whom nobody says where the database is."""
        text = f"the database is being upgraded from schema {self.before} to {self.after}"
        if self.before is None:
            text = f"the tables of the database are being made (schema {self.after})"
        text += f", since {moment(self.since)}"
        if self.waiting:
            return f"{text}; it waits"
        if self.step:
            text += f": {self.step}"
            if self.of:
                text += f", {self.done:,} of {self.of:,} ({100 * self.done // self.of} %)"
        return text


def under_way(home: Home) -> Upgrade | None:
    """The upgrade that goes on now; None: none does."""
    try:
        found = Upgrade(**json.loads(_path(home).read_bytes()))
        return found if started(found.pid) == found.started else None
    except (OSError, ValueError, TypeError):
        return None


def forget(home: Home) -> None:
    """None goes on any more."""
    _path(home).unlink(missing_ok=True)


class Progress:
    """One upgrade's notes. A note that cannot be written is left out: it stops no upgrade.

    Parameters
    ----------
    pid
        The process that answers for it: this one, or its parent, which starts it again when it is killed.
    """

    def __init__(self, home: Home, before: str | None, after: str, pid: int) -> None:
        self._home = home
        self._at = 0.0  # monotonic
        known = under_way(home)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        if known is not None and (known.pid, known.before, known.after) == (pid, before, after):
            since = known.since  # it goes on with what was begun
        self._now = Upgrade(before, after, since, pid, started(pid) or 0)
        self._write()

    def tell(self, step: str, done: int = 0, of: int = 0) -> None:
        """What is done now, and how much of it is."""
        told = replace(self._now, step=step, done=done, of=of, waiting="", fix=WAIT_FOR_IT)
        soon = time.monotonic() - self._at < EVERY_SECONDS and step == self._now.step and not self._now.waiting
        self._now = told
        if not soon:
            self._write()

    def waits(self, error: Exception) -> None:
        """It cannot go on for the time being."""
        reason, fix = (error.message, error.fix) if isinstance(error, NoctisError) else (str(error), None)
        self._now = replace(self._now, waiting=reason, fix=fix or WAIT_FOR_IT)
        self._write()

    def _write(self) -> None:
        self._at = time.monotonic()
        with contextlib.suppress(OSError):
            write_whole(_path(self._home), json.dumps(asdict(self._now)).encode())


def _path(home: Home) -> Path:
    return home.run / "upgrade.json"
