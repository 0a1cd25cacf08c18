"""Stored values into grey: modality LUT or rescale, then VOI LUT or window (PS3.3 §C.11.1, §C.11.2), 8 bits in the end.

A frame of integers of at most 16 bits goes through one table of what each stored value becomes; others are computed
stripe by stripe. So a mammogram needs no array of floating point numbers of its size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]
LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
STRIPE = 1 << 20  # values that are mapped at once


@dataclass(frozen=True)
class Window:
    """Which values are shown from black to white."""

    center: float
    width: float
    function: str = LINEAR
    name: str = ""  # its explanation

    def grey(self, values: Array) -> Array:
        """From 0 to 255 (§C.11.2.1.2, §C.11.2.1.3)."""
        if self.function == SIGMOID:
            exponent = np.clip(-4 * (values - self.center) / max(self.width, 1e-9), -700, 700)
            return 255 / (1 + np.exp(exponent))
        center, width = self.center, self.width
        if self.function != LINEAR_EXACT:
            center, width = center - 0.5, width - 1
        if width <= 0:
            return np.where(values > center, 255.0, 0.0)
        grey: Array = np.clip(((values - center) / width + 0.5) * 255, 0, 255)
        return grey


@dataclass(frozen=True)
class Table:
    """A LUT of the standard: Modality LUT or VOI LUT (§C.11.1.1, §C.11.2.1.1)."""

    first: int  # the value that the first entry is for
    entries: Array
    bits: int

    def __call__(self, values: Array) -> Array:
        at = np.clip(np.nan_to_num(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        found: Array = self.entries[at].astype(np.float64)
        return found

    def grey(self, values: Array) -> Array:
        top = max(float((1 << self.bits) - 1), float(self.entries.max()), 1.0)
        return self(values) * (255 / top)


def table_of(item: Any) -> Table | None:
    """The LUT in a sequence item, if there is one that can be used."""
    try:
        count, first, bits = (int(each) for each in item.LUTDescriptor)
        data = item.LUTData
        if isinstance(data, bytes):
            order = ">" if item.original_encoding[1] is False else "<"
            entries = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * (count or 65536) else np.uint8)
        else:
            entries = np.asarray(data, np.uint16).reshape(-1)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    entries = entries[: count or 65536]
    return Table(first, entries, min(max(bits, 1), 16)) if len(entries) else None


def rescale(slope: float, intercept: float) -> Function:
    return lambda values: values * slope + intercept


@dataclass(frozen=True)
class Values:
    """What the values of a frame mean."""

    low: float
    high: float


def extent(frame: Array, modality: Function, padding: tuple[int, int] | None) -> Values:
    """The lowest and the highest value of a frame, but for those of its padding, which are stored ones."""
    if _has_table(frame):
        stored = _stored(frame)
        present = np.zeros(len(stored), bool)
        flat = _unsigned(frame)
        for begin in range(0, flat.size, STRIPE):
            present[flat[begin : begin + STRIPE]] = True
        if padding is not None:
            kept = present & ((stored < padding[0]) | (stored > padding[1]))
            present = kept if kept.any() else present
        values = modality(stored[present].astype(np.float64))
    else:
        finite = frame[np.isfinite(frame)]
        if not finite.size:
            return Values(0.0, 1.0)
        values = modality(np.asarray([finite.min(), finite.max()], np.float64))
    return Values(float(values.min()), float(values.max()))


def to_grey(frame: Array, modality: Function, grey: Function, *, inverted: bool) -> Array:
    """A frame as 8 bits a pixel."""

    def shown(values: Array) -> Array:
        result: Array = np.rint(np.nan_to_num(grey(modality(values.astype(np.float64))))).astype(np.uint8)
        return 255 - result if inverted else result

    out = np.empty(frame.size, np.uint8)
    if _has_table(frame):
        table = shown(_stored(frame))
        flat = _unsigned(frame)
        for begin in range(0, flat.size, STRIPE):
            out[begin : begin + STRIPE] = table[flat[begin : begin + STRIPE]]
    else:
        flat = np.ascontiguousarray(frame).reshape(-1)
        for begin in range(0, flat.size, STRIPE):
            out[begin : begin + STRIPE] = shown(flat[begin : begin + STRIPE])
    return out.reshape(frame.shape)


def _has_table(frame: Array) -> bool:
    return frame.dtype.kind in "iu" and frame.dtype.itemsize <= 2


def _stored(frame: Array) -> Array:
    """Every value that can be stored, in the order of its bits."""
    bits = 8 * frame.dtype.itemsize
    return np.arange(1 << bits).astype(f"u{bits // 8}").view(f"{frame.dtype.kind}{bits // 8}")


def _unsigned(frame: Array) -> Array:
    native = np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}").reshape(-1)
