"""A structured report as text: the tree of its content items (PS3.3 §C.17.3), from its elements. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from noctis.repository.elements import Element

LINES_MAX = 2000
_CONTENT = 0x0040A730  # Content Sequence
_TITLE, _MEANING = 0x0040A043, 0x00080104  # Concept Name Code Sequence, Code Meaning
_CODE, _MEASURED, _NUMBER, _UNIT = 0x0040A168, 0x0040A300, 0x0040A30A, 0x004008EA
_PLAIN = (0x0040A160, 0x0040A120, 0x0040A121, 0x0040A122, 0x0040A123, 0x0040A124)  # text, times, person, UID
_REFERENCED = (0x00081199, 0x00081155)


@dataclass(frozen=True)
class Line:
    """One content item."""

    depth: int
    name: str
    value: str


def report(elements: Sequence[Element]) -> list[Line]:
    """The content items in their order; nothing for what is no report."""
    items: dict[tuple[int, ...], dict[str, str]] = {}
    for each in elements:
        item, rest = _split(each.place)
        if item is None:
            continue
        said = items.setdefault(item, {})
        if rest == (_TITLE, 1, _MEANING):
            said["name"] = each.text
        elif rest == (_CODE, 1, _MEANING) or (len(rest) == 1 and rest[0] in _PLAIN) or rest == (_MEASURED, 1, _NUMBER):
            said["value"] = each.text
        elif rest == (_MEASURED, 1, _UNIT, 1, _MEANING):
            said["unit"] = each.text
        elif rest == (_REFERENCED[0], 1, _REFERENCED[1]):
            said["value"] = f"instance {each.text}"
    lines = []
    for place, said in items.items():
        value = " ".join(part for part in (said.get("value", ""), said.get("unit", "")) if part)
        if said.get("name") or value:
            lines.append(Line(len(place) // 2, said.get("name", ""), value))
    return lines[:LINES_MAX]


def _split(place: tuple[int, ...]) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """The content item that an element is in, the root's being (), and where in it; None: it is in none."""
    end = 0
    while place[end : end + 1] == (_CONTENT,) and len(place) > end + 2:
        end += 2
    return (place[:end], place[end:]) if end or place[0] == _TITLE else (None, place)
