"""What is no picture: reports with links, documents, videos, waveforms; and downloads in parts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pydicom.data
import pytest
from fastapi.testclient import TestClient
from pydicom import dcmread
from pydicom.dataset import FileDataset

from noctis.archiver.filing import Filer
from noctis.facilities.registry import Registry
from noctis.web import downloads
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn
from tests.integration.web.test_viewer import events
from tests.samples import make_instance
from tests.spooling import Intake, encode
from tests.unit.repository.test_embedded import CDA_CLASS, H264, document, video
from tests.unit.repository.test_report import code, content

ROOT = Path(pydicom.data.__file__).parent / "test_files"
STUDY, SERIES = "1.2.3", "1.2.3.1"
PAGE = f"/studies/central/{STUDY}/instances"
API = f"/api/v1/studies/central/{STUDY}/series/{SERIES}/instances"
DATA = b"%PDF-1.7 " + bytes(range(256)) * 2000


class Files:
    """Files instances at once."""

    def __init__(self, site: Site, intake: Intake) -> None:
        self._site, self._intake = site, intake

    def __call__(self, made: FileDataset, slug: str = "central") -> str:
        """Its SOP Instance UID."""
        syntax = str(made.file_meta.TransferSyntaxUID)
        uid = str(made.SOPInstanceUID)
        entry = self._intake.put(
            encode(made), slug=slug, sop_class=str(made.SOPClassUID), sop_instance=uid, transfer_syntax=syntax
        )
        Filer(self._site.engine, self._site.settings).file([(entry, None)])
        return uid


@pytest.fixture
def file(site: Site, registry: Registry) -> Iterator[Files]:
    registry.add("Central")
    registry.add("North")
    intake = Intake(site.settings)
    yield Files(site, intake)
    intake.close()


# -- documents


def test_a_pdf_is_opened_or_downloaded(file: Files, admin: TestClient) -> None:
    uid = file(document(DATA))
    html = admin.get(f"{PAGE}/{uid}").text
    assert "PDF document" in html
    assert re.search(rf'target="_blank" rel="noopener noreferrer" href="{API}/{uid}/embedded\?inline=true"', html)
    shown = admin.get(f"{API}/{uid}/embedded?inline=true")
    assert (shown.status_code, shown.content) == (200, DATA)
    assert shown.headers["content-type"] == "application/pdf"
    assert shown.headers["content-disposition"] == f'inline; filename="{uid}.pdf"'
    assert shown.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert shown.headers["x-content-type-options"] == "nosniff"
    saved = admin.get(f"{API}/{uid}/embedded")
    assert saved.content == DATA
    assert saved.headers["content-disposition"] == f'attachment; filename="{uid}.pdf"'


@pytest.mark.parametrize("sop_class", [CDA_CLASS, "1.2.840.10008.5.1.4.1.1.104.1"])
def test_a_document_that_a_browser_might_run_is_never_shown(sop_class: str, file: Files, admin: TestClient) -> None:
    uid = file(document(b"<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>", sop_class))
    assert "inline=true" not in admin.get(f"{PAGE}/{uid}").text
    answer = admin.get(f"{API}/{uid}/embedded?inline=true")
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_what_wraps_nothing_says_so(file: Files, admin: TestClient) -> None:
    uid = file(make_instance(study=STUDY, series=SERIES))
    answer = admin.get(f"{API}/{uid}/embedded")
    assert (answer.status_code, answer.json()["detail"]) == (404, "download its file")
    broken = document(b"%PDF")
    del broken.EncapsulatedDocument
    assert "cannot be had by itself" in admin.get(f"{PAGE}/{file(broken)}").text


def test_a_document_of_another_facility_is_nobodys(file: Files, log_in: LogIn) -> None:
    uid = file(document(DATA), "north")
    assert log_in("facility", "central").get(f"{API.replace('central', 'north')}/{uid}/embedded").status_code == 404
    assert log_in("facility", "north").get(f"{API.replace('central', 'north')}/{uid}/embedded").status_code == 200


# -- videos


def test_a_video_that_a_browser_can_play_plays(file: Files, admin: TestClient) -> None:
    uid = file(video(b"\0\0\0\x18ftypmp42" + bytes(500)))
    assert f'<video class="viewer-video" id="video" controls preload="metadata" src="{API}/{uid}/embedded' in (
        admin.get(f"{PAGE}/{uid}").text
    )
    part = admin.get(f"{API}/{uid}/embedded?inline=true", headers={"Range": "bytes=4-11"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"ftypmp42", "video/mp4")


def test_a_bare_stream_is_downloaded(file: Files, admin: TestClient) -> None:
    stream = b"\0\0\0\1\x67" * 100
    uid = file(video(stream, H264, 3))
    html = admin.get(f"{PAGE}/{uid}").text
    assert "<video" not in html
    assert "which browsers do not play" in html
    answer = admin.get(f"{API}/{uid}/embedded?inline=true")
    assert answer.content.rstrip(b"\0") == stream
    assert answer.headers["content-disposition"] == f'attachment; filename="{uid}.h264"'
    for first in (0, 100, 167, 168, 169, 300, 499):
        got = admin.get(f"{API}/{uid}/embedded", headers={"Range": f"bytes={first}-{first + 180}"})
        assert got.content == answer.content[first : first + 181], first


# -- waveforms and reports


def test_waveforms_are_told_in_a_sentence(file: Files, admin: TestClient) -> None:
    made = dcmread(ROOT / "waveform_ecg.dcm")
    uid = file(made)
    html = admin.get(f"/studies/central/{made.StudyInstanceUID}/instances/{uid}").text
    assert "RHYTHM: 12 channels, 10 s at 1000 Hz, 10000 samples each: Lead I (Einthoven), Lead II" in html


def test_a_report_refers_to_what_is_in_its_own_study(file: Files, admin: TestClient) -> None:
    there = file(make_instance(study=STUDY, series=SERIES, number=7))
    other_study = file(make_instance(study="1.2.99", series="1.2.99.1"))
    elsewhere = file(make_instance(study=STUDY, series=SERIES), "north")
    items = []
    for uid in (there, other_study, elsewhere):
        item = content("IMAGE", "Key image")
        reference = make_reference(uid)
        item.ReferencedSOPSequence = [reference]
        items.append(item)
    items.append(content("TEXT", "<b>Findings</b>", TextValue="<script>alert(1)</script>\nwell"))
    items.append(content("PNAME", "Person", PersonName="Kestrel^Nora^^Dr."))
    items.append(content("CODE", "Finding", ConceptCodeSequence=[code("F-1", "SRT", "Nodule")]))
    made = document(b"")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    made.ValueType, made.ContentSequence = "CONTAINER", items
    made.CompletionFlag, made.VerificationFlag = "PARTIAL", "UNVERIFIED"
    html = admin.get(f"{PAGE}/{file(made)}").text
    assert f'<a href="{PAGE}/{there}">instance 7</a>' in html
    for uid in (other_study, elsewhere):
        assert f"instances/{uid}" not in html
        assert f'{uid}</span> <span class="viewer-code">(not in this study here)' in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\nwell" in html
    assert "<b>Findings" not in html
    assert "Kestrel, Nora Dr." in html
    assert "(F-1, SRT)" in html
    assert "Partial, unverified" in html


def make_reference(uid: str) -> FileDataset:
    from pydicom.dataset import Dataset

    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    return made  # type: ignore[return-value]


def test_a_key_object_selection_is_read_as_a_report(file: Files, admin: TestClient) -> None:
    made = document(b"")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.59"
    made.ConceptNameCodeSequence = [code("113000", "DCM", "Of Interest")]
    made.ContentSequence = [content("TEXT", "Description", TextValue="look here")]
    html = admin.get(f"{PAGE}/{file(made)}").text
    assert "Of Interest" in html
    assert "look here" in html


# -- in parts


def test_a_download_that_broke_off_goes_on(file: Files, admin: TestClient, site: Site) -> None:
    uid = file(make_instance(study=STUDY, series=SERIES))
    at = f"{API}/{uid}/file"
    whole = admin.get(at)
    assert whole.headers["accept-ranges"] == "bytes"
    tag = whole.headers["etag"]
    events(site)
    rest = admin.get(at, headers={"Range": "bytes=100-", "If-Range": tag})
    assert (rest.status_code, whole.content[:100] + rest.content) == (206, whole.content)
    length = len(whole.content)
    assert rest.headers["content-range"] == f"bytes 100-{length - 1}/{length}"
    assert rest.headers["content-length"] == str(length - 100)
    assert events(site) == []  # it was told when it began
    assert admin.get(at, headers={"Range": "bytes=-5"}).content == whole.content[-5:]
    changed = admin.get(at, headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    past = admin.get(at, headers={"Range": f"bytes={length}-"})
    assert (past.status_code, past.headers["content-range"], past.content) == (416, f"bytes */{length}", b"")
    known = admin.get(at, headers={"If-None-Match": tag})
    assert (known.status_code, known.content) == (304, b"")
    for _ in range(downloads.ACCOUNT_MAX + 1):  # none of them keeps a place
        assert admin.get(at, headers={"Range": "bytes=5-6"}).content == whole.content[5:7]


def test_a_head_says_what_a_get_would(file: Files, admin: TestClient, site: Site) -> None:
    uid = file(document(DATA))
    for what in ("file", "embedded", "embedded?inline=true"):
        got = admin.get(f"{API}/{uid}/{what}")
        events(site)
        for _ in range(downloads.ACCOUNT_MAX + 1):
            head = admin.head(f"{API}/{uid}/{what}", headers={"Range": "bytes=0-5"})
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "content-type", "etag", "accept-ranges", "content-disposition"):
            assert head.headers[name] == got.headers[name], name
        assert events(site) == []
    assert admin.head(f"{API}/9.9/file").status_code == 404


def test_another_version_of_an_instance_has_another_tag(file: Files, admin: TestClient) -> None:
    one, other = (file(make_instance(study=STUDY, series=SERIES)) for _ in range(2))
    tags = {admin.head(f"{API}/{uid}/file").headers["etag"] for uid in (one, other)}
    tags.add(admin.head(f"{API}/{file(document(DATA))}/embedded").headers["etag"])
    assert len(tags) == 3
