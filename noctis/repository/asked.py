"""What may be written down of a query: which fields were asked for, and the values that can name no patient."""

import re
from typing import Any

_UID = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40}){2,20}")
# What was typed is written down for these fields alone, and only what can be nothing else, wherever it was typed.
KEPT = {
    "study_instance_uid": _UID,
    "series_instance_uid": _UID,
    "sop_instance_uid": _UID,
    "modality": re.compile(r"[A-Za-z]{2}"),
    "status": re.compile(r"receiving|complete"),
    "limit": re.compile(r"[0-9]+"),
}


def asked_for(**asked: str | int | None) -> dict[str, Any]:
    """An event's detail: the names of the fields that were given, None for one that was not, and what may be kept."""
    given = {name: value for name, value in asked.items() if value is not None}
    values = {name: value for name, value in given.items() if name in KEPT and KEPT[name].fullmatch(str(value))}
    return {"fields": sorted(given), **values}
