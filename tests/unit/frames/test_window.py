"""Stored values into grey, against the formulas of PS3.3 §C.11."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from noctis.frames.window import LINEAR, LINEAR_EXACT, SIGMOID, Window, extent, rescale, table_of, to_grey


def same(values: np.ndarray) -> np.ndarray:
    return values


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (LINEAR, [0, 0, 64, 128, 255, 255]),  # ((x - 99.5) / 99 + 0.5) * 255
        (LINEAR_EXACT, [0, 0, 64, 128, 255, 255]),
        (SIGMOID, [5, 30, 69, 128, 225, 254]),
    ],
)
def test_a_window_is_the_standards(function: str, expected: list[int]) -> None:
    frame = np.asarray([[0, 50, 75, 100, 150, 300]], np.uint16)
    grey = to_grey(frame, same, Window(100, 100, function).grey, inverted=False)
    assert np.abs(grey[0].astype(int) - expected).max() <= 1


def test_a_width_of_one_is_a_step() -> None:
    frame = np.asarray([[39, 40, 41]], np.int16)
    assert to_grey(frame, same, Window(40.5, 1).grey, inverted=False).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "<i2", ">i2", "u4", "i4", "f4", "f8"])
def test_every_kind_of_sample_is_mapped_alike(kind: str) -> None:
    frame = np.asarray([[0, 10, 50, 100, 127]], kind)
    grey = to_grey(frame, rescale(2, -100), Window(0, 201, LINEAR).grey, inverted=False)
    expected = [max(0, min(255, round(((x * 2 - 100 + 0.5) / 200 + 0.5) * 255))) for x in (0, 10, 50, 100, 127)]
    assert np.abs(grey[0].astype(int) - expected).max() <= 1


def test_negative_values_keep_their_order() -> None:
    frame = np.asarray([[-1000, -1, 0, 1, 1000]], "<i2")
    grey = to_grey(frame, same, Window(0, 2001).grey, inverted=False)[0]
    assert list(grey) == sorted(grey)
    assert to_grey(frame, same, Window(0, 2001).grey, inverted=True)[0].tolist() == (255 - grey).tolist()


def test_padding_does_not_count_for_the_extent() -> None:
    frame = np.asarray([[-2000, 5, 9]], "<i2")
    assert extent(frame, same, (-2000, -2000)).low == 5
    assert extent(frame, same, None).low == -2000
    assert extent(np.full((2, 2), 7, np.uint16), same, (7, 7)).high == 7  # nothing but padding
    assert extent(np.asarray([[np.nan, np.inf, 2.5]]), same, None).high == 2.5


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_table_of_the_standard(as_bytes: bool) -> None:
    item = Dataset()
    item.LUTDescriptor = [3, 10, 16]
    entries = [0, 300, 65535]
    item.LUTData = np.asarray(entries, "<u2").tobytes() if as_bytes else entries
    item["LUTData"].VR = "OW" if as_bytes else "US"
    table = table_of(item)
    assert table is not None
    assert table(np.asarray([-5.0, 10, 11, 12, 99])).tolist() == [0, 0, 300, 65535, 65535]
    assert table.grey(np.asarray([12.0])).tolist() == [255]


def test_what_is_no_table_is_none() -> None:
    item = Dataset()
    assert table_of(item) is None
    item.LUTDescriptor, item.LUTData = [0, 0, 16], []
    assert table_of(item) is None
