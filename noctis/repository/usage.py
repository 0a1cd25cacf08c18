"""Usage: how much every facility has in the archive, in `run/usage.json`, and what it may have.

The archiver, which knows the database, writes the file; listeners, which know none, read it. It says for each facility
what is filed and what waits in the spool, and `as_of`: the time before which everything that was acknowledged is
counted in it. What was acknowledged since is for the reader to add. Something acknowledged while the archiver was
counting may be in both: the sum is never too small by that, and right again when the file is written next.

Times are time.time_ns() of one machine. Pure standard library: receiving needs no database.
"""

import contextlib
import functools
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from noctis.repository.slots import held
from noctis.repository.spool_entries import arrived_ns, names_in_new
from noctis.sections import StorageSettings

FORMAT = 1
LOOK_SECONDS = 0.1  # between two looks at the file


class Usage(NamedTuple):
    """Instances, and bytes of their files."""

    instances: int = 0
    bytes: int = 0

    def plus(self, other: "Usage") -> "Usage":
        return Usage(self.instances + other.instances, self.bytes + other.bytes)


NONE = Usage()


def total(usages: Iterable[Usage]) -> Usage:
    """All of them together."""
    return functools.reduce(Usage.plus, usages, NONE)


class HasLimits(Protocol):
    """A facility, as listeners or the registry know it. None: the configured default."""

    @property
    def max_instance_bytes(self) -> int | None: ...
    @property
    def quota_bytes(self) -> int | None: ...
    @property
    def quota_instances(self) -> int | None: ...


class Limits(NamedTuple):
    """What is in force; None: no limit."""

    max_instance_bytes: int | None  # of one data set
    quota_bytes: int | None
    quota_instances: int | None

    @property
    def has_quota(self) -> bool:
        return self.quota_bytes is not None or self.quota_instances is not None


def report(used: Usage, limits: Limits) -> dict[str, Any]:
    """Usage against quota, for JSON; None where there is no quota."""
    return {
        "instances": used.instances,
        "bytes": used.bytes,
        "quota_instances": limits.quota_instances,
        "quota_bytes": limits.quota_bytes,
        "instances_percent": _percent(used.instances, limits.quota_instances),
        "bytes_percent": _percent(used.bytes, limits.quota_bytes),
    }


def _percent(has: int, may: int | None) -> float | None:
    if may is None:
        return None
    return round(100 * has / may, 1) if may else 100.0


def limits_of(facility: HasLimits, storage: StorageSettings) -> Limits:
    """A facility's own limits, or the configured ones."""
    return Limits(
        _first(facility.max_instance_bytes, storage.max_instance_bytes),
        _first(facility.quota_bytes, storage.facility_quota_bytes),
        _first(facility.quota_instances, storage.facility_quota_instances),
    )


def limits_in_all(storage: StorageSettings) -> Limits:
    """Of all facilities together."""
    return Limits(None, storage.quota_bytes, storage.quota_instances)


def any_quota(facilities: Iterable[HasLimits], storage: StorageSettings) -> bool:
    """Whether a quota is in force, for one of them or for all together."""
    return limits_in_all(storage).has_quota or any(limits_of(each, storage).has_quota for each in facilities)


def _first(own: int | None, configured: int | None) -> int | None:
    return configured if own is None else own


@dataclass(frozen=True)
class UsageFile:
    """What the file says."""

    as_of: int = 0  # ns since the epoch
    archived: Mapping[str, Usage] = field(default_factory=dict)  # by slug
    waiting: Mapping[str, Usage] = field(default_factory=dict)  # in the spool

    def of(self, slug: str) -> Usage:
        return self.archived.get(slug, NONE).plus(self.waiting.get(slug, NONE))

    @functools.cached_property
    def in_all(self) -> Usage:
        return total((*self.archived.values(), *self.waiting.values()))


def write(path: Path, usage: UsageFile) -> None:
    """Replace the file as a whole. Not synced: after a power cut the archiver counts anew when it starts.

    Raises
    ------
    OSError
        It cannot be written; the old one stays.
    """
    temporary = path.with_suffix(".tmp")
    document = {"format": FORMAT, "as_of": usage.as_of, "archived": usage.archived, "waiting": usage.waiting}
    temporary.write_text(json.dumps(document, separators=(",", ":")), encoding="ascii")
    temporary.replace(path)


def parse(text: bytes) -> UsageFile:
    """What `write` wrote.

    Raises
    ------
    ValueError
        It did not write this.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, expected {FORMAT}")
        return UsageFile(int(document["as_of"]), _usages(document["archived"]), _usages(document["waiting"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a file of usage: {error!r}") from error


def _usages(document: dict[str, list[int]]) -> dict[str, Usage]:
    return {slug: Usage(int(instances), int(size)) for slug, (instances, size) in document.items()}


class UsageReader:
    """The newest file. One that is broken or missing leaves the last good one in force; before any, nothing is used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = -LOOK_SECONDS  # monotonic
        self._usage = UsageFile()

    def current(self) -> UsageFile:
        """At most one `stat` in `LOOK_SECONDS`, a parse only when something changed. One thread at a time."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            with contextlib.suppress(OSError, ValueError):
                status = self._path.stat()
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp != self._stamp:
                    self._usage = parse(self._path.read_bytes())
                    self._stamp = stamp
        return self._usage


def waiting(root: Path, slug: str, since: int = 0) -> Usage:
    """What waits in one facility's spool and came at `since` (ns since the epoch) or later."""
    instances = size = 0
    for _, stamp, length in held(root, slug):  # before `new`, to which they may move
        if arrived_ns(stamp) >= since:
            size += length
            instances += 1
    new = f"{root}/{slug}/new"
    for name in names_in_new(root, slug):
        if arrived_ns(name) >= since:
            with contextlib.suppress(FileNotFoundError):  # filed meanwhile
                size += os.lstat(f"{new}/{name}").st_size
                instances += 1
    return Usage(instances, size)


def all_waiting(root: Path, since: int = 0) -> dict[str, Usage]:
    """The same of every facility that has anything waiting, by slug."""
    found = {folder.parent.name: waiting(root, folder.parent.name, since) for folder in root.glob("*/new")}
    return {slug: usage for slug, usage in found.items() if usage.instances}
