"""Overlays of a frame (PS3.3 §C.9.2, groups 6000 to 601E) as a picture to be laid over it: drawn or not, see-through.

In the overlay's own data, of one frame or several, or in unused bits of the pixel data, as was allowed until 2004. What
cannot be read is left out.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
from pydicom.dataset import Dataset

from noctis.frames import described
from noctis.frames.window import Array

GROUPS = range(0x6000, 0x6020, 2)
ROWS, COLUMNS, FRAMES, KIND, ORIGIN, FIRST, ALLOCATED, POSITION, DATA = (
    *(0x0010, 0x0011, 0x0015, 0x0040, 0x0050, 0x0051, 0x0100, 0x0102),
    0x3000,
)
TAGS = [
    group << 16 | number
    for group in GROUPS
    for number in (ROWS, COLUMNS, FRAMES, KIND, ORIGIN, FIRST, ALLOCATED, POSITION, DATA)
]
GRAPHICS, REGION = 1, 2  # in the picture
COLOURS = [0, 0, 0, 255, 214, 10, 64, 220, 255]  # nothing, graphics, regions of interest


def groups(dataset: Dataset, frame: int) -> list[int]:
    """Those that have something for a frame (from 1)."""
    return [each for each in GROUPS if _of_frame(dataset, each, frame) is not None]


def layer(dataset: Dataset, frame: int, bits: Callable[[], Array]) -> Array:
    """What is drawn over a frame: 0, `GRAPHICS` or `REGION` for each of its pixels.

    Parameters
    ----------
    bits
        Gives the frame as it is stored, its unused bits too, (rows, columns).
    """
    shape = tuple(max(0, int(described.number(dataset, name) or 0)) for name in ("Rows", "Columns"))
    made = np.zeros(shape, np.uint8)
    for group in groups(dataset, frame):
        plane = _plane(dataset, group, frame, bits)
        if plane is not None:
            _lay(made, plane, *_origin(dataset, group), REGION if _text(dataset, group, KIND) == "R" else GRAPHICS)
    return made


def encoded(made: Array) -> bytes:
    """The layer as a PNG."""
    image = PIL.Image.fromarray(made, "P")
    image.putpalette(COLOURS)
    out = io.BytesIO()
    image.save(out, "PNG", transparency=b"\0\xff\xff", compress_level=2)
    return out.getvalue()


def _value(dataset: Dataset, group: int, number: int) -> Any:
    found = dataset.get((group, number))
    return None if found is None else found.value


def _number(dataset: Dataset, group: int, number: int, default: int) -> int:
    try:
        value = _value(dataset, group, number)
        return default if value in (None, "") else int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _text(dataset: Dataset, group: int, number: int) -> str:
    return str(_value(dataset, group, number) or "").strip()


def _origin(dataset: Dataset, group: int) -> tuple[int, int]:
    """Row and column of the image where the overlay begins, from 0."""
    try:
        row, column = _value(dataset, group, ORIGIN)
        return int(row) - 1, int(column) - 1
    except (TypeError, ValueError, OverflowError):
        return 0, 0


def _of_frame(dataset: Dataset, group: int, frame: int) -> int | None:
    """Which of an overlay's frames (from 0) lies over a frame of the image; None: none does."""
    rows, columns = _number(dataset, group, ROWS, 0), _number(dataset, group, COLUMNS, 0)
    in_pixels = _value(dataset, group, DATA) is None
    if (rows <= 0 or columns <= 0) or (in_pixels and _number(dataset, group, POSITION, 0) <= 0):
        return None
    if in_pixels or _value(dataset, group, FRAMES) in (None, ""):
        return frame - 1 if in_pixels else 0  # one that does not count frames lies over all of them
    at = frame - _number(dataset, group, FIRST, 1)
    count = _number(dataset, group, FRAMES, 1)
    if count == 1 and _value(dataset, group, FIRST) is None:
        return 0
    return at if 0 <= at < count else None


def _plane(dataset: Dataset, group: int, frame: int, bits: Callable[[], Array]) -> Array | None:
    """Whether each pixel of the overlay is drawn."""
    rows, columns = _number(dataset, group, ROWS, 0), _number(dataset, group, COLUMNS, 0)
    data = _value(dataset, group, DATA)
    if data is None:
        position = _number(dataset, group, POSITION, 0)
        stored = bits()
        if stored.ndim != 2 or stored.dtype.kind not in "iu" or not 0 < position < 8 * stored.dtype.itemsize:
            return None
        drawn: Array = (stored >> position) & 1 != 0
        return drawn
    at = _of_frame(dataset, group, frame) or 0
    first, size = at * rows * columns, rows * columns
    packed = np.frombuffer(data, np.uint8)
    if dataset.get_item((group, DATA)).VR == "OW" and dataset.original_encoding[1] is False and packed.size % 2 == 0:
        packed = packed.reshape(-1, 2)[:, ::-1].reshape(-1)  # words of a Big Endian data set
    if 8 * packed.size < first + size:
        return None
    unpacked = np.unpackbits(packed[first // 8 : -(-(first + size) // 8)], bitorder="little")
    own: Array = unpacked[first % 8 : first % 8 + size].reshape(rows, columns) != 0
    return own


def _lay(made: Array, plane: Array, row: int, column: int, colour: int) -> None:
    """Draw a plane whose upper left pixel lies at a place that may be outside."""
    height, width = made.shape
    top, left = max(0, row), max(0, column)
    bottom, right = min(height, row + plane.shape[0]), min(width, column + plane.shape[1])
    if top < bottom and left < right:
        made[top:bottom, left:right][plane[top - row : bottom - row, left - column : right - column]] = colour
