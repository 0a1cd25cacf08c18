"""Whether what is to be told can be told: the mail server, the notifier, receivers that do not answer."""

from collections.abc import Iterator

from noctis.config import Settings
from noctis.db import migrate
from noctis.db.engine import make_engine
from noctis.errors import NoctisError
from noctis.supervisor.control import Control

Trouble = tuple[bool, str, str]  # whether it is well, in plain words, what to do


def notification_troubles(settings: Settings) -> Iterator[Trouble]:
    """The mail server is asked; webhooks are not, since each request would be a message."""
    if not settings.notifications.enabled:
        return
    if settings.smtp.host is not None:
        from noctis.notify.mail import Mailer

        try:
            Mailer(settings).check()
            yield True, f"the mail server {settings.smtp.host} takes mail from us", ""
        except NoctisError as error:
            yield False, error.message, error.fix or "look at smtp in the settings"
    try:
        notifier = Control(settings.paths).status().get("notifier")
    except NoctisError:
        notifier = None  # the check of the supervisor tells
    if notifier is not None and notifier["state"] != "running":
        why = notifier["last_error"] or "see the log"
        fix = "noctis supervisorctl status"
        yield False, f"the notifier is {notifier['state']}: {why}", fix
    yield from _receivers(settings)


def _receivers(settings: Settings) -> Iterator[Trouble]:
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
            yield False, text, "noctis notification list --state dead; then retry or discard"
        elif each["failures"]:
            text = f"{each['address']} takes no messages since {each['failing_since']}: {each['last_error']}"
            yield False, text, "mend the receiver; what waits is tried again by itself"
