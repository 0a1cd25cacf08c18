"""A test: a notification for one rule, put into the outbox like any other."""

from datetime import UTC, datetime

from sqlalchemy import Engine, insert, update

from noctis.db.engine import reachable
from noctis.db.models import Event
from noctis.db.notifying import DeliveryTarget
from noctis.errors import UsageError
from noctis.notifications import TEST, Channel
from noctis.notify import outbox
from noctis.notify.outbox import News
from noctis.notify.rules import Rule


def send_test(engine: Engine, rule: Rule, actor: str) -> str:
    """Tell a rule's receivers that this is a test; the notification's ID.

    Raises
    ------
    UsageError
        It has none.
    """
    targets = [(rule.key, str(channel), address) for channel, address in rule.addresses]
    now = datetime.now(UTC)
    news = News(TEST, now, f"this is a test of the rule '{rule.name}', sent by {actor}", {"rule": rule.name}, None)
    with reachable(engine), engine.begin() as connection:
        uid = outbox.add(connection, news, targets)
        if uid is None:
            raise UsageError("this rule tells nobody")
        mails = [address for channel, address in rule.addresses if channel is Channel.EMAIL]
        if mails:  # who asks for a test does not wait for the next e-mail that puts several together
            where = (DeliveryTarget.channel == Channel.EMAIL, DeliveryTarget.address.in_(mails))
            connection.execute(
                update(DeliveryTarget).where(*where, DeliveryTarget.failures == 0).values(paused_until=None)
            )
        connection.execute(
            insert(Event),
            {
                "actor": actor,
                "action": "notification_rule.tested",
                "facility_id": rule.facility_id,
                "subject": rule.name,
                "detail": {"id": uid},
            },
        )
    return uid
