"""Admission: whether one more association of a facility may begin (config/noctis.yaml, "listeners").

Three limits: of the facility on all its ports, of the default port, and of everything together. The first and the last
are counted over all processes (`places`), the second by the one process that serves the default port. There a share is
kept for each facility, so that none can shut out another.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from noctis.facilities.recognition import Refusal, Reject
from noctis.facilities.remedies import Kind, Remedy
from noctis.facilities.snapshot import Facility, Snapshot
from noctis.listener.places import ALL, Places
from noctis.observability.words import RefusalKind
from noctis.sections import ListenerSettings


def may_enter(slug: str, held: Mapping[str, int], facilities: int, total: int, reserved: int) -> bool:
    """Whether a facility may have one more association of a port that several share.

    Within its reservation it may as long as one is free; beyond it, only while more are free than the other facilities
    have left of theirs.

    Parameters
    ----------
    slug
        The facility, which is enabled.
    held
        Slug → its associations now; those of facilities that are not enabled any more too.
    facilities
        How many are enabled, this one among them.
    total
        Associations that the port may have.
    reserved
        Associations kept for each facility; fewer where that is more than there are.
    """
    free = total - sum(held.values())
    if free <= 0:
        return False
    share = min(reserved, total // max(1, facilities))
    if held.get(slug, 0) < share:
        return True
    used = sum(min(count, share) for other, count in held.items() if other != slug)
    return free > share * (facilities - 1) - used


class Place(NamedTuple):
    """What an admitted association holds until it ends."""

    slug: str
    numbers: tuple[int, int]  # the facility's, and that of all


class Admission:
    """One listener's doorkeeper. Safe from several threads."""

    def __init__(self, settings: ListenerSettings, path: Path, *, is_default: bool) -> None:
        self._settings = settings
        self._places = Places(path)
        self._is_default = is_default
        self._held: dict[str, int] = {}  # slug → associations, on the default port
        self._lock = threading.Lock()

    def admit(self, facility: Facility, snapshot: Snapshot) -> Place | Refusal:
        """A place for one more association of `facility`, or which limit there is none for."""
        if self._is_default and (refusal := self._enter(facility, snapshot)) is not None:
            return refusal
        place = self._take(facility)
        if isinstance(place, Refusal):
            self._leave(facility.slug)
        return place

    def give_back(self, place: Place) -> None:
        """The association has ended."""
        for number in place.numbers:
            self._places.give_back(number)
        self._leave(place.slug)

    def close(self) -> None:
        self._places.close()

    def _take(self, facility: Facility) -> Place | Refusal:
        own = facility.max_associations
        limit = self._settings.max_associations if own is None else own
        number = self._places.take(facility.id + 1, limit)
        if number is None:
            return Refusal(
                f"'{facility.name}' has {limit} associations on its ports, its limit",
                f"let the sender retry, or: noctis facility edit {facility.slug} --max-associations {2 * limit or 1}",
                Reject.LOCAL_LIMIT_EXCEEDED,
                Remedy(Kind.LIMIT, (facility.slug,)),
                RefusalKind.LIMIT,
            )
        one_of_all = self._places.take(ALL, self._settings.max_associations_in_all)
        if one_of_all is None:
            self._places.give_back(number)
            return Refusal(
                f"all listeners together have {self._settings.max_associations_in_all} associations, their limit",
                "let the sender retry, or raise listeners.max_associations_in_all",
                Reject.TEMPORARY_CONGESTION,
                Remedy(Kind.LIMIT),
                RefusalKind.CONGESTION,
            )
        return Place(facility.slug, (number, one_of_all))

    def _enter(self, facility: Facility, snapshot: Snapshot) -> Refusal | None:
        """Count one more association of the default port."""
        total = self._settings.max_associations
        with self._lock:
            if may_enter(
                facility.slug, self._held, snapshot.enabled_count, total, self._settings.reserved_associations
            ):
                self._held[facility.slug] = self._held.get(facility.slug, 0) + 1
                return None
            full = sum(self._held.values()) >= total
        return Refusal(
            f"the default port has {total} associations, its limit"
            if full
            else "the associations that the default port has left are kept for other facilities",
            f"point senders of '{facility.name}' at its own port {facility.port}, or raise listeners.max_associations",
            Reject.LOCAL_LIMIT_EXCEEDED,
            Remedy(Kind.LIMIT, (facility.slug,), called=facility.ae_title, port=facility.port),
            RefusalKind.LIMIT,
        )

    def _leave(self, slug: str) -> None:
        if not self._is_default:
            return
        with self._lock:
            left = self._held.get(slug, 0) - 1
            if left > 0:
                self._held[slug] = left
            else:
                self._held.pop(slug, None)
