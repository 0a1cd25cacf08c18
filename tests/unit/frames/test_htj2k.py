"""High-Throughput JPEG 2000 (1.2.840.10008.1.2.4.201 to 203): codestreams of another encoder than the one that decodes.

The three in `htj2k` were made by OpenJPH 0.9 (`ojph_compress -num_decomps 3`, `-reversible true` or `-qstep 0.001`) of
the images that are reckoned here.
"""

from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from noctis.frames.picture import decode
from tests.unit.frames.test_picture import draw, image

FOLDER = Path(__file__).with_name("htj2k")
LOSSLESS, RPCL, LOSSY = (f"1.2.840.10008.1.2.4.{each}" for each in (201, 202, 203))
Y, X = np.mgrid[0:32, 0:40]
GREY = (50 * X + 60 * Y).astype("<u2")  # 12 bits
COLOUR = np.stack([X * 6 % 256, Y * 8 % 256, (X + Y) * 3 % 256], -1).astype("u1")


def written(name: str, syntax: str, folder: Path) -> Path:
    colour = name.startswith("colour")
    made = image(COLOUR[..., 0] if colour else GREY)
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.BitsStored, made.HighBit = (8, 7) if colour else (12, 11)
    if colour:
        made.SamplesPerPixel, made.PlanarConfiguration, made.PhotometricInterpretation = 3, 0, "YBR_RCT"
    made.PixelData = encapsulate([(FOLDER / f"{name}.j2c").read_bytes()])
    made["PixelData"].VR = "OB"
    path = folder / "x.dcm"
    made.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [LOSSLESS, RPCL, LOSSY])
def test_grey_without_loss(syntax: str, tmp_path: Path) -> None:
    path = written("grey_lossless", syntax, tmp_path)
    with path.open("rb") as file:
        assert (decode(file, 1)[0] == GREY).all()
    info, picture = draw(path)
    assert (picture.size, info["low"], info["high"]) == ((40, 32), 0, 3810)


def test_grey_with_loss(tmp_path: Path) -> None:
    with written("grey_lossy", LOSSY, tmp_path).open("rb") as file:
        difference = np.abs(decode(file, 1)[0].astype(int) - GREY)
    assert 0 < difference.max() <= 2


def test_colours(tmp_path: Path) -> None:
    _, picture = draw(written("colour_lossless", LOSSLESS, tmp_path))
    assert (np.asarray(picture) == COLOUR).all()
