"""What an instance of waveforms holds, in numbers: its multiplex groups (PS3.3 §C.10.9). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from noctis.repository.elements import Element

_SEQUENCE = 0x54000100
_CHANNELS, _SAMPLES, _FREQUENCY, _LABEL = 0x003A0005, 0x003A0010, 0x003A001A, 0x003A0020
_DEFINITION, _CHANNEL_LABEL, _SOURCE, _MEANING = 0x003A0200, 0x003A0203, 0x003A0208, 0x00080104
_NAMES_MAX = 40
_NUMBER = re.compile(r"\s*\d{1,12}(\.\d{1,9})?([eE][+-]?\d)?\s*")


@dataclass(frozen=True)
class Group:
    """Channels that were recorded together."""

    label: str
    channels: int
    samples: int  # of each channel
    frequency: float  # Hz; 0: not said
    names: tuple[str, ...]  # of the channels, where they have some

    @property
    def seconds(self) -> float:
        return self.samples / self.frequency if self.frequency > 0 else 0.0


def waveforms(elements: Sequence[Element]) -> list[Group]:
    """The groups of an instance, in order."""
    found: dict[int, dict[tuple[int, ...], str]] = {}
    for each in elements:
        if each.place[0] == _SEQUENCE and len(each.place) > 2:
            found.setdefault(each.place[1], {})[each.place[2:]] = each.text.strip()
    return [_group(values) for _, values in sorted(found.items())]


def _group(values: dict[tuple[int, ...], str]) -> Group:
    def number(tag: int) -> float:
        text = values.get((tag,), "")
        return float(text) if _NUMBER.fullmatch(text) else 0.0

    channels = int(number(_CHANNELS))
    names = []
    for at in range(1, min(channels, _NAMES_MAX) + 1):
        here = (_DEFINITION, at)
        names.append(values.get((*here, _CHANNEL_LABEL)) or values.get((*here, _SOURCE, 1, _MEANING), ""))
    return Group(
        values.get((_LABEL,), ""),
        channels,
        int(number(_SAMPLES)),
        number(_FREQUENCY),
        tuple(name for name in names if name),
    )
