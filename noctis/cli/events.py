"""What a command leaves in the events: who did it, what, to what.

An event goes into the journal, from which the archiver takes it into the table `event`: it costs no database, so that
a query never waits for it or fails by it, and a restore does not write into the database that it has just put aside.
Facilities and devices are another matter: the registry writes their events with the change itself.
"""

from collections.abc import Sequence
from typing import Any

import click

from noctis.cli.common import App
from noctis.repository.asked import asked_for
from noctis.repository.journal import Journal

JOURNAL = "operator"  # one file for all commands


def note(app: App, action: str, subject: str = "", *, facility: str | None = None, **detail: Any) -> None:
    """An operator's action. One that cannot be written down is told on stderr: it was done all the same.

    Parameters
    ----------
    action
        For example `archive.verified`; stays the same from release to release.
    facility
        The slug, where it concerns one facility.
    """
    if not _append(app, action, subject, facility, detail):
        click.echo(
            f"noctis: the event {action} could not be written to {app.home.journal}; see: noctis check", err=True
        )


def note_query(app: App, action: str, *, facility: str | None = None, **asked: str | int | None) -> None:
    """A query: which fields were asked for, and of which facility. It goes on whether this can be written or not.

    Parameters
    ----------
    asked
        What was typed for each field, None for what was not. Values are left out but for those that `asked.KEPT` knows.
    """
    _append(app, action, "", facility, asked_for(**asked))


def _append(app: App, action: str, subject: str, facility: str | None, detail: dict[str, Any]) -> bool:
    return Journal(app.home.journal, JOURNAL).event(
        app.actor, action, _clean(detail), subject=_clean(subject), slug=facility
    )


def _clean(value: Any) -> Any:
    """Text that any database takes: names of files may be no text at all."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_clean(each) for each in value]
    return value
