"""Two lists of elements, aligned by the place of each. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noctis.repository.elements import Element


class Kind(StrEnum):
    """How the two sides of an element compare."""

    SAME = "same"
    CHANGED = "changed"
    LEFT_ONLY = "left only"
    RIGHT_ONLY = "right only"


@dataclass(frozen=True)
class Difference:
    """One place, and what is there on either side. Equal ones are `Difference`s too: of the kind SAME."""

    kind: Kind
    left: "Element | None"
    right: "Element | None"

    @property
    def element(self) -> "Element":
        """Either side, for what both share: the place, the tag, the name."""
        found = self.left or self.right
        assert found is not None
        return found


def align(left: "Iterable[Element]", right: "Iterable[Element]") -> list[Difference]:
    """Every place of either, in the order of the tags. A tag that comes twice in one data set counts twice."""
    one, other = _by_place(left), _by_place(right)
    return [_compare(one.get(key), other.get(key)) for key in sorted(one.keys() | other.keys())]


def _by_place(elements: "Iterable[Element]") -> "dict[tuple[tuple[int, ...], int], Element]":
    found: dict[tuple[tuple[int, ...], int], Element] = {}
    seen: dict[tuple[int, ...], int] = {}
    for each in elements:
        seen[each.place] = again = seen.get(each.place, -1) + 1
        found[each.place, again] = each
    return found


def _compare(left: "Element | None", right: "Element | None") -> Difference:
    if left is None or right is None:
        return Difference(Kind.RIGHT_ONLY if left is None else Kind.LEFT_ONLY, left, right)
    same = (left.vr, left.vm, left.text, left.cut, left.digest) == (
        right.vr,
        right.vm,
        right.text,
        right.cut,
        right.digest,
    )
    return Difference(Kind.SAME if same else Kind.CHANGED, left, right)
