"""The viewer in a real Chromium: scrolling, windows by mouse and number, playing, what is no picture, downloads."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.samples import TRUNCATED, make_instance, storable_files
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.senders import dcmsend
from tests.system.web.conftest import Visit

STUDY, SERIES = "1.2.826.5", "1.2.826.5.1"
SIDE, SLICES = 128, 12
NAME = "<script>alert(1)</script>^Zoë"


def _slices(folder: Path) -> list[Path]:
    """A CT of water in air, with a disc of bone that wanders."""
    folder.mkdir()
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    paths = []
    for number in range(1, SLICES + 1):
        values = np.full((SIDE, SIDE), -1000, "<i2")
        values[(x - 64) ** 2 + (y - 64) ** 2 < 50**2] = 0
        values[(x - 30 - 5 * number) ** 2 + (y - 64) ** 2 < 8**2] = 700
        made = make_instance(
            study=STUDY, series=SERIES, number=number, name=NAME, sop_instance=f"{SERIES}.{number}", pixels=b""
        )
        made.SeriesDescription = "<img src=x onerror=alert(2)>"
        made.Rows = made.Columns = SIDE
        made.PixelRepresentation = 1
        made.RescaleIntercept, made.RescaleSlope = 0, 1
        made.WindowCenter, made.WindowWidth = [40, -600], [400, 1500]
        made.WindowCenterWidthExplanation = ["Soft", "Lung"]
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient = [0, 0, number]
        made.PixelData = values.tobytes()
        path = folder / f"{number}.dcm"
        made.save_as(path)
        paths.append(path)
    return paths


def _received(noctis: Noctis, paths: list[Path]) -> None:
    central = noctis.add("Central")
    noctis.wait_listener("central")
    dcmsend(central.port, central.ae_title, paths)
    wait_for(lambda: sum(noctis.indexed().values()) == len(paths), what="the instances in the index")


def _pixel(page: Page, x: float, y: float) -> int:
    """How bright the canvas is at a place given in parts of its width and height."""
    value: int = page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("canvas");
          const at = [Math.floor(canvas.width * x), Math.floor(canvas.height * y)];
          const read = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          read.drawImage(canvas, ...at, 1, 1, 0, 0, 1, 1);
          return read.getImageData(0, 0, 1, 1).data[0];
        }""",
        [x, y],
    )
    return value


def _bright(page: Page, x: float, y: float, level: int) -> None:
    wait_for(lambda: abs(_pixel(page, x, y) - level) <= 2, what=f"{level} at {x}, {y}")


@pytest.mark.tells_of_patients
def test_a_series_is_looked_at(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    _received(paged, _slices(tmp_path / "sent"))
    page, _ = visit(paged, "viewer")
    page.goto(f"/studies/central/{STUDY}/series/{SERIES}")
    image, window, frame = (page.locator(f"#said-{each}") for each in ("image", "window", "zoom"))
    expect(image).to_have_text(f"Image 1 of {SLICES} · number 1")
    expect(window).to_have_text("C 40 W 400 HU")
    expect(frame).to_contain_text("Zoom")
    expect(page.locator("#side-left")).to_have_text("R")
    expect(page.locator("#side-top")).to_have_text("A")
    _bright(page, 0.5, 0.7, 102)  # water: ((0 - 39.5) / 399 + 0.5) * 255
    stage = page.locator("#stage")
    stage.focus()
    for key, number in (("ArrowDown", 2), ("PageDown", SLICES), ("Home", 1), ("End", SLICES), ("ArrowUp", SLICES - 1)):
        page.keyboard.press(key)
        expect(image).to_contain_text(f"Image {number} of")
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 100)
    expect(image).to_contain_text(f"Image {SLICES} of")
    page.locator("#position").fill("6")
    expect(image).to_contain_text("Image 6 of")
    _bright(page, 0.5, 0.5, 255)  # bone

    page.get_by_label("Centre").fill("0")
    page.get_by_label("Width").fill("2000")
    page.get_by_label("Width").press("Enter")
    expect(window).to_contain_text("C 0 W 2000")
    _bright(page, 0.5, 0.7, 128)
    page.locator("#preset").select_option("Lung (-600 / 1500)")
    expect(window).to_contain_text("C -600 W 1500")
    _bright(page, 0.5, 0.7, 230)
    page.get_by_role("button", name="Invert").click()
    _bright(page, 0.5, 0.7, 25)
    page.get_by_role("button", name="Reset").click()
    expect(window).to_contain_text("C 40 W 400")
    _bright(page, 0.5, 0.7, 102)
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 200, steps=5)
    page.mouse.up()
    expect(page.locator("#preset")).to_have_value("own")
    wait_for(lambda: float(page.get_by_label("Width").input_value()) > 450, what="a wider window")
    page.keyboard.press("+")
    stage.focus()
    zoom = frame.text_content()
    page.keyboard.press("+")
    expect(frame).not_to_have_text(zoom or "")

    page.get_by_label("Images/s").fill("30")
    page.get_by_role("button", name="Play").click()
    wait_for(lambda: int((image.text_content() or "").split()[1]) < 6, what="the first images again")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.locator("#go-9").click()
    expect(image).to_contain_text("Image 9 of")


@pytest.mark.tells_of_patients
def test_elements_are_searched_as_one_types_and_files_downloaded(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    sent = _slices(tmp_path / "sent")
    _received(paged, sent)
    page, _ = visit(paged, "facility", "central")
    page.goto(f"/studies/central/{STUDY}/series/{SERIES}")
    page.get_by_role("link", name="Elements of Instance 3", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Instance 3")
    page.locator("#q").press_sequentially("patientname")
    rows = page.locator("#elements tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("<script>alert(1)</script>^Zoë")
    assert page.url.endswith("q=patientname")
    with page.expect_download() as started:
        page.get_by_role("link", name="File").click()
    assert started.value.suggested_filename == f"{SERIES}.3.dcm"
    page.get_by_role("link", name="Series", exact=True).click()
    with page.expect_download() as started:
        page.get_by_role("link", name="Series as ZIP").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(f"{SERIES}/{SERIES}.{each + 1}.dcm" for each in range(SLICES))


@pytest.mark.tells_of_patients
def test_what_is_no_picture_says_so(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    paths = []
    for number, pixels in ((1, b"\1\2" * 256), (2, b"\1\2" * 8)):  # the second says that it has 16 x 16
        made = make_instance(
            study=STUDY, series=SERIES, number=number, sop_instance=f"{SERIES}.{number}", pixels=pixels
        )
        made.save_as(folder / f"{number}.dcm")
        paths.append(folder / f"{number}.dcm")
    report = next(each.path for each in storable_files() if each.path.name == "test-SR.dcm")
    assert report.name not in TRUNCATED
    _received(paged, [*paths, report])
    page, _ = visit(paged, "viewer")
    page.goto(f"/studies/central/{STUDY}/series/{SERIES}")
    expect(page.locator("#said-window")).to_contain_text("W")
    page.get_by_role("button", name="Next image").click()
    expect(page.locator("#message")).to_contain_text("No picture: the pixel data cannot be decoded")
    expect(page.locator(".viewer-card").nth(1).locator("img")).to_have_attribute(
        "alt", "the pixel data cannot be decoded (ValueError)"
    )
    ((study, series),) = paged.sql(
        "SELECT study_instance_uid, series_instance_uid FROM series JOIN study ON study.id = series.study_id"
        " WHERE series.modality = 'SR'"
    )
    page.goto(f"/studies/central/{study}/series/{series}")
    page.get_by_role("link", name="Structured report").click()
    expect(page.get_by_role("heading", name="The report")).to_be_visible()
