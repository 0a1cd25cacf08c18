"""Limits on what is stored: the size of one data set, and the quotas of a facility and of all.

Takes what the archiver says is used (`repository.usage`) and adds what this process has acknowledged since, and what it
is receiving. Refuses with a `LimitError`, and never deletes anything. A limit that is changed is in force for the next
instance. Without quotas nothing is read, counted or locked.

What is promised. In one process a quota is never exceeded: it is looked at when an instance begins, and once more
before it is committed. Processes that store for one facility (its workers, the default listener) know of each other's
instances by the archiver's file alone: beyond the quota there may be as much as the others have acknowledged between
two files, some seconds. While the archiver is away, the database with it or not, each counts for itself from the last
file on, and begins with what waits in the spool.
"""

import threading
import time
from collections import deque
from pathlib import Path

from noctis.errors import StorageError
from noctis.facilities.snapshot import Facility
from noctis.repository import usage
from noctis.repository.usage import Limits, Usage, UsageFile, UsageReader, limits_in_all, limits_of
from noctis.sections import StorageSettings

ALL = ""  # no facility's slug: of all together
NO_LIMIT = 1 << 63
_STEPS_MAX = 256  # of one account; older ones are put together
_STEP_NS = 100_000_000


class LimitError(StorageError):
    """An instance that may not be stored. The message is an Error Comment: at most 64 characters (PS3.7 §C.5)."""

    def __init__(self, message: str, *, fix: str, quota: str = "") -> None:
        super().__init__(message, fix=fix)
        self.quota = quota  # which one is reached, the same for all instances that it stops; "": it is the instance


class Account:
    """What one process has stored of a facility, or of all, that the archiver may not have counted yet."""

    def __init__(self) -> None:
        self.receiving = Usage()  # instances begun, and the bytes of those that are about to be committed
        self._since = Usage()
        self._steps: deque[tuple[int, Usage]] = deque()  # ns since the epoch of the last one in it, how much

    def add(self, at: int, more: Usage) -> None:
        """Acknowledged not later than `at`."""
        self._since = self._since.plus(more)
        if self._steps and self._steps[-1][0] // _STEP_NS == at // _STEP_NS:
            more = self._steps.pop()[1].plus(more)
        self._steps.append((at, more))
        if len(self._steps) > _STEPS_MAX:
            (_, first), (until, second) = self._steps.popleft(), self._steps.popleft()
            self._steps.appendleft((until, first.plus(second)))

    def since(self, as_of: int) -> Usage:
        """What was acknowledged at `as_of` or later, and what is on its way; what came before is forgotten."""
        while self._steps and self._steps[0][0] < as_of:
            _, gone = self._steps.popleft()
            self._since = self._since.plus(Usage(-gone.instances, -gone.bytes))
        return self._since.plus(self.receiving)


class Allowance:
    """What one instance may take. Ends by `end`, at the latest when its operation does."""

    def __init__(self, quotas: "Quotas | None", facility: Facility, limits: Limits, room: int) -> None:
        self._quotas = quotas  # None: no quota is in force
        self._facility = facility
        self._limits = limits
        self._most = NO_LIMIT if limits.max_instance_bytes is None else limits.max_instance_bytes  # of the data set
        self._room = room  # bytes of the file that the quotas leave
        self._claimed = 0
        self._ended = False

    def check(self, data_set: int, file: int) -> None:
        """So many bytes have come of the data set, and would be in the file.

        Raises
        ------
        LimitError
            They are too many.
        """
        if data_set > self._most:
            slug = self._facility.slug
            raise LimitError(
                f"data set larger than the limit of {self._most} bytes",
                fix=f"noctis facility edit {slug} --max-instance-bytes N, or storage.max_instance_bytes",
            )
        if file > self._room and self._quotas is not None:
            self._room = self._quotas.room(self._facility, self._limits, file)

    def claim(self, file: int) -> None:
        """The instance is whole: so many bytes will be stored.

        Raises
        ------
        LimitError
            Others have taken the room meanwhile.
        """
        if self._quotas is not None:
            self._quotas.claim(self._facility, self._limits, file)
            self._claimed = file

    def end(self, *, stored: bool = False) -> None:
        """The instance is acknowledged, or will not be. A second call does nothing."""
        if self._quotas is not None and not self._ended:
            self._ended = True
            self._quotas.ended(self._facility.slug, self._claimed, stored)


class Quotas:
    """One process's view of the quotas. Safe for several threads."""

    def __init__(self, storage: StorageSettings, usage_file: Path, spool: Path) -> None:
        self._storage = storage
        self._in_all = limits_in_all(storage)
        self._spool = spool
        self._reader = UsageReader(usage_file)
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}

    def admit(self, facility: Facility) -> Allowance | None:
        """Begin an instance; None: without any limit.

        Raises
        ------
        LimitError
            A quota is reached.
        """
        limits = limits_of(facility, self._storage)
        if not limits.has_quota and not self._in_all.has_quota:
            return None if limits.max_instance_bytes is None else Allowance(None, facility, limits, NO_LIMIT)
        with self._lock:
            room = self._room(facility, limits, 1, 0)
            for account in self._of(facility.slug):
                account.receiving = account.receiving.plus(Usage(1, 0))
        return Allowance(self, facility, limits, room)

    def claim(self, facility: Facility, limits: Limits, size: int) -> None:
        with self._lock:
            self._room(facility, limits, 0, size)
            for account in self._of(facility.slug):
                account.receiving = account.receiving.plus(Usage(0, size))

    def room(self, facility: Facility, limits: Limits, size: int) -> int:
        """What an instance may have that was begun: at least `size` bytes, or `LimitError`."""
        with self._lock:
            return self._room(facility, limits, 0, size)

    def ended(self, slug: str, claimed: int, stored: bool) -> None:
        with self._lock:
            for account in self._of(slug):
                account.receiving = account.receiving.plus(Usage(-1, -claimed))
                if stored:
                    account.add(time.time_ns(), Usage(1, claimed))

    def _room(self, facility: Facility, limits: Limits, instances: int, size: int) -> int:
        """Bytes that the quotas leave, once so many more instances and bytes fit in."""
        used = self._reader.current()
        own = _left(used.of(facility.slug).plus(self._since(facility.slug, used)), limits, instances, size, facility)
        if not self._in_all.has_quota:
            return own
        return min(own, _left(used.in_all.plus(self._since(ALL, used)), self._in_all, instances, size, None))

    def _since(self, key: str, used: UsageFile) -> Usage:
        """What was stored since the archiver counted. An account begins with what waits in the spool."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account()
            if key == ALL:
                found = usage.total(usage.all_waiting(self._spool, used.as_of).values())
            else:
                found = usage.waiting(self._spool, key, used.as_of)
            account.add(time.time_ns(), found)
        return account.since(used.as_of)

    def _of(self, slug: str) -> list[Account]:
        """The accounts that an instance of this facility is in."""
        return [account for key in (slug, ALL) if (account := self._accounts.get(key)) is not None]


def _left(used: Usage, limits: Limits, instances: int, size: int, facility: Facility | None) -> int:
    whose = "of all facilities" if facility is None else "of the facility"
    if instances and limits.quota_instances is not None and used.instances + instances > limits.quota_instances:
        raise _reached(f"quota {whose} reached: {limits.quota_instances} instances", "instances", facility)
    if limits.quota_bytes is None:
        return NO_LIMIT
    left = limits.quota_bytes - used.bytes
    if left <= 0 and instances:
        raise _reached(f"quota {whose} reached: {limits.quota_bytes} bytes", "bytes", facility)
    if left < size:
        raise _reached(f"quota {whose}: no room, {max(0, left)} bytes left", "bytes", facility)
    return left


def _reached(message: str, unit: str, facility: Facility | None) -> LimitError:
    if facility is None:
        return LimitError(message, fix=f"storage.quota_{unit} in the configuration", quota=f"all {unit}")
    fix = f"noctis facility edit {facility.slug} --quota-{unit} N, or storage.facility_quota_{unit}"
    return LimitError(message, fix=fix, quota=f"{facility.slug} {unit}")
