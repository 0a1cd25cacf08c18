"""The table of services: the processes beside the listeners.

What a process needs alone it loads itself: the parent, and so the listeners, have no web framework in their memory.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog

from noctis.config import Settings
from noctis.errors import ExitCode, NoctisError
from noctis.facilities import watcher
from noctis.observability.scoreboard import Scoreboard

log = structlog.get_logger()

RECEIVING = (
    "watcher",
    "archiver",
)  # with the listeners: once these are up we are ready, whatever becomes of the others
COUNT_BY_FACILITY = ("archiver",)  # their scoreboards tell facilities apart


def services(settings: Settings) -> dict[str, Callable[[Settings, Scoreboard], int]]:
    """The processes beside the listeners: a new one is one line here."""
    from noctis.archiver import service as archiver
    from noctis.scheduler import service as scheduler

    table: dict[str, Callable[[Settings, Scoreboard], int]] = {
        "watcher": watcher.run,
        "archiver": archiver.run,
        "scheduler": scheduler.run,
    }
    if settings.web.enabled:
        table["web"] = _web
    if settings.notifications.enabled:
        table["notifier"] = _notifier
    if settings.audit.syslog is not None:
        from noctis.audit import service as audit

        table["audit"] = partial(audit.run, since=datetime.now(UTC))
    return table


def _web(settings: Settings, scoreboard: Scoreboard) -> int:
    """Loaded by the process itself: the parent, and so the listeners, have no web framework in their memory."""
    from noctis.web import service

    try:
        return service.run(settings, scoreboard)
    except NoctisError as error:
        log.error("web.not_started", error=error.message, fix=error.fix)
        return ExitCode.FOUND_WRONG


def _notifier(settings: Settings, scoreboard: Scoreboard) -> int:
    """Loaded by the process itself, as `_web`."""
    from noctis.notify import service

    return service.run(settings, scoreboard)
