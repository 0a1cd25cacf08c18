"""Pictures pixel by pixel as dcmtk's dcm2pnm makes them: pydicom's samples, and every kind of grey made here.

dcmtk cuts off where we round: a level of difference is allowed, no more.
"""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileDataset

from noctis.frames.picture import Frames
from noctis.frames.protocol import Request
from tests.system.senders import tool
from tests.unit.frames.test_picture import image

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(pydicom.data.__file__).parent / "test_files"
SENT, LUT, ALL = ("+Wi", "1"), ("+Wl", "1"), ("+Wm",)
LEVELS = 1
# What dcm2pnm and dcmj2pnm decode right: not JPEG 2000 and JPEG-LS, and no 32 bits of a Big Endian data set.
SAMPLES = [
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "JPEG-lossy.dcm",
    "JPGExtended.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_rgb_rle_32bit_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
    "rtdose_rle.dcm",
]
STORED = np.arange(4096, dtype="<u2").reshape(64, 64)
SIGNED = (np.arange(4096) - 2048).astype("<i2").reshape(64, 64)
TWELVE: dict[str, Any] = {"BitsStored": 12, "HighBit": 11}


def ours(path: Path, request: Request) -> tuple[dict[str, Any], np.ndarray]:
    with path.open("rb") as file:
        info, body = Frames().picture(file, request)
    return info, np.asarray(PIL.Image.open(io.BytesIO(body))).astype(int)


def theirs(path: Path, folder: Path, *options: str) -> np.ndarray:
    out = folder / "theirs.pnm"
    for name in ("dcm2pnm", "dcmj2pnm"):
        done = subprocess.run([tool(name), "-O", *options, path, out], capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            return np.asarray(PIL.Image.open(out)).astype(int)
    raise AssertionError(done.stderr.decode(errors="replace"))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample(name: str, tmp_path: Path) -> None:
    info, picture = ours(ROOT / name, Request(1))
    options = () if not info["grey"] else SENT if info["windows"] else ALL
    expected = theirs(ROOT / name, tmp_path, *options)
    assert picture.shape == expected.shape
    assert np.abs(picture - expected).max() <= LEVELS
    assert picture.min() < picture.max()


def lut(entries: list[int], first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries), first, bits], entries
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return [item]


def one_bit() -> FileDataset:
    made = image(np.packbits(np.tile([0, 1, 1], 1366)[:4096], bitorder="little").reshape(8, 64))
    made.Rows = made.Columns = 64
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    return made


def windowed(values: np.ndarray = STORED, **attributes: Any) -> Callable[[], FileDataset]:
    return lambda: image(values, **{"WindowCenter": 1000, "WindowWidth": 700, **attributes})


def plain(values: np.ndarray, **attributes: Any) -> Callable[[], FileDataset]:
    return lambda: image(values, **attributes)


CASES: dict[str, tuple[Callable[[], FileDataset], tuple[str, ...], Request]] = {
    "monochrome1": (windowed(PhotometricInterpretation="MONOCHROME1", **TWELVE), SENT, Request(1)),
    "monochrome1_all": (plain(STORED, PhotometricInterpretation="MONOCHROME1", **TWELVE), ALL, Request(1)),
    "inverse": (windowed(PresentationLUTShape="INVERSE", **TWELVE), SENT, Request(1)),
    "monochrome1_inverse": (
        windowed(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **TWELVE),
        SENT,
        Request(1),
    ),
    "signed": (windowed(SIGNED, RescaleSlope=1.5, RescaleIntercept=-10, WindowCenter=40), SENT, Request(1)),
    "signed_12_of_16": (
        windowed((SIGNED & 0xFFF).astype("<u2"), PixelRepresentation=1, WindowCenter=40, **TWELVE),
        SENT,
        Request(1),
    ),
    "negative_slope": (windowed(SIGNED, RescaleSlope=-1, RescaleIntercept=0, WindowCenter=40), SENT, Request(1)),
    "width_1": (windowed(WindowWidth=1), SENT, Request(1)),
    "width_2": (windowed(WindowWidth=2), SENT, Request(1)),
    "the_second_window": (
        windowed(WindowCenter=[1000, 2000], WindowWidth=[2, 300]),
        ("+Wi", "2"),
        Request(1, center=2000, width=300),
    ),
    "by_hand": (windowed(), ("+Ww", "-50.5", "3000"), Request(1, center=-50.5, width=3000)),
    "sigmoid": (windowed(VOILUTFunction="SIGMOID"), (*SENT, "+Wfs"), Request(1)),
    "voi_lut": (plain(STORED, VOILUTSequence=lut(list(range(1024)), 500, 10), **TWELVE), LUT, Request(1)),
    "voi_lut_of_8_bits": (
        plain(STORED, VOILUTSequence=lut([each // 16 for each in range(4096)], 0, 8), **TWELVE),
        LUT,
        Request(1),
    ),
    "voi_lut_beside_a_window": (
        windowed(VOILUTSequence=lut(list(range(1024)), 500, 10), **TWELVE),
        LUT,
        Request(1, table=1),
    ),
    "modality_lut": (
        plain(STORED, ModalityLUTSequence=lut(list(range(65520, -1, -16)), 0, 16), **TWELVE),
        ALL,
        Request(1),
    ),
    "high_bit": (windowed((STORED << 4).astype("<u2"), BitsStored=12, HighBit=15), SENT, Request(1)),
    "high_bit_signed": (
        windowed((SIGNED << 3).astype("<i2"), BitsStored=12, HighBit=14, WindowCenter=40),
        SENT,
        Request(1),
    ),
    "unused_bits_above": (windowed((STORED | 0x5000).astype("<u2"), **TWELVE), SENT, Request(1)),
    "one_bit": (one_bit, ALL, Request(1)),
    "32_bits": (plain(np.arange(4096, dtype="<u4").reshape(64, 64) * 1_000_000), ALL, Request(1)),
    "8_bits": (windowed(STORED.astype("u1"), WindowCenter=100, WindowWidth=50), SENT, Request(1)),
}


@pytest.mark.parametrize("name", CASES)
def test_grey(name: str, tmp_path: Path) -> None:
    make, options, request = CASES[name]
    path = tmp_path / "x.dcm"
    make().save_as(path)
    _, picture = ours(path, request)
    expected = theirs(path, tmp_path, *options)
    assert picture.min() < picture.max()
    assert np.abs(picture - expected).max() <= LEVELS
