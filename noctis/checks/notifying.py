"""Whether what is to be told can be told: the mail server, the notifier, receivers that do not answer."""

from collections.abc import Iterator

from noctis.checks.finding import Finding
from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import make_engine
from noctis.errors import NoctisError
from noctis.supervisor.control import Control


def check_notifications(settings: Settings) -> Iterator[Finding]:
    """The mail server is asked; webhooks are not, since each request would be a message."""
    if not settings.notifications.enabled:
        return
    if settings.smtp.host is not None:
        from noctis.notify.mail import Mailer

        try:
            Mailer(settings).check()
            yield _found(True, f"the mail server {settings.smtp.host} takes mail from us")
        except NoctisError as error:
            yield _found(False, error.message, error.fix or "look at smtp in the settings")
    try:
        notifier = Control(settings.paths).status().get("notifier")
    except NoctisError:
        notifier = None  # the check of the supervisor tells
    if notifier is not None and notifier["state"] != "running":
        why = notifier["last_error"] or "see the log"
        yield _found(False, f"the notifier is {notifier['state']}: {why}", "noctis supervisorctl status")
    yield from _receivers(settings)


def _receivers(settings: Settings) -> Iterator[Finding]:
    from noctis.notify.queries import receivers

    engine = make_engine(settings, pooled=False)
    try:
        found = receivers(engine) if migrate.schema_state(engine).up_to_date else []
    except NoctisError:
        return  # the check of the database tells
    finally:
        engine.dispose()
    for each in found:
        if each["dead"]:
            text = f"{each['dead']} messages to {each['address']} were given up: {each['last_error'] or 'see the list'}"
            yield _found(False, text, "noctis notification list --state dead; then retry or discard")
        elif each["failures"]:
            text = f"{each['address']} takes no messages since {each['failing_since']}: {each['last_error']}"
            yield _found(False, text, "mend the receiver; what waits is tried again by itself")


def _found(well: bool, text: str, fix: str = "") -> Finding:
    return Finding("notifications", well, text, fix)
