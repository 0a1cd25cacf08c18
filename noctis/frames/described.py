"""What a frame says of itself beside its pixels: windows, rescale, geometry, rate. Nothing of the patient.

Of an enhanced multi-frame instance each frame's functional groups count first, then the shared ones, then the data set
(PS3.3 §C.7.6.16). A value that is no number is as good as absent.
"""

import math
from typing import Any

from noctis.frames.window import LINEAR, LINEAR_EXACT, SIGMOID, Function, Table, Window, rescale, table_of

TAGS = [  # beside group 28
    0x00080005,  # Specific Character Set, for what explains a window
    0x00080060,  # Modality
    0x00082144,  # Recommended Display Frame Rate
    0x00180040,  # Cine Rate
    0x00181063,  # Frame Time
    0x00181065,  # Frame Time Vector
    0x00181164,  # Imager Pixel Spacing
    0x00182010,  # Nominal Scanned Pixel Spacing
    0x00186011,  # Sequence of Ultrasound Regions
    0x00200020,  # Patient Orientation
    0x00200032,  # Image Position (Patient)
    0x00200037,  # Image Orientation (Patient)
    0x20500020,  # Presentation LUT Shape
    0x52009229,  # Shared Functional Groups Sequence
    0x52009230,  # Per-Frame Functional Groups Sequence
]
WINDOWS_MAX = 8
REGIONS_MAX = 8
CENTIMETRES = 3  # Physical Units X/Y Direction (PS3.3 §C.8.5.5.1.15)
OBLIQUE = 0.3  # from so much of a direction on it has a letter of its own: 17 degrees
OPPOSITE = dict(zip("RLAPHF", "LRPAFH", strict=True))
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


def tables(dataset: Any, frame: int) -> list[tuple[str, Table]]:
    """The VOI LUTs that can be used, with what explains them."""
    found = []
    for item in list(group(dataset, frame, "FrameVOILUTSequence").get("VOILUTSequence") or ())[:WINDOWS_MAX]:
        if (table := table_of(item)) is not None:
            found.append((word(item, "LUTExplanation")[:NAME_MAX], table))
    return found


def inverted(dataset: Any) -> bool:
    """Whether the lowest value is white: by the Presentation LUT Shape, where there is one, else by the photometric
    interpretation, as dcmtk has it (PS3.3 §C.11.6.1.2)."""
    shape = word(dataset, "PresentationLUTShape")
    return shape == "INVERSE" if shape else word(dataset, "PhotometricInterpretation") == "MONOCHROME1"


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


def spacing(dataset: Any, frame: int) -> dict[str, Any]:
    """How far pixels are from each other, mm, row to row and column to column, and where that holds: in the patient, on
    the detector, in `regions` of an ultrasound image (left, top, right, bottom, mm across, mm down). {} where nothing
    says it."""
    for said, source in (("patient", group(dataset, frame, "PixelMeasuresSequence")), ("patient", dataset)):
        if pair := _pair(source, "PixelSpacing"):
            return {"spacing": pair, "spacing_of": said}
    for said, name in (("detector", "ImagerPixelSpacing"), ("scan", "NominalScannedPixelSpacing")):
        if pair := _pair(dataset, name):
            return {"spacing": pair, "spacing_of": said}
    regions = []
    for item in list(dataset.get("SequenceOfUltrasoundRegions") or ())[:REGIONS_MAX]:
        edges = [number(item, f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        steps = [number(item, f"PhysicalDelta{axis}") for axis in "XY"]
        units = [number(item, f"PhysicalUnits{axis}Direction") for axis in "XY"]
        if None not in (*edges, *steps) and all(steps) and units == [CENTIMETRES, CENTIMETRES]:
            regions.append([*edges, *(10 * abs(each) for each in steps if each is not None)])
    return {"regions": regions} if regions else {}


def _pair(dataset: Any, name: str) -> list[float]:
    found = numbers(dataset, name)
    return found if len(found) == 2 and min(found) > 0 else []


def sides(dataset: Any, frame: int) -> dict[str, str]:
    """What of the patient lies at each side of the frame (PS3.3 §C.7.6.1.1.1); {} where nothing says it."""
    orientation = numbers(group(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient")
    if len(orientation) == 6:
        right, bottom = (_letters(orientation[at : at + 3]) for at in (0, 3))
    else:
        said = dataset.get("PatientOrientation") or ()
        said = [said] if isinstance(said, str) else [str(each) for each in said]
        if len(said) != 2:
            return {}
        right, bottom = ("".join(each for each in text.upper() if each in OPPOSITE)[:3] for text in said)
    left, top = ("".join(OPPOSITE[each] for each in letters) for letters in (right, bottom))
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def _letters(vector: list[float]) -> str:
    """Of a direction, the strongest first."""
    parts = sorted(((abs(each), pair[each < 0]) for each, pair in zip(vector, ("LR", "PA", "HF"), strict=True)))[::-1]
    return "".join(letter for share, letter in parts if share > OBLIQUE)


def unit(dataset: Any, frame: int) -> str:
    """Of the values: HU of a CT unless it says otherwise."""
    said = word(group(dataset, frame, "PixelValueTransformationSequence"), "RescaleType")
    if said in ("", "US"):
        return "HU" if word(dataset, "Modality") == "CT" else ""
    return said[:16]
