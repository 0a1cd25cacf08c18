"""The configuration of a backup in another home: what belongs to the old machine is not taken along blindly.

`home`, `storage.media`, `database.url` and `receipts.folder` say where things were. They are left out of the restored
file, unless the restore was told new ones, which are written in their place; the original stays beside it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from noctis.config import Settings

PLACES = (("home",), ("storage", "media"), ("database", "url"), ("receipts", "folder"))
OUTSIDE = ("tls", "audit", "web", "notifications", "smtp")  # sections that may name files elsewhere
ORIGINAL = ".from-backup"  # suffix
_HEAD = (
    "# Restored from a backup. The original, with its comments, is beside this file: noctis.yaml.from-backup\n"
    "# Left out, since they told of the old places: {left_out}\n"
)


def adapted(original: str, told: Mapping[tuple[str, ...], str]) -> str:
    """The text of the new configuration file.

    Parameters
    ----------
    told
        New values of `PLACES`.

    Returns
    -------
    The original itself where nothing has to change, or it cannot be understood.
    """
    try:
        document = yaml.safe_load(original) or {}
    except yaml.YAMLError:
        return original
    if not isinstance(document, dict):
        return original
    left_out = [".".join(place) for place in PLACES if _take(document, place) is not None]
    for place, value in told.items():
        _put(document, place, value)
    if not left_out and not told:
        return original
    return _HEAD.format(left_out=", ".join(left_out) or "nothing") + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True
    )


def _take(document: dict[str, Any], place: tuple[str, ...]) -> Any:
    section: Any = document
    for name in place[:-1]:
        section = section.get(name)
        if not isinstance(section, dict):
            return None
    return section.pop(place[-1], None)


def _put(document: dict[str, Any], place: tuple[str, ...], value: str) -> None:
    for name in place[:-1]:
        if not isinstance(document.get(name), dict):
            document[name] = {}
        document = document[name]
    document[place[-1]] = value


def differences(before: Mapping[str, Any], now: Settings) -> list[str]:
    """What was in force at the backup and is not now, in plain words; and files that settings name and that are not."""
    after = now.shown() | {"home": str(now.paths.root)}
    found = []
    old, new = _flat(before), _flat(after)
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new and old[name] != new[name]:
            found.append(f"{name} was {old[name]}, is {new[name]}")
    outside = {name: new.get(name) for name in (f"{section}.{key}" for section in OUTSIDE for key in after[section])}
    for rule in after["notifications"]["rules"]:
        outside[f"secret_file of the notification rule {rule['name']}"] = rule["secret_file"]
    for name, value in outside.items():
        if isinstance(value, str) and value.startswith("/") and not Path(value).exists():
            found.append(f"{name} names {value}, which does not exist: it lay outside of the home")
    return found


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": each for key, each in value.items()}
        else:
            found[name] = value
    return found
