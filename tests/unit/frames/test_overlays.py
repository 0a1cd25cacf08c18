"""Overlays: in their own data, of one frame or several, outside the image, and in unused bits of the pixel data."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom.data
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRBigEndian, RLELossless, generate_uid

from noctis.frames.overlays import GRAPHICS, REGION
from noctis.frames.picture import Frames, NoPictureError
from noctis.frames.protocol import Request
from tests.unit.frames.test_picture import RAMP, image

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(pydicom.data.__file__).parent / "test_files"
CROSS = np.eye(16, dtype=np.uint8) | np.eye(16, dtype=np.uint8)[::-1]


def add(made: FileDataset, plane: np.ndarray, group: int = 0x6000, **values: object) -> FileDataset:
    """An overlay of these pixels, of several frames if there are three dimensions."""
    rows, columns = plane.shape[-2:]
    packed = np.packbits(plane.reshape(-1), bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    made.add_new((group, 0x0010), "US", rows)
    made.add_new((group, 0x0011), "US", columns)
    made.add_new((group, 0x0040), "CS", values.get("kind", "G"))
    made.add_new((group, 0x0050), "SS", values.get("origin", [1, 1]))
    made.add_new((group, 0x0100), "US", 1)
    made.add_new((group, 0x0102), "US", 0)
    if plane.ndim == 3:
        made.add_new((group, 0x0015), "IS", str(plane.shape[0]))
        if "first" in values:
            made.add_new((group, 0x0051), "US", values["first"])
    made.add_new((group, 0x3000), "OW", packed)
    return made


def layer(path: Path, frame: int = 1, frames: Frames | None = None, key: str = "") -> np.ndarray:
    with path.open("rb") as file:
        info, body = (frames or Frames()).picture(file, Request(frame, key, overlays=True))
    picture = PIL.Image.open(io.BytesIO(body))
    assert picture.mode == "P"
    values = np.asarray(picture)
    seen = np.asarray(picture.convert("RGBA"))[..., 3] > 0
    assert (seen == (values > 0)).all()  # see-through where nothing is drawn
    assert (info["rows"], info["columns"]) == values.shape
    return values


def saved(made: FileDataset, tmp_path: Path) -> Path:
    path = tmp_path / f"{generate_uid()}.dcm"
    made.save_as(path)
    return path


def count(path: Path, frame: int = 1) -> int:
    with path.open("rb") as file:
        found: int = Frames().picture(file, Request(frame))[0]["overlays"]
    return found


def test_a_sample_as_pydicom_reads_it() -> None:
    path = ROOT / "examples_overlay.dcm"
    expected = dcmread(path).overlay_array(0x6000)
    assert expected.any()
    assert (layer(path) == expected).all()
    assert count(path) == 1
    assert count(ROOT / "CT_small.dcm") == 0


def test_it_is_the_same_with_the_frame_that_was_decoded_before(tmp_path: Path) -> None:
    path, frames = saved(add(image(RAMP), CROSS), tmp_path), Frames()
    with path.open("rb") as file:
        assert frames.picture(file, Request(1, "key"))[0]["overlays"] == 1
    assert (layer(path, 1, frames, "key") == CROSS).all()


def test_regions_and_graphics_differ_and_several_lie_over_each_other(tmp_path: Path) -> None:
    made = add(add(image(RAMP), CROSS), np.ones((4, 4), np.uint8), 0x601E, kind="R")
    path = saved(made, tmp_path)
    found = layer(path)
    assert (found[:4, :4] == REGION).all()
    assert (found[5:, 5:][CROSS[5:, 5:] > 0] == GRAPHICS).all()
    assert count(path) == 2


@pytest.mark.parametrize(
    ("origin", "where"), [([3, 5], (2, 4)), ([-1, 1], (-2, 0)), ([15, 15], (14, 14)), ([500, 1], (499, 0))]
)
def test_it_begins_where_it_says(origin: list[int], where: tuple[int, int], tmp_path: Path) -> None:
    found = layer(saved(add(image(RAMP), np.ones((4, 4), np.uint8), origin=origin), tmp_path))
    expected = np.zeros((16, 16))
    top, left = where
    expected[max(0, top) : max(0, top + 4), left : left + 4] = 1
    assert (found == expected).all()


def test_each_frame_has_its_own_or_none(tmp_path: Path) -> None:
    planes = np.stack([np.eye(5, dtype=np.uint8), np.ones((5, 5), np.uint8)])  # 25 bits: not at a byte's beginning
    path = saved(add(image(np.stack([RAMP] * 4), NumberOfFrames=4), planes, first=2), tmp_path)
    assert [count(path, frame) for frame in (1, 2, 3, 4)] == [0, 1, 1, 0]
    assert (layer(path, 2)[:5, :5] == planes[0]).all()
    assert (layer(path, 3)[:5, :5] == planes[1]).all()
    with pytest.raises(NoPictureError):
        layer(path, 1)


def test_one_that_does_not_count_frames_lies_over_all(tmp_path: Path) -> None:
    path = saved(add(image(np.stack([RAMP] * 2), NumberOfFrames=2), CROSS), tmp_path)
    assert all((layer(path, frame) == CROSS).all() for frame in (1, 2))


def test_big_endian(tmp_path: Path) -> None:
    made = add(image(RAMP), CROSS)
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    for tag in ((0x7FE0, 0x0010), (0x6000, 0x3000)):
        made[tag].value = np.frombuffer(made[tag].value, "<u2").astype(">u2").tobytes()
    path = tmp_path / "x.dcm"
    dcmwrite(path, made, implicit_vr=False, little_endian=False)
    assert (layer(path) == CROSS).all()


def test_in_unused_bits_of_the_pixels(tmp_path: Path) -> None:
    """Retired in 2004: they are no part of the values, and each frame has its own."""
    values = np.stack([RAMP % 4096, RAMP[::-1] % 4096])
    marked = values | (np.stack([CROSS, 1 - CROSS]).astype("<u2") << 12)
    plain = image(values, NumberOfFrames=2, BitsStored=12, HighBit=11)
    made = image(marked, NumberOfFrames=2, BitsStored=12, HighBit=11)
    for number, value in ((0x0010, 16), (0x0011, 16), (0x0100, 16), (0x0102, 12)):
        made.add_new((0x6000, number), "US", value)
    made.add_new((0x6000, 0x0040), "CS", "G")
    path = saved(made, tmp_path)
    assert (layer(path, 1) == CROSS).all()
    assert (layer(path, 2) == 1 - CROSS).all()
    for frame in (1, 2):
        with path.open("rb") as one, saved(plain, tmp_path).open("rb") as other:
            assert Frames().picture(one, Request(frame))[1] == Frames().picture(other, Request(frame))[1]


def test_over_compressed_pixels(tmp_path: Path) -> None:
    made = add(image(RAMP), CROSS)
    made.compress(RLELossless)
    assert (layer(saved(made, tmp_path)) == CROSS).all()


def test_broken_ones_are_left_out(tmp_path: Path) -> None:
    made = add(image(RAMP), CROSS)
    made[0x6000, 0x3000].value = b"\1\2"
    made.add_new((0x6000, 0x0050), "SS", 7)
    path = saved(made, tmp_path)
    assert not layer(path).any()
    for rows in (0, None):
        made.add_new((0x6000, 0x0010), "US", rows)
        assert count(saved(made, tmp_path)) == 0
