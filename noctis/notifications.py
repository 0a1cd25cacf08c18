"""What can be told of, and where it is on its way. Pure."""

from enum import StrEnum


class Kind(StrEnum):
    """What a rule can be about."""

    STUDY_COMPLETE = "study-complete"  # nothing came for a study for archiver.study_quiet_seconds
    LATE_ARRIVAL = "late-arrival"  # an instance came for a study that was complete
    SILENCE = "silence"  # a facility or device is silent where that is unlikely
    REFUSAL_BURST = "refusal-burst"  # many callers were turned away in a short time
    QUARANTINE = "quarantine"  # instances were put into quarantine
    DISK_LOW = "disk-low"  # free space comes near the reserve
    CERTIFICATE_EXPIRING = "certificate-expiring"  # within tls.expiry_days, or of no use
    LISTENER_DOWN = "listener-down"  # a door that does not open
    RECEIPT = "receipt"  # a facility's receipt of a day was made


TEST = "test"  # what the button "send a test" sends; no rule can name it

TITLES = {
    Kind.STUDY_COMPLETE: "Study complete",
    Kind.LATE_ARRIVAL: "Late arrival",
    Kind.SILENCE: "Silence",
    Kind.REFUSAL_BURST: "Refusal burst",
    Kind.QUARANTINE: "Quarantine",
    Kind.DISK_LOW: "Disk low",
    Kind.CERTIFICATE_EXPIRING: "Certificate expiring",
    Kind.LISTENER_DOWN: "Listener down",
    Kind.RECEIPT: "Daily receipt",
}


def title(kind: str) -> str:
    """A kind as people read it."""
    return TITLES[Kind(kind)] if kind in TITLES else kind.capitalize()


class Phase(StrEnum):
    """Whether something happened, or lasts."""

    HAPPENED = "happened"
    BEGUN = "begun"  # and there will be one more, when it is over
    OVER = "over"


class Channel(StrEnum):
    WEBHOOK = "webhook"
    EMAIL = "email"


class DeliveryState(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"  # it is tried until it succeeds or is given up
    SENT = "sent"  # the receiver took it
    DEAD = "dead"  # given up after notifications.give_up_hours; an operator may try again or discard
    DISCARDED = "discarded"  # by an operator, or since no rule names the address any more
