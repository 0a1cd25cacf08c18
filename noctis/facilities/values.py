"""What a facility's values may be: each is checked against the others in the database. Runs inside the registry's
transaction, and changes nothing.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from noctis.config import Settings
from noctis.db import models
from noctis.errors import ConflictError, UsageError
from noctis.facilities import naming, ports
from noctis.facilities.records import CHOICES, DeviceRecord

LIMITS = {  # field → how many bits its column takes
    "quarantine_max_instances": 31,
    "max_associations": 31,
    "max_instance_bytes": 63,
    "quota_bytes": 63,
    "quota_instances": 63,
}
CONTACT = {"address": 1000, "phone": 64, "email": 254, "licence_number": 64}  # field → characters
WORKERS_MAX = 64


def checked(session: Session, settings: Settings, owner: int | None, field: str, value: Any) -> Any:
    """`value` as it is kept in `field` of the facility with the id `owner` (None: a new one).

    Raises
    ------
    UsageError, ConflictError
        It cannot be: the message says why, or whose it is.
    """
    if field == "name":
        name = naming.check_name(value)
        refuse_same_name(session, name, owner)
        return name
    if field == "ae_title":
        return check_title(session, settings, value, owner)
    if field == "port":
        return ports.check_port(session, settings, value, owner)
    if field == "workers":
        return check_workers(value)
    if field in CONTACT:
        return check_contact(field, value)
    check_policy(field, value)
    return value


def check_title(session: Session, settings: Settings, title: str, owner: int | None = None) -> str:
    """An AE title that no other facility and no device has."""
    title = naming.check_ae_title(title)
    _refuse_ours(settings, title)
    holder = session.scalar(select(models.Facility).where(models.Facility.ae_title == title))
    if holder is not None and holder.id != owner:
        fix = f"noctis facility restore {holder.slug}" if holder.removed_at else "choose another, or leave it out"
        removed = ", which was removed" if holder.removed_at else ""
        raise ConflictError(f"the AE title {title!r} is taken by '{holder.name}'{removed}", fix=fix)
    device = session.scalar(select(models.Device).where(models.Device.ae_title == title))
    if device is not None:
        raise ConflictError(f"the AE title {title!r} is taken by a device of '{device.facility.name}'")
    return title


def free_title(session: Session, settings: Settings, name: str, digits: str = "") -> str:
    """A generated AE title that nobody has; with these last digits, if that is one."""
    for _ in range(100):
        try:
            return check_title(session, settings, naming.generate_ae_title(name, digits))
        except ConflictError:
            digits = ""
    raise ConflictError(f"no free AE title was found for {name!r}", fix="give one with --ae-title")


def check_device(session: Session, settings: Settings, facility: models.Facility, device: DeviceRecord) -> None:
    """A device that `facility` may have."""
    _refuse_ours(settings, device.ae_title)
    holder = session.scalar(select(models.Facility).where(models.Facility.ae_title == device.ae_title))
    if holder is not None:
        raise ConflictError(f"the AE title {device.ae_title!r} is taken by the facility '{holder.name}'")
    same = select(models.Device).where(
        models.Device.facility_id == facility.id,
        models.Device.ae_title == device.ae_title,
        models.Device.network == device.network,
    )
    if session.scalar(same) is not None:
        raise ConflictError(f"'{facility.name}' has the device {device} already")


def _refuse_ours(settings: Settings, title: str) -> None:
    if title == settings.server.ae_title:
        raise ConflictError(f"the AE title {title!r} is the server's own (server.ae_title)")
    if title == naming.CHECKING:
        raise ConflictError(f"the AE title {title!r} is that of Noctis's own checks")


def refuse_same_name(session: Session, name: str, owner: int | None = None) -> None:
    holder = session.scalar(
        select(models.Facility).where(
            func.lower(models.Facility.name) == name.lower(), models.Facility.removed_at.is_(None)
        )
    )
    if holder is not None and holder.id != owner:
        raise ConflictError(
            f"there is a facility '{holder.name}' already (AE title {holder.ae_title}, port {holder.port})"
        )


def check_workers(workers: int) -> int:
    if not 1 <= workers <= WORKERS_MAX:
        raise UsageError(f"workers is {workers}; 1 to {WORKERS_MAX} are possible")
    return workers


def check_policy(field: str, value: Any) -> None:
    if value is None:
        return
    if field in CHOICES and value not in CHOICES[field]:
        raise UsageError(f"{field} is {' or '.join(CHOICES[field])}, not {value!r}")
    if field in LIMITS and not 0 <= value < 1 << LIMITS[field]:
        raise UsageError(f"{field} is a number from 0 on, not {value!r}")


def check_contact(field: str, value: str | None) -> str | None:
    """A contact's text, of one line or several; nothing at all is None."""
    text = (value or "").replace("\r\n", "\n").strip()
    if len(text) > CONTACT[field]:
        raise UsageError(f"{_words(field)} has {len(text)} characters; at most {CONTACT[field]} are kept")
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise UsageError(f"{_words(field)} holds control characters")
    return text or None


def _words(field: str) -> str:
    return "the " + field.replace("_", " ")
