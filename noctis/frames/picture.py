"""One frame of a file as a picture: decoded by pydicom's decoders, windowed, made small, PNG or JPEG."""

import io
import warnings
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import pydicom.config
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.uid import UID

from noctis.frames import described, jpeg12, overlays
from noctis.frames.protocol import Request
from noctis.frames.window import LINEAR, LINEAR_EXACT, Array, Window, extent, to_grey

DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
UNKNOWN = {  # to pydicom's dictionary
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
SIDE_MAX = 16384  # pixels of a picture's side
KEPT_MAX = 128 << 20  # bytes of a decoded frame that is kept for the next request
PNG_LEVEL = 2  # of zlib: a third of the time of its default for a tenth more bytes
JPEG_QUALITY = 90


class NoPictureError(Exception):
    """There is none to be had, and why: words for people, nothing of the patient."""


def prepare() -> None:
    """For a process that does nothing else: what holds for all of its libraries."""
    warnings.simplefilter("ignore")  # what pydicom has to say of a stranger's file
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    PIL.Image.MAX_IMAGE_PIXELS = None  # memory is bounded by the process's limit


class Frames:
    """Makes pictures, and remembers the frame decoded last: a window that is dragged is one frame again and again."""

    def __init__(self) -> None:
        jpeg12.install()
        self._kept: tuple[str, int, Array, Dataset] | None = None

    def forget(self) -> None:
        self._kept = None

    def picture(self, file: BinaryIO, request: Request) -> tuple[dict[str, Any], bytes]:
        """What is known of a frame, and its picture.

        Raises
        ------
        NoPictureError
            The instance has no such frame, or none that can be decoded here.
        Exception
            Whatever pydicom or a codec stumbles over.
        """
        if request.overlays:
            return self._overlays(file, request)
        kept = self._kept
        if request.key and kept is not None and kept[:2] == (request.key, request.frame):
            frame, dataset = kept[2:]
        else:
            self._kept = None  # before the next one takes its room
            frame, dataset = decode(file, request.frame)
            if frame.nbytes <= KEPT_MAX:
                self._kept = (request.key, request.frame, frame, dataset)
        return _draw(frame, dataset, request)

    def _overlays(self, file: BinaryIO, request: Request) -> tuple[dict[str, Any], bytes]:
        kept = self._kept
        if request.key and kept is not None and kept[:2] == (request.key, request.frame):
            dataset = kept[3]
        else:
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=[*overlays.TAGS, "Rows", "Columns"])
        found = overlays.groups(dataset, request.frame)
        if not found:
            raise NoPictureError("this frame has no overlays")
        file.seek(0)
        made = overlays.layer(
            dataset,
            request.frame,
            lambda: pixel_array(file, index=request.frame - 1, raw=True, correct_unused_bits=False),
        )
        return {"rows": made.shape[0], "columns": made.shape[1], "overlays": len(found)}, overlays.encoded(made)


def decode(file: BinaryIO, frame: int) -> tuple[Array, Dataset]:
    """One frame (from 1) as it is stored, (rows, columns) or (rows, columns, 3) in RGB, and what stands before it."""
    meta = read_partial(file, stop_when=lambda tag, vr, length: True).file_meta
    syntax = UID(meta.get("TransferSyntaxUID", ""))
    try:
        get_decoder(syntax)
    except NotImplementedError:
        raise NoPictureError(f"{UNKNOWN.get(syntax, syntax.name)} cannot be decoded here") from None
    file.seek(0)
    try:
        if syntax in DEFLATED:
            dataset: Dataset = dcmread(file)
            _check(dataset, frame)
            return pixel_array(dataset, index=frame - 1), dataset
        dataset = Dataset()
        array = pixel_array(file, ds_out=dataset, specific_tags=[*described.TAGS, *overlays.TAGS], index=frame - 1)
        if (above := _above(dataset, syntax)) > 0:
            array = _lowered(pixel_array(file, index=frame - 1, correct_unused_bits=False), above, dataset)
    except AttributeError as error:
        if "no pixel data" in str(error) or "no 'Pixel Data'" in str(error):
            raise NoPictureError("this instance has no image") from None
        raise
    except ValueError as error:
        if "index" in str(error):
            raise NoPictureError(f"there is no frame {frame}") from None
        raise
    return array, dataset


def _above(dataset: Dataset, syntax: UID) -> int:
    """Unused bits below the values, where HighBit says that they stand above; codecs have none."""
    if syntax.is_encapsulated:
        return 0
    high, stored = described.number(dataset, "HighBit"), described.number(dataset, "BitsStored")
    allocated = described.number(dataset, "BitsAllocated")
    if high is None or stored is None or allocated not in (8, 16) or not stored <= high + 1 <= allocated:
        return 0
    return int(high + 1 - stored)


def _lowered(array: Array, by: int, dataset: Dataset) -> Array:
    """The values without the bits above and below them."""
    above = 8 * array.dtype.itemsize - by - int(dataset.BitsStored)
    lowered: Array = (array << above) >> (above + by)  # of a signed number the sign goes with it
    return lowered


def _check(dataset: Dataset, frame: int) -> None:
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise NoPictureError("this instance has no image")
    if frame > (described.number(dataset, "NumberOfFrames") or 1):
        raise NoPictureError(f"there is no frame {frame}")


def _draw(frame: Array, dataset: Dataset, request: Request) -> tuple[dict[str, Any], bytes]:
    rows, columns = frame.shape[:2]
    info: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "photometric": described.word(dataset, "PhotometricInterpretation")[:16],
        "rate": described.rate(dataset),
        "overlays": len(overlays.groups(dataset, request.frame)),
        **described.geometry(dataset, request.frame),
        **described.spacing(dataset, request.frame),
        "sides": described.sides(dataset, request.frame),
    }
    if request.size:  # the picture is small: not every pixel need be looked at
        step = max(1, max(rows, columns) // (2 * request.size))
        frame = frame[::step, ::step]
    if frame.ndim == 2 and info["photometric"] == "PALETTE COLOR":
        frame = _coloured(frame, dataset)
    if frame.ndim == 3:
        pixels = _eight_bits(frame, dataset)
        info["grey"] = False
        if request.invert:
            pixels = 255 - pixels
    else:
        pixels = _grey(frame, dataset, request, info)
    return info, _encoded(pixels, _size(rows, columns, described.aspect(dataset, request.frame), request), request)


def _coloured(frame: Array, dataset: Dataset) -> Array:
    try:
        coloured: Array = apply_color_lut(frame, dataset)
        return coloured
    except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
        return frame  # in grey rather than not at all


def _eight_bits(frame: Array, dataset: Dataset) -> Array:
    if frame.shape[2] not in (3, 4):
        raise NoPictureError(f"{frame.shape[2]} samples per pixel cannot be shown here")
    frame = frame[..., :3]
    if frame.dtype == np.uint8:
        return frame
    if frame.dtype.kind not in "iu":
        raise NoPictureError("colours of floating point numbers cannot be shown here")
    bits = 8 * frame.dtype.itemsize
    if described.word(dataset, "PhotometricInterpretation") != "PALETTE COLOR":
        bits = int(min(bits, max(8, described.number(dataset, "BitsStored") or bits)))
    elif not frame.max() >> 8:
        bits = 8  # entries of 8 bits in 16
    shifted: Array = (frame >> (bits - 8)).clip(0, 255).astype(np.uint8)
    return shifted


def _grey(frame: Array, dataset: Dataset, request: Request, info: dict[str, Any]) -> Array:
    modality = described.modality(dataset, request.frame)
    values = extent(frame, modality, described.padding(dataset))
    sent, tables = described.windows(dataset, request.frame), described.tables(dataset, request.frame)
    whole = frame.dtype.kind in "iu"
    asked = request.table if request.table else int(not sent)
    table = tables[asked - 1][1] if 0 < asked <= len(tables) else None
    if request.center is not None and request.width is not None:
        window = Window(request.center, request.width, LINEAR if whole else LINEAR_EXACT)
        grey = window.grey
    elif table is not None:
        window = Window(table.first + len(table.entries) / 2, len(table.entries))
        grey = table.grey
    else:
        window = sent[0] if sent else _all_of(values.low, values.high, whole)
        grey = window.grey
    info |= {
        "grey": True,
        "center": window.center,
        "width": window.width,
        "low": values.low,
        "high": values.high,
        "unit": described.unit(dataset, request.frame),
        "windows": [{"center": each.center, "width": each.width, "name": each.name} for each in sent],
        "tables": [name for name, _ in tables],
        "table": asked if table is not None and request.center is None else 0,
    }
    return to_grey(frame, modality, grey, inverted=described.inverted(dataset) != request.invert)


def _all_of(low: float, high: float, whole: bool) -> Window:
    """From the lowest value in black to the highest in white."""
    if whole:
        return Window((low + high + 1) / 2, high - low + 1)
    return Window((low + high) / 2, max(high - low, 1e-6), LINEAR_EXACT)


def _size(rows: int, columns: int, aspect: float, request: Request) -> tuple[int, int]:
    """Width and height of the picture: square pixels, no longer than asked for, never enlarged but for that."""
    width, height = float(columns), rows * aspect
    if aspect < 1:
        width, height = columns / aspect, float(rows)
    longest = min(request.size or SIDE_MAX, SIDE_MAX)
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _encoded(pixels: Array, size: tuple[int, int], request: Request) -> bytes:
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    if image.size != size:
        image = image.resize(size, PIL.Image.Resampling.BILINEAR)
    out = io.BytesIO()
    if request.jpeg:
        image.save(out, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(out, "PNG", compress_level=PNG_LEVEL)
    return out.getvalue()
