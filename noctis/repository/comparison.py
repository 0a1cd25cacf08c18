"""Two files of ours side by side: what is filed, and what is kept aside since it says something else."""

from dataclasses import dataclass
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository.element_differences import Difference, Kind, align
from noctis.repository.elements import Element, Listing, read_elements

WHOLE_BYTES = 256 << 20  # of both files together, up to which every value is compared whole
_OURS = (0x00020000, 0x00020100, 0x00020102)
VALUE_BYTES = 4 << 20  # of a value, up to which it is compared whole in larger ones


@dataclass(frozen=True)
class Comparison:
    """Every place of either file. What cannot be read is told, and what could be is compared."""

    different: list[Difference]  # changed, or on one side alone
    same: list[Difference]
    problems: list[str]  # in plain words


def compare(left: Path, right: Path) -> Comparison:
    """Compare two DICOM files element by element, in the order of their tags; pixel data by digest.

    Raises
    ------
    StorageError
        One of them cannot be read.
    """
    problems = []
    try:
        total = left.stat().st_size + right.stat().st_size
        digest_max = None if total <= WHOLE_BYTES else VALUE_BYTES
        one, other = (_read(path, digest_max) for path in (left, right))
    except OSError as error:
        raise StorageError(f"a file cannot be read: {error.strerror}") from error
    if digest_max is not None:
        problems.append(f"values of more than {VALUE_BYTES >> 20} MiB are compared by their length and beginning alone")
    problems += _told("left", one) + _told("right", other)
    found = align(_told_by_senders(one), _told_by_senders(other))
    return Comparison(
        [each for each in found if each.kind is not Kind.SAME],
        [each for each in found if each.kind is Kind.SAME],
        problems,
    )


def _read(path: Path, digest_max: int | None) -> Listing:
    try:
        return read_elements(path, digest_max=digest_max)
    except StorageError as error:  # it is no DICOM file
        return Listing([], error.message)


def _told_by_senders(listing: Listing) -> list[Element]:
    """Without what Noctis writes of each file for itself, which is never the same twice."""
    return [each for each in listing.elements if each.place[0] not in _OURS]


def _told(side: str, listing: Listing) -> list[str]:
    return [f"the {side} one could not be read to its end: {listing.problem}"] if listing.problem else []
