"""What a frame says of itself: how far its pixels are from each other, what lies at its sides, its VOI LUTs."""

from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset

from noctis.frames.described import sides, spacing
from tests.unit.frames.test_picture import RAMP, draw, image

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(pydicom.data.__file__).parent / "test_files"


def made(**attributes: object) -> FileDataset:
    return image(RAMP, **attributes)


def test_pixels_lie_apart_as_the_patient_the_detector_or_the_scanner_says() -> None:
    assert spacing(made(), 1) == {}
    assert spacing(made(PixelSpacing=[0.5, 0.25]), 1) == {"spacing": [0.5, 0.25], "spacing_of": "patient"}
    assert spacing(made(ImagerPixelSpacing=[0.1, 0.1]), 1)["spacing_of"] == "detector"
    assert spacing(made(NominalScannedPixelSpacing=[0.1, 0.1]), 1)["spacing_of"] == "scan"
    both = made(PixelSpacing=[0.5, 0.25], ImagerPixelSpacing=[0.1, 0.1])
    assert spacing(both, 1)["spacing"] == [0.5, 0.25]
    for nonsense in ([0, 1], [-1, 1], [1], "x"):
        assert spacing(made(PixelSpacing=nonsense) if nonsense != "x" else made(), 1) == {}
    assert spacing(dcmread(ROOT / "CT_small.dcm"), 1)["spacing"] == [0.661468, 0.661468]


def test_a_frame_of_several_has_its_own() -> None:
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.7, 0.7]
    shared.PixelMeasuresSequence = [measures]
    assert spacing(made(SharedFunctionalGroupsSequence=[shared]), 1)["spacing"] == [0.7, 0.7]


def test_regions_of_ultrasound_in_millimetres() -> None:
    region, doppler = Dataset(), Dataset()
    for each, units in ((region, (3, 3)), (doppler, (4, 7))):
        each.RegionLocationMinX0, each.RegionLocationMinY0 = 10, 20
        each.RegionLocationMaxX1, each.RegionLocationMaxY1 = 110, 120
        each.PhysicalDeltaX, each.PhysicalDeltaY = 0.05, -0.025
        each.PhysicalUnitsXDirection, each.PhysicalUnitsYDirection = units
    found = spacing(made(SequenceOfUltrasoundRegions=[doppler, region, Dataset()]), 1)
    assert found == {"regions": [[10.0, 20.0, 110.0, 120.0, 0.5, 0.25]]}


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        ([1, 0, 0, 0, 1, 0], ("R", "L", "A", "P")),
        ([1, 0, 0, 0, 0, -1], ("R", "L", "H", "F")),
        ([0, 1, 0, 0, 0, -1], ("A", "P", "H", "F")),
        ([0.8, 0.6, 0, -0.6, 0.8, 0], ("RA", "LP", "AL", "PR")),
        ([0.99, 0.14, 0, -0.14, 0.99, 0], ("R", "L", "A", "P")),
    ],
)
def test_what_lies_at_the_sides(orientation: list[float], expected: tuple[str, ...]) -> None:
    found = sides(made(ImageOrientationPatient=orientation), 1)
    assert (found["left"], found["right"], found["top"], found["bottom"]) == expected


def test_a_radiograph_says_its_sides_itself() -> None:
    found = sides(made(PatientOrientation=["A", "FR"]), 1)
    assert (found["left"], found["right"], found["top"], found["bottom"]) == ("P", "A", "HL", "FR")
    assert sides(made(PatientOrientation=""), 1) == {}
    assert sides(made(), 1) == {}
    assert sides(made(PatientOrientation=["LE", "RT"]), 1)["right"] == "L"  # a quadruped's E and T are none of ours


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_floating_point_pixels(kind: str, tmp_path: Path) -> None:
    """As a parametric map has them."""
    values = np.linspace(-1.5, 2.5, 256).astype(kind).reshape(16, 16)
    values[0, 0] = np.nan
    parametric = made(WindowCenter=0.5, WindowWidth=4, VOILUTFunction="LINEAR_EXACT")
    del parametric.PixelData, parametric.BitsStored, parametric.HighBit, parametric.PixelRepresentation
    parametric.BitsAllocated = 8 * values.dtype.itemsize
    name = "FloatPixelData" if kind == "<f4" else "DoubleFloatPixelData"
    setattr(parametric, name, values.tobytes())
    path = tmp_path / "x.dcm"
    parametric.save_as(path)
    info, picture = draw(path)
    grey = np.asarray(picture).reshape(-1)[1:].astype(int)
    assert (grey[-1], info["grey"], info["width"]) == (255, True, 4)
    assert (np.diff(grey) >= 0).all()
    assert abs(grey[127] - 128) <= 1


def test_tables_are_named(tmp_path: Path) -> None:
    tables = []
    for name in ("Soft", "Hard"):
        item = Dataset()
        item.LUTDescriptor, item.LUTData, item.LUTExplanation = [4, 0, 16], [0, 1, 2, 65535], name
        item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
        tables.append(item)
    path = tmp_path / "x.dcm"
    made(VOILUTSequence=tables).save_as(path)
    info, _ = draw(path)
    assert (info["tables"], info["table"], info["windows"]) == (["Soft", "Hard"], 1, [])
