"""Overlays, the ruler and the windows of an instance, in a real Chromium."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from pydicom.dataset import Dataset

from tests.samples import make_instance
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.web.conftest import Visit
from tests.system.web.test_viewer import _received as received
from tests.unit.frames.test_overlays import add

STUDY, SERIES = "1.2.826.6", "1.2.826.6.1"
SIDE = 128


def _sent(noctis: Noctis, folder: Path) -> None:
    """Two slices: the first with an overlay over its upper left quarter; both with windows and a VOI LUT."""
    folder.mkdir()
    table = Dataset()
    table.LUTDescriptor, table.LUTData, table.LUTExplanation = [256, 0, 8], [0] * 100 + [255] * 156, "Steep"
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    paths = []
    for number in (1, 2):
        made = make_instance(study=STUDY, series=SERIES, number=number, sop_instance=f"{SERIES}.{number}", pixels=b"")
        made.Rows = made.Columns = SIDE
        made.PixelData = np.full((SIDE, SIDE), 50, "<u2").tobytes()
        made.WindowCenter, made.WindowWidth = [50, 60], [100, 40]
        made.WindowCenterWidthExplanation = ["Soft", "<b>Hard</b>"]
        made.VOILUTSequence = [table]
        made.PixelSpacing = [2, 0.5]
        made.PatientOrientation = ["A", "F"]
        if number == 1:
            add(made, np.ones((SIDE // 2, SIDE // 2), np.uint8))
        paths.append(folder / f"{number}.dcm")
        made.save_as(paths[-1])
    received(noctis, paths)


def _colour(page: Page, x: float, y: float) -> list[int]:
    """Of the canvas at a place of the picture, in parts of its width and height."""
    value: list[int] = page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("canvas");
          const height = canvas.height, width = height / 4; // pixels are four times as high as wide
          const at = [canvas.width / 2 + (x - 0.5) * width, y * height].map(Math.floor);
          const read = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          read.drawImage(canvas, ...at, 1, 1, 0, 0, 1, 1);
          return [...read.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [x, y],
    )
    return value


def _is(page: Page, x: float, y: float, *expected: int) -> None:
    wait_for(
        lambda: all(abs(each - wanted) <= 4 for each, wanted in zip(_colour(page, x, y), expected, strict=True)),
        what=f"{expected} at {x}, {y}",
    )


@pytest.mark.tells_of_patients
def test_overlays_windows_and_the_ruler(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    _sent(paged, tmp_path / "sent")
    page, _ = visit(paged, "viewer")
    page.goto(f"/studies/central/{STUDY}/series/{SERIES}")
    _is(page, 0.25, 0.25, 255, 214, 10)
    _is(page, 0.75, 0.75, 128, 128, 128)
    stage, switch = page.locator("#stage"), page.get_by_role("button", name="Overlays")
    stage.focus()
    page.keyboard.press("o")
    expect(switch).to_have_attribute("aria-pressed", "false")
    _is(page, 0.25, 0.25, 128, 128, 128)
    switch.click()
    page.get_by_role("button", name="Invert").click()
    _is(page, 0.75, 0.75, 127, 127, 127)
    _is(page, 0.25, 0.25, 255, 214, 10)  # they are not inverted with it
    page.get_by_role("button", name="Reset").click()
    stage.focus()
    page.keyboard.press("ArrowDown")
    _is(page, 0.25, 0.25, 128, 128, 128)  # the second has none
    expect(switch).to_be_hidden()

    for side, letter in (("left", "P"), ("right", "A"), ("top", "H"), ("bottom", "F")):
        expect(page.locator(f"#side-{side}")).to_have_text(letter)

    options = page.locator("#preset option")
    assert options.all_text_contents()[:4] == ["As sent: Soft", "<b>Hard</b> (60 / 40)", "Steep", "All values"]
    page.locator("#preset").select_option("<b>Hard</b> (60 / 40)")
    _is(page, 0.75, 0.75, 67, 67, 67)
    page.locator("#preset").select_option("Steep")
    _is(page, 0.75, 0.75, 0, 0, 0)
    page.locator("#preset").select_option("As sent: Soft")
    _is(page, 0.75, 0.75, 128, 128, 128)

    stage.focus()
    page.keyboard.press("m")
    expect(page.get_by_role("radio", name="Measure")).to_be_checked()
    box = stage.bounding_box()
    assert box is not None
    middle, height = box["x"] + box["width"] / 2, box["height"]
    page.mouse.move(middle, box["y"] + height / 4)
    page.mouse.down()
    page.mouse.move(middle + height / 8, box["y"] + height / 2, steps=4)  # 64 columns, 32 rows
    page.mouse.up()
    said = page.locator("#said-length")
    expect(said).to_contain_text("mm")
    length = float((said.text_content() or "").split()[1])
    assert abs(length - np.hypot(64 * 0.5, 32 * 2)) < 1
    stage.focus()
    page.keyboard.press("ArrowUp")
    expect(said).to_have_text("")  # a line belongs to its image
    page.keyboard.press("ArrowDown")
    expect(said).to_contain_text("mm")
    page.get_by_role("button", name="Reset").click()
    expect(said).to_have_text("")
