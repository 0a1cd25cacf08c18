"""What a frame says of itself beside its pixels: windows, rescale, geometry, rate. Nothing of the patient.

Of an enhanced multi-frame instance each frame's functional groups count first, then the shared ones, then the data set
(PS3.3 §C.7.6.16). A value that is no number is as good as absent.
"""

import math
from typing import Any

from noctis.frames.window import LINEAR, LINEAR_EXACT, SIGMOID, Function, Window, rescale, table_of

TAGS = [  # beside group 28
    0x00080005,  # Specific Character Set, for what explains a window
    0x00080060,  # Modality
    0x00082144,  # Recommended Display Frame Rate
    0x00180040,  # Cine Rate
    0x00181063,  # Frame Time
    0x00181065,  # Frame Time Vector
    0x00181164,  # Imager Pixel Spacing
    0x00200032,  # Image Position (Patient)
    0x00200037,  # Image Orientation (Patient)
    0x20500020,  # Presentation LUT Shape
    0x52009229,  # Shared Functional Groups Sequence
    0x52009230,  # Per-Frame Functional Groups Sequence
]
WINDOWS_MAX = 8
NAME_MAX = 40  # characters
RATES = (0.1, 120.0)  # frames per second that can be meant


def group(dataset: Any, frame: int, name: str) -> Any:
    """The first item of a functional group macro, or the data set itself."""
    for sequence, at in (("PerFrameFunctionalGroupsSequence", frame - 1), ("SharedFunctionalGroupsSequence", 0)):
        try:
            items = dataset.get(sequence) or ()
            if at < len(items) and (found := items[at].get(name)):
                return found[0]
        except (AttributeError, TypeError, ValueError, IndexError):
            continue
    return dataset


def numbers(dataset: Any, name: str) -> list[float]:
    """The finite numbers of an element; none if one of its values is no number."""
    try:
        value = dataset.get(name)
        values = [] if value is None or value == "" else list(value) if hasattr(value, "__iter__") else [value]
        found = [float(each) for each in values]
    except (AttributeError, TypeError, ValueError, OverflowError):
        return []
    return found if all(map(math.isfinite, found)) else []


def number(dataset: Any, name: str) -> float | None:
    return next(iter(numbers(dataset, name)), None)


def word(dataset: Any, name: str) -> str:
    try:
        return str(dataset.get(name) or "").strip()
    except (AttributeError, TypeError, ValueError):
        return ""


def modality(dataset: Any, frame: int) -> Function:
    """Stored values into what they mean."""
    source = group(dataset, frame, "PixelValueTransformationSequence")
    sequence = dataset.get("ModalityLUTSequence")
    if source is dataset and sequence and (table := table_of(sequence[0])) is not None:
        return table
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    if slope is None and intercept is None:
        return lambda values: values
    return rescale(slope if slope else 1.0, intercept or 0.0)


def windows(dataset: Any, frame: int) -> list[Window]:
    """Those that the instance has, the first of which is meant to be shown."""
    source = group(dataset, frame, "FrameVOILUTSequence")
    function = word(source, "VOILUTFunction")
    function = function if function in (LINEAR_EXACT, SIGMOID) else LINEAR
    try:
        said = source.get("WindowCenterWidthExplanation") or ()
        names = [said] if isinstance(said, str) else [str(each) for each in said]
    except (AttributeError, TypeError, ValueError):
        names = []
    pairs = zip(numbers(source, "WindowCenter"), numbers(source, "WindowWidth"), strict=False)
    return [
        Window(center, width, function, names[at][:NAME_MAX] if at < len(names) else "")
        for at, (center, width) in enumerate(pairs)
        if width > 0
    ][:WINDOWS_MAX]


def padding(dataset: Any) -> tuple[int, int] | None:
    """The stored values that stand for no value."""
    value = number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(dataset, "PixelPaddingRangeLimit")
    ends = sorted((int(value), int(value if limit is None else limit)))
    return ends[0], ends[1]


def rate(dataset: Any) -> float | None:
    """Frames per second (PS3.3 §C.7.6.5)."""
    for name in ("RecommendedDisplayFrameRate", "CineRate"):
        value = number(dataset, name)
        if value:
            return min(max(value, RATES[0]), RATES[1])
    times = [each for each in numbers(dataset, "FrameTimeVector")[1:] if each > 0]
    milliseconds = number(dataset, "FrameTime") or (sum(times) / len(times) if times else 0)
    return min(max(1000 / milliseconds, RATES[0]), RATES[1]) if milliseconds > 0 else None


def aspect(dataset: Any, frame: int) -> float:
    """How much higher than wide a pixel is."""
    pair = numbers(dataset, "PixelAspectRatio")
    if len(pair) != 2:
        measures = group(dataset, frame, "PixelMeasuresSequence")
        pair = numbers(measures, "PixelSpacing") or numbers(dataset, "ImagerPixelSpacing")
    if len(pair) != 2 or min(pair) <= 0:
        return 1.0
    ratio = pair[0] / pair[1]
    return ratio if 0.1 < ratio < 10 and abs(ratio - 1) > 0.01 else 1.0


def geometry(dataset: Any, frame: int) -> dict[str, list[float]]:
    """Where the frame lies in the patient, mm."""
    position = numbers(group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient")
    orientation = numbers(group(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient")
    found = {}
    if len(position) == 3:
        found["position"] = position
    if len(orientation) == 6:
        found["orientation"] = orientation
    return found


def unit(dataset: Any, frame: int) -> str:
    """Of the values: HU of a CT unless it says otherwise."""
    said = word(group(dataset, frame, "PixelValueTransformationSequence"), "RescaleType")
    if said in ("", "US"):
        return "HU" if word(dataset, "Modality") == "CT" else ""
    return said[:16]
