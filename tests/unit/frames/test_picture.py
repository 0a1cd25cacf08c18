"""Pictures of pydicom's own test files, and of what is made here in every form that a frame can have."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from noctis.frames.picture import Frames, NoPictureError
from noctis.frames.protocol import Request
from tests.samples import make_instance

pytestmark = pytest.mark.filterwarnings("ignore")  # what pydicom has to say of its collection
ROOT = Path(pydicom.data.__file__).parent / "test_files"
# Broken on purpose, or no image.
NOT_SHOWN = {
    "ExplVR_BigEndNoMeta.dcm",
    "ExplVR_LitEndNoMeta.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "MR_truncated.dcm",
    "SC_rgb_jpeg.dcm",
    "UN_sequence.dcm",
    "badVR.dcm",
    "empty_charset_LEI.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta.dcm",
    "no_meta_group_length.dcm",
    "priv_SQ.dcm",
    "reportsi.dcm",
    "reportsi_with_empty_number_tags.dcm",
    "rtplan.dcm",
    "rtplan_truncated.dcm",
    "rtstruct.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
}
FIRST = Request(1)
FILES = sorted(ROOT.glob("*.dcm"))


def draw(path: Path, request: Request = FIRST) -> tuple[dict, PIL.Image.Image]:
    with path.open("rb") as file:
        info, body = Frames().picture(file, request)
    return info, PIL.Image.open(io.BytesIO(body))


def grey_of(dataset: FileDataset, tmp_path: Path, request: Request = FIRST) -> np.ndarray:
    path = tmp_path / f"{generate_uid()}.dcm"
    dataset.save_as(path)
    return np.asarray(draw(path, request)[1])


def image(values: np.ndarray, **attributes: object) -> FileDataset:
    """A grey image of these values."""
    made = make_instance(study="1.2.3", series="1.2.3.1")
    made.Rows, made.Columns = values.shape[-2:]
    made.BitsAllocated = made.BitsStored = 8 * values.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


RAMP = np.arange(256, dtype="<u2").reshape(16, 16) * 16


@pytest.mark.parametrize("path", [each for each in FILES if each.name not in NOT_SHOWN], ids=lambda path: path.name)
def test_a_file_of_pydicoms_is_drawn(path: Path) -> None:
    dataset = dcmread(path, stop_before_pixels=True)
    info, picture = draw(path)
    assert picture.size == (dataset.Columns, dataset.Rows) or dataset.get("PixelAspectRatio")
    assert picture.mode == ("L" if dataset.PhotometricInterpretation.startswith("MONO") else "RGB")
    low, high = (min(each) for each in zip(*np.atleast_2d(picture.getextrema()), strict=True))
    assert low < high
    assert (info["rows"], info["columns"]) == (dataset.Rows, dataset.Columns)


@pytest.mark.parametrize("name", sorted(NOT_SHOWN))
def test_a_file_that_is_no_image_or_broken_is_an_error_and_no_more(name: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - any: the decoder makes a reason of it
        draw(ROOT / name)


SAME = ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded")


@pytest.mark.parametrize("form", SAME)
def test_one_image_in_every_lossless_form_shows_the_same(form: str) -> None:
    expected = draw(ROOT / "MR_small.dcm")[1].tobytes()
    assert draw(ROOT / f"MR_small_{form}.dcm")[1].tobytes() == expected


def test_a_deflated_data_set_shows_the_same(tmp_path: Path) -> None:
    expected = grey_of(image(RAMP), tmp_path)
    made = image(RAMP)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert (grey_of(made, tmp_path) == expected).all()


def test_twelve_bits_of_jpeg_extended_are_as_dcmtk_has_them() -> None:
    info, _ = draw(ROOT / "JPGExtended.dcm")
    assert (info["low"], info["high"]) == (0, 264)  # dcmdjpeg's


def test_run_length_encoding_shows_the_same(tmp_path: Path) -> None:
    made = image(RAMP)
    expected = grey_of(made, tmp_path)
    made.compress(RLELossless)
    assert (grey_of(made, tmp_path) == expected).all()


def test_monochrome_1_is_the_other_way_round(tmp_path: Path) -> None:
    two = grey_of(image(RAMP), tmp_path)
    one = grey_of(image(RAMP, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert (one == 255 - two).all()
    assert (grey_of(image(RAMP), tmp_path, Request(1, invert=True)) == one).all()


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", "<i2", "<u4", "<i4"])
def test_every_kind_of_sample(kind: str, tmp_path: Path) -> None:
    values = np.linspace(-100 if "i" in kind else 0, 100, 256).astype(kind).reshape(16, 16)
    grey = grey_of(image(values), tmp_path).reshape(-1)
    assert (grey[0], grey[-1]) == (0, 255)
    assert (np.diff(grey.astype(int)) >= 0).all()


def test_the_window_of_the_instance_then_the_one_asked_for(tmp_path: Path) -> None:
    made = image(RAMP, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=[1000, 50], WindowWidth=[500, 60])
    made.WindowCenterWidthExplanation = ["soft", "bone"]
    path = tmp_path / "x.dcm"
    made.save_as(path)
    info, _ = draw(path)
    assert (info["center"], info["width"], info["low"], info["high"]) == (1000, 500, -100, 255 * 32 - 100)
    assert [each["name"] for each in info["windows"]] == ["soft", "bone"]
    info, picture = draw(path, Request(1, center=0, width=1))
    assert (info["center"], info["width"]) == (0, 1)
    assert set(np.asarray(picture).reshape(-1).tolist()) == {0, 255}


def test_voi_and_modality_tables(tmp_path: Path) -> None:
    def table(entries: list[int]) -> list[Dataset]:
        item = Dataset()
        item.LUTDescriptor, item.LUTData = [len(entries), 0, 16], entries
        item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
        return [item]

    values = np.arange(16, dtype="<u2").reshape(4, 4)
    voi = image(values, VOILUTSequence=table([0] * 8 + [65535] * 8))
    assert grey_of(voi, tmp_path).reshape(-1).tolist() == [0] * 8 + [255] * 8
    modality = image(values, ModalityLUTSequence=table(list(range(150, -1, -10))))
    assert grey_of(modality, tmp_path).reshape(-1).tolist() == list(range(255, -1, -17))


def test_each_frame_has_its_own_window_and_place(tmp_path: Path) -> None:
    """Enhanced multi-frame: functional groups."""
    made = image(np.stack([RAMP, RAMP]), NumberOfFrames=2)
    frames = []
    for number, center in ((1, 100), (2, 3000)):
        item, window, plane, pixels = Dataset(), Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 200
        plane.ImagePositionPatient = [0, 0, number]
        pixels.RescaleSlope, pixels.RescaleIntercept, pixels.RescaleType = number, 0, "HU"
        item.FrameVOILUTSequence, item.PlanePositionSequence = [window], [plane]
        item.PixelValueTransformationSequence = [pixels]
        frames.append(item)
    made.PerFrameFunctionalGroupsSequence = frames
    shared, orientation = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = [orientation]
    made.SharedFunctionalGroupsSequence = [shared]
    path = tmp_path / "x.dcm"
    made.save_as(path)
    (first, _), (second, _) = draw(path, Request(1)), draw(path, Request(2))
    assert (first["center"], first["position"], first["high"]) == (100, [0, 0, 1], 4080)
    assert (second["center"], second["position"], second["high"]) == (3000, [0, 0, 2], 8160)
    assert first["orientation"] == [1, 0, 0, 0, 1, 0]


def test_frames_are_counted_from_one() -> None:
    path = ROOT / "examples_ybr_color.dcm"
    (info, first), (_, last) = draw(path, Request(1)), draw(path, Request(30))
    assert first.tobytes() != last.tobytes()
    assert round(info["rate"]) == 30  # its Frame Time
    for frame in (0, 31, 10**6):
        with pytest.raises((NoPictureError, ValueError, IndexError)):
            draw(path, Request(frame))


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    made = image(RAMP, PixelAspectRatio=["2", "1"])
    assert grey_of(made, tmp_path).shape == (32, 16)
    assert grey_of(image(RAMP, PixelSpacing=[1, 2]), tmp_path).shape == (16, 32)


def test_a_picture_is_no_longer_than_asked_for_and_a_jpeg_where_wanted(tmp_path: Path) -> None:
    path = ROOT / "examples_rgb_color.dcm"
    assert draw(path, Request(1, size=160))[1].size == (160, 120)
    assert draw(path, Request(1, size=5000))[1].size == (320, 240)
    assert draw(path, Request(1, jpeg=True))[1].format == "JPEG"


def test_the_frame_decoded_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = Frames()
    path = ROOT / "CT_small.dcm"
    with path.open("rb") as file:
        _, one = frames.picture(file, Request(1, "key", 40, 400))
        monkeypatch.setattr("noctis.frames.picture.decode", None)
        _, other = frames.picture(file, Request(1, "key", -600, 1500))
        assert one != other
        with pytest.raises(TypeError):
            frames.picture(file, Request(1, "other"))


def test_palettes_of_both_depths(tmp_path: Path) -> None:
    made = image(np.arange(4, dtype="u1").reshape(2, 2), PhotometricInterpretation="PALETTE COLOR")
    for name, entries in (("Red", [0, 65535, 0, 0]), ("Green", [0, 0, 65535, 0]), ("Blue", [0, 0, 0, 65535])):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(made, f"{name}PaletteColorLookupTableData", np.asarray(entries, "<u2").tobytes())
    assert grey_of(made, tmp_path).reshape(-1, 3).tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("syntax", "name"),
    [("1.2.840.10008.1.2.4.94", "JPIP Referenced"), ("1.2.840.10008.1.2.4.110", "JPEG XL"), ("1.2.3.4", "1.2.3.4")],
)
def test_a_transfer_syntax_that_cannot_be_decoded_is_named(syntax: str, name: str, tmp_path: Path) -> None:
    made = image(RAMP)
    path = tmp_path / "x.dcm"
    made.save_as(path)
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    data = path.read_bytes()
    at = data.index(b"1.2.840.10008.1.2.1\0")
    path.write_bytes(data[: at - 2] + len(value).to_bytes(2, "little") + value + data[at + 20 :])
    with pytest.raises(NoPictureError, match=f"{name}.*cannot be decoded here"):
        draw(path)
