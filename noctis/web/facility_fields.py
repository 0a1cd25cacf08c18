"""The fields of a facility's form: what is typed, and the values that it means."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noctis.config import Settings
from noctis.errors import UsageError
from noctis.facilities.records import CHOICES, FacilityRecord
from noctis.facilities.values import CONTACT, LIMITS
from noctis.text import size

NUMBERS = ("port", "workers")
BYTES = ("max_instance_bytes", "quota_bytes")
TITLES = {
    "name": "Name",
    "ae_title": "AE title",
    "port": "Port",
    "workers": "Workers",
    "conflict": "On a conflict",
    "tls": "TLS",
    "client_certificates": "Client certificates",
    "quarantine_max_instances": "Instances in quarantine, at most",
    "max_associations": "Associations at once, at most",
    "max_instance_bytes": "Largest data set",
    "quota_bytes": "Quota of bytes",
    "quota_instances": "Quota of instances",
    "address": "Address",
    "phone": "Phone",
    "email": "E-mail",
    "licence_number": "Licence number",
}
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 1 << 10, "mib": 1 << 20}
_UNITS |= {"gib": 1 << 30, "tib": 1 << 40}
_DIGITS_MAX = 24  # more is no number of anything


@dataclass
class Form:
    """What was typed, the changes that it means, and what is wrong with it, field by field."""

    typed: dict[str, str]
    changes: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def read(typed: Mapping[str, str], record: FacilityRecord) -> Form:
    """The changes that a form makes to a facility: of fields that are in it and differ."""
    form = Form({name: typed[name] for name in TITLES if name in typed})
    for name, text in form.typed.items():
        try:
            value = value_of(name, text)
        except UsageError as error:
            form.problems[name] = error.message
            continue
        if value != getattr(record, name):
            form.changes[name] = value
    return form


def value_of(name: str, text: str) -> Any:
    """A field's value; nothing typed is the configured default (policies, limits) or nothing (contact).

    Raises
    ------
    UsageError
        It is no number where one is wanted.
    """
    text = text.replace("\r\n", "\n").strip()
    if name in CHOICES or name in CONTACT:
        return text or None
    if name in LIMITS:
        return (parse_bytes(text) if name in BYTES else _number(text)) if text else None
    return _number(text) if name in NUMBERS else text


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS_MAX:
        raise UsageError("a whole number is wanted")
    return int(text)


def parse_bytes(text: str) -> int:
    """`500`, `1.5 GB` or `2 TiB` in bytes."""
    found = re.fullmatch(r"([0-9]{1,24})(?:\.([0-9]{1,12}))?\s*([A-Za-z]{0,3})", text, re.ASCII)
    unit = _UNITS.get(found[3].lower()) if found else None
    if found is None or unit is None:
        raise UsageError("a size is wanted, such as 500 GB or 2 TiB")
    fraction = found[2] or ""
    exact: int = int(found[1] + fraction) * unit // 10 ** len(fraction)
    return exact


def shown(record: FacilityRecord) -> dict[str, str]:
    """A facility as its form shows it."""
    values = {name: getattr(record, name) for name in TITLES}
    return {name: "" if value is None else str(value) for name, value in values.items()}


def defaults(settings: Settings) -> dict[str, str]:
    """What is in force where a policy or limit is left empty."""
    storage, tls = settings.storage, settings.tls
    largest, quota = storage.max_instance_bytes, storage.facility_quota_bytes
    instances = storage.facility_quota_instances
    return {
        "conflict": storage.conflict,
        "tls": "on" if tls.enabled else "off",
        "client_certificates": tls.client_certificates,
        "quarantine_max_instances": str(storage.quarantine_max_instances),
        "max_associations": str(settings.listeners.max_associations),
        "max_instance_bytes": "any" if largest is None else size(largest),
        "quota_bytes": "none" if quota is None else size(quota),
        "quota_instances": "none" if instances is None else str(instances),
    }


def stamp(record: FacilityRecord) -> str:
    """Changes when any value of the facility does: whether somebody else was faster."""
    return hashlib.sha256(repr(sorted(shown(record).items())).encode("utf-8", "replace")).hexdigest()[:16]
