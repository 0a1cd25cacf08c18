"""Documents, videos and reports in a real Chromium: a PDF in its own tab, an MP4 that plays, links that lead on."""

import base64
import io
from pathlib import Path

import PIL.Image
import pytest
from playwright.sync_api import Error, Page, expect

from tests.samples import make_instance
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.web.conftest import Visit
from tests.system.web.test_viewer import _received as received
from tests.unit.repository.test_embedded import document, video
from tests.unit.repository.test_report import code, content

STUDY, SERIES = "1.2.3", "1.2.3.1"
RECORD = """async () => {
  const shown = document.createElement("canvas");
  Object.assign(shown, { width: 160, height: 120 });
  const recorder = new MediaRecorder(shown.captureStream(25), { mimeType: "video/mp4" });
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start();
  for (let at = 0; at < 30; at++) {
    const drawing = shown.getContext("2d");
    drawing.fillStyle = "#0c0";
    drawing.fillRect(0, 0, 160, 120);
    drawing.fillStyle = "#fff";
    drawing.fillRect(4 * at, 20, 20, 20);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  recorder.stop();
  await ended;
  const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
  return btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join(""));
}"""


def _pdf() -> bytes:
    """One page, all red."""
    drawn = b"1 0 0 rg 0 0 300 300 re f"
    objects = (
        b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
    )
    made, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj%sendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % each for each in places)
    end = b"xref\n0 5\n0000000000 65535 f \n%strailer<</Size 5/Root 1 0 R>>startxref\n%d\n%%%%EOF" % (table, len(made))
    return made + end


def _is_red(page: Page) -> bool:
    try:
        shot = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    except Error:  # the viewer of PDFs is not there yet
        return False
    red, green, blue = shot.getpixel((shot.width * 5 // 8, shot.height // 3))  # type: ignore[misc]
    return red > 240 and green < 30 and blue < 30


def _sent(noctis: Noctis, folder: Path, *instances: object) -> None:
    folder.mkdir()
    paths = []
    for at, made in enumerate(instances):
        paths.append(folder / f"{at}.dcm")
        made.save_as(paths[-1])  # type: ignore[attr-defined]
    received(noctis, paths)


@pytest.mark.tells_of_patients
def test_a_pdf_is_seen_in_a_tab_of_its_own(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    made = document(_pdf())
    _sent(paged, tmp_path / "sent", made)
    page, _ = visit(paged, "viewer")
    page.goto(f"/studies/central/{STUDY}/series/{SERIES}")
    page.get_by_role("link", name="PDF document").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open in a new tab").click()
    wait_for(lambda: _is_red(opened.value), what="the page of the PDF, red")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download the PDF").click()
    assert Path(started.value.path()).read_bytes() == _pdf()
    assert started.value.suggested_filename == f"{made.SOPInstanceUID}.pdf"


@pytest.mark.tells_of_patients
def test_a_video_plays_and_can_be_sought_in(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    page, _ = visit(paged, "viewer")
    page.goto("/login")
    recorded = base64.b64decode(page.evaluate(RECORD))
    assert recorded[4:8] == b"ftyp"
    made = video(recorded)
    _sent(paged, tmp_path / "sent", made)
    page.goto(f"/studies/central/{STUDY}/instances/{made.SOPInstanceUID}")
    shown = page.locator("#video")
    wait_for(lambda: shown.evaluate("video => video.readyState") >= 1, what="the beginning of the video")
    shown.evaluate("video => video.play()")
    wait_for(lambda: shown.evaluate("video => video.currentTime") > 0.3, what="the video to play")
    shown.evaluate("video => { video.pause(); video.currentTime = 0.1; }")
    wait_for(lambda: not shown.evaluate("video => video.seeking"), what="an earlier picture")
    assert shown.evaluate("video => video.videoWidth") == 160


@pytest.mark.tells_of_patients
def test_a_report_leads_to_its_image(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    image = make_instance(study=STUDY, series=SERIES + ".2", number=7)
    report = document(b"")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    report.ConceptNameCodeSequence = [code("18748-4", "LN", "Imaging Report")]
    key = content("IMAGE", "Key image")
    key.ReferencedSOPSequence = [content("")]
    key.ReferencedSOPSequence[0].ReferencedSOPClassUID = image.SOPClassUID
    key.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = image.SOPInstanceUID
    report.ContentSequence = [content("TEXT", "Findings", TextValue="All is well."), key]
    _sent(paged, tmp_path / "sent", image, report)
    page, _ = visit(paged, "viewer")
    page.goto(f"/studies/central/{STUDY}/instances/{report.SOPInstanceUID}")
    expect(page.locator("#item-1\\.1")).to_have_text("Findings: All is well.")
    page.get_by_role("link", name="instance 7").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Instance 7")
