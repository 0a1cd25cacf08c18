"""A structured report, or a key object selection, as the tree of its content items (PS3.3 §C.17.3). Pure.

Takes the elements of an instance; gives what is to be read of them, each item with its value as people read it, and
what it refers to. What is broken is left out or shown as far as it goes; nothing raises for what a sender sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from noctis.repository.elements import Element

ITEMS_MAX = 2000
TEXT_MAX = 1 << 20  # characters of all long texts together
POINTS_SHOWN = 4
_CONTENT = 0x0040A730  # Content Sequence
_RELATION, _KIND, _TITLE = 0x0040A010, 0x0040A040, 0x0040A043
_CODE_VALUES, _SCHEME, _MEANING = (0x00080100, 0x00080119, 0x00080120), 0x00080102, 0x00080104
_CODE, _MEASURED, _NUMBER, _UNIT, _QUALIFIER = 0x0040A168, 0x0040A300, 0x0040A30A, 0x004008EA, 0x0040A301
_PLAIN = {  # value type → element
    "TEXT": 0x0040A160,
    "DATETIME": 0x0040A120,
    "DATE": 0x0040A121,
    "TIME": 0x0040A122,
    "PNAME": 0x0040A123,
    "UIDREF": 0x0040A124,
}
_REFERENCED, _CLASS, _INSTANCE, _FRAMES, _CHANNELS = 0x00081199, 0x00081150, 0x00081155, 0x00081160, 0x0040A0B0
_SHAPE, _POINTS = 0x00700023, 0x00700022
_RANGE = 0x0040A130
_TIMES = ((0x0040A132, "samples"), (0x0040A138, "seconds"), (0x0040A13A, ""))
_OTHER_ITEM = 0x0040DB73  # Referenced Content Item Identifier
_COMPLETED, _VERIFIED, _OBSERVERS = 0x0040A491, 0x0040A493, 0x0040A073
_OBSERVER, _ORGANISATION, _WHEN = 0x0040A075, 0x0040A027, 0x0040A030

Place = tuple[int, ...]
Values = dict[Place, Element]  # of one content item, by their places in it


@dataclass
class Item:
    """One content item."""

    number: str  # as other items refer to it: 1 is the root, 1.2 its second item
    kind: str  # Value Type
    relation: str  # to the item around it: CONTAINS, HAS OBS CONTEXT, …
    name: str
    name_code: str  # such as 121071, DCM
    value: str
    value_code: str
    instance: str  # SOP Instance UID of what it refers to
    other: str  # number of the item that it refers to
    items: list["Item"] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A report."""

    root: Item
    completed: str  # COMPLETE, PARTIAL or ""
    verified: str  # VERIFIED, UNVERIFIED or ""
    verifiers: tuple[tuple[str, str, str], ...]  # person name, organisation, DT
    left_out: int  # content items

    @property
    def instances(self) -> set[str]:
        """SOP Instance UIDs of what it refers to."""
        return {each.instance for each in _all(self.root) if each.instance}


def _all(item: Item) -> Iterator[Item]:
    waiting = [item]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += each.items


def report(elements: Sequence[Element]) -> Report | None:
    """The report; None: there are no content items."""
    found: dict[Place, Values] = {(): {}}
    for each in elements:
        inside, rest = _split(each.place)
        found.setdefault(inside, {})[rest] = each
    if len(found) == 1 and (_TITLE,) not in found[()]:
        return None
    made: dict[Place, Item] = {}
    for place in sorted(found, key=lambda place: place[1::2])[:ITEMS_MAX]:
        item = made[place] = _item(place, found[place])
        if place and (around := made.get(place[:-2])) is not None:
            around.items.append(item)
    top = found[()]
    return Report(
        made[()],
        _text(top, _COMPLETED),
        _text(top, _VERIFIED),
        tuple(_verifiers(top)),
        max(0, len(found) - ITEMS_MAX),
    )


def _split(place: Place) -> tuple[Place, Place]:
    """The content item that an element is in, the root's being (), and where in it."""
    end = 0
    while place[end : end + 1] == (_CONTENT,) and len(place) > end + 2:
        end += 2
    return place[:end], place[end:]


def _text(values: Values, *place: int) -> str:
    found = values.get(place)
    return "" if found is None else found.text.strip() + (" …" if found.cut else "")


def _code(values: Values, *sequence: int) -> tuple[str, str]:
    """The meaning of the code in a sequence, and the code itself."""
    at = (*sequence, 1)
    value = next((text for tag in _CODE_VALUES if (text := _text(values, *at, tag))), "")
    scheme = _text(values, *at, _SCHEME)
    return _text(values, *at, _MEANING) or value, ", ".join(part for part in (value, scheme) if part)


def _item(place: Place, values: Values) -> Item:
    name, name_code = _code(values, _TITLE)
    kind = _text(values, _KIND)
    value, value_code = _value(kind, values)
    return Item(
        number=".".join(("1", *map(str, place[1::2]))),
        kind=kind,
        relation=_text(values, _RELATION),
        name=name,
        name_code=name_code,
        value=value,
        value_code=value_code,
        instance=_text(values, _REFERENCED, 1, _INSTANCE),
        other=".".join(_text(values, _OTHER_ITEM).split("\\")),
    )


def _value(kind: str, values: Values) -> tuple[str, str]:
    """What an item says, and the code of it."""
    if kind in _PLAIN:
        text = _text(values, _PLAIN[kind])
        return (_moment(text, kind) if kind in ("DATE", "TIME", "DATETIME") else text), ""
    if kind == "CODE":
        return _code(values, _CODE)
    if kind == "NUM":
        return _measured(values)
    if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        return _referenced(values), ""
    if kind in ("SCOORD", "SCOORD3D"):
        return _shape(values), ""
    if kind == "TCOORD":
        return _times(values), ""
    if kind:
        return "", ""
    plain = next((text for tag in _PLAIN.values() if (text := _text(values, tag))), "")
    return (plain, "") if plain else _code(values, _CODE)  # one that does not say what it is


def _moment(text: str, kind: str = "DATETIME") -> str:
    """A DA, TM or DT as people read it; what is none stays as it is."""
    date, time = ("", text) if kind == "TIME" else (text[:8], text[8:])
    if not (date + time[:6]).isdigit() or (date and len(date) < 8):
        return text
    pairs = [time[at : at + 2] for at in (0, 2, 4) if len(time) >= at + 2]
    said = f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else ""
    return " ".join(part for part in (said, ":".join(pairs) + time[6:]) if part)


def _measured(values: Values) -> tuple[str, str]:
    number = _text(values, _MEASURED, 1, _NUMBER)
    if not number:
        return _code(values, _QUALIFIER)
    meaning, code = _code(values, _MEASURED, 1, _UNIT)
    sign, _, scheme = code.partition(", ")
    if scheme == "UCUM" and sign[:1] not in ("{", "1", "["):
        meaning = sign  # mm rather than millimeter; but not {ratio}
    qualifier, _ = _code(values, _QUALIFIER)
    said = " ".join(part for part in (number, "" if code.startswith("1, ") else meaning) if part)
    return (f"{said} ({qualifier})" if qualifier else said), code


def _referenced(values: Values) -> str:
    found = values.get((_REFERENCED, 1, _CLASS))
    what = "" if found is None else (found.meaning.removesuffix(" Storage") or found.text)
    for tag, words in ((_FRAMES, "frames"), (_CHANNELS, "channels")):
        if numbers := _text(values, _REFERENCED, 1, tag):
            what += f", {words} {numbers.replace(chr(92), ', ')}"
    return what


def _shape(values: Values) -> str:
    points = _text(values, _POINTS).split("\\")
    shown = ", ".join(points[: 2 * POINTS_SHOWN])
    more = " …" if len(points) > 2 * POINTS_SHOWN else ""
    return f"{_text(values, _SHAPE).lower()} {shown}{more}".strip()


def _times(values: Values) -> str:
    said = _text(values, _RANGE).lower()
    for tag, unit in _TIMES:
        if numbers := _text(values, tag):
            said += f" {numbers.replace(chr(92), ', ')} {unit}"
    return said.strip()


def _verifiers(values: Values) -> Iterator[tuple[str, str, str]]:
    items = sorted({place[1] for place in values if place[0] == _OBSERVERS and len(place) > 1})
    for at in items:
        tags = (_OBSERVER, _ORGANISATION, _WHEN)
        person, organisation, when = (_text(values, _OBSERVERS, at, tag) for tag in tags)
        yield person, organisation, _moment(when)
