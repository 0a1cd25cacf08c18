"""The viewer's pages and its API: pictures, elements, and who may have them (downloads: `test_downloads`)."""

import io
import json
import re
import zipfile
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from noctis.archiver.filing import Filer
from noctis.db.engine import reading
from noctis.db.models import Instance, Series, Study
from noctis.facilities.registry import Registry
from noctis.repository.journal import take
from noctis.web import effort
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn
from tests.integration.web.viewed import API, NAME, SERIES, STUDY, file_of
from tests.samples import storable_files
from tests.spooling import Intake, encode


def picture(number: int = 1) -> str:
    return f"{API}/series/{SERIES}/instances/{SERIES}.{number}/frames/1.png"


def events(site: Site) -> list[dict[str, Any]]:
    found = []
    for path, records in take(site.home.journal):
        found += [each for each in records if each["kind"] == "event"]
        path.unlink()
    return found


# -- pictures


@pytest.mark.usefixtures("filed")
def test_a_frame_is_a_picture_that_says_what_it_is(admin: TestClient) -> None:
    answer = admin.get(picture())
    assert (answer.status_code, answer.headers["content-type"], answer.content[:4]) == (200, "image/png", b"\x89PNG")
    info = json.loads(answer.headers["Noctis-Frame"])
    assert (info["rows"], info["columns"], info["grey"]) == (16, 16, True)
    windowed = admin.get(picture(), params={"center": 40, "width": 400})
    assert windowed.content != answer.content
    jpeg = admin.get(picture().replace(".png", ".jpg"))
    assert (jpeg.headers["content-type"], jpeg.content[:2]) == ("image/jpeg", b"\xff\xd8")
    small = admin.get(f"{API}/series/{SERIES}/thumbnail.png")
    assert small.status_code == 200


def test_a_browser_keeps_what_it_got_for_its_session_alone(filed: Site, admin: TestClient) -> None:
    first = admin.get(picture())
    assert (first.headers["vary"], first.headers["cache-control"]) == ("Cookie", "private, no-cache")
    again = admin.get(picture(), headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    listed = admin.get(f"{API}/series/{SERIES}/instances").json()["instances"][0]
    named = admin.get(picture(), params={"v": listed["digest"]})
    assert named.headers["cache-control"] == "private, max-age=600"
    assert admin.get(picture(), params={"v": "another"}).headers["cache-control"] == "private, no-cache"


def test_a_frame_is_decoded_once(filed: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = admin.get(picture())
    monkeypatch.setattr(filed.frames, "picture", None)
    assert admin.get(picture()).content == first.content


@pytest.mark.usefixtures("filed")
def test_what_cannot_be_meant_is_refused(admin: TestClient) -> None:
    for query, status in (
        ({"center": "40"}, 422),
        ({"center": "nan", "width": "inf"}, 422),
        ({"center": "1", "width": "0"}, 422),
        ({"center": "1e400", "width": "1"}, 422),
        ({"size": "99999999999999999999"}, 422),
        ({"size": "-1"}, 422),
        ({"v": "x" * 100}, 422),
        ({"center": "-1e9", "width": "1e-300"}, 200),
    ):
        assert admin.get(picture(), params=query).status_code == status, query
    for place in ("0", "-1", "2", "1000001", "x", "1e3", "%00"):
        assert admin.get(picture().replace("/1.png", f"/{place}.png")).status_code in (400, 404, 422), place


@pytest.mark.usefixtures("filed")
def test_uids_of_nobody(admin: TestClient) -> None:
    for uid in ("%00", "1.2.3%00", "%2e%2e", "1.2%27%20OR%201=1", "%ed%a0%80", "x" * 3000):
        for path in (
            f"/studies/central/{uid}/series/{SERIES}",
            f"/studies/central/{STUDY}/series/{uid}",
            f"/studies/central/{STUDY}/instances/{uid}",
            f"{API}/series/{uid}/archive.zip",
            f"/api/v1/studies/central/{uid}/archive.zip",
            f"/api/v1/studies/{uid}/{STUDY}/archive.zip",
            f"{API}/series/{SERIES}/instances/{uid}/frames/1.png",
            f"{API}/series/{uid}/instances",
            f"{API}/series/{uid}/thumbnail.png",
        ):
            assert admin.get(path).status_code in (400, 404), path


def test_a_broken_frame_is_a_reason_and_a_placeholder_that_has_it(filed: Site, admin: TestClient) -> None:
    path = file_of(filed, 1)
    path.write_bytes(path.read_bytes()[:-100])
    answer = admin.get(picture())
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "cannot be decoded" in answer.json()["title"]
    instead = admin.get(picture(), params={"placeholder": "true"})
    assert (instead.status_code, instead.headers["content-type"]) == (200, "image/svg+xml")
    assert "cannot be decoded" in unquote(instead.headers["Noctis-Reason"])
    path.unlink()
    assert "not in the archive" in admin.get(picture()).json()["title"]
    assert "not in the archive" in unquote(admin.get(picture(), params={"placeholder": 1}).headers["Noctis-Reason"])


def test_when_all_decoders_are_busy_one_comes_again(filed: Site, admin: TestClient) -> None:
    filed.frames.close()
    answer = admin.get(picture())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


# -- the pages


def test_a_series_in_the_order_of_its_numbers(filed: Site, admin: TestClient) -> None:
    listed = admin.get(f"{API}/series/{SERIES}/instances").json()
    assert [each["instance_number"] for each in listed["instances"]] == ["1", "2", "3"]
    page = admin.get(f"{API}/series/{SERIES}/instances", params={"offset": 1, "limit": 1}).json()
    assert (page["total"], [each["instance_number"] for each in page["instances"]]) == (3, ["2"])
    html = admin.get(f"/studies/central/{STUDY}/series/{SERIES}").text
    assert "3 instances" in html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


@pytest.mark.usefixtures("filed")
def test_elements_with_search(admin: TestClient) -> None:
    page = f"/studies/central/{STUDY}/instances/{SERIES}.1"
    html = admin.get(page).text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;^Zoë" in html
    assert "<script>alert" not in html
    for search in ("PatientName", "0010,0010", "(0010,0010)", "00100010", "zoë", "patient's name"):
        found = admin.get(page, params={"q": search}).text
        assert "(0010,0010)" in found, search
        assert "(0008,0060)" not in found, search
    assert "0 elements" in admin.get(page, params={"q": "<b>nothing</b>"}).text
    fragment = admin.get(page, params={"q": "modality"}, headers={"HX-Request": "true"}).text
    assert fragment.lstrip().startswith('<div id="elements"')
    elements = admin.get(f"{API}/series/{SERIES}/instances/{SERIES}.1/elements", params={"q": "PatientName"}).json()
    assert [(each["path"], each["value"]) for each in elements["elements"]] == [("(0010,0010)", NAME)]
    assert admin.get(f"{page}/value", params={"path": "(7FE0,0010)"}).status_code == 200
    assert admin.get(f"{page}/value", params={"path": "(7FE0,0099)"}).status_code == 404
    assert admin.get(f"/studies/central/{STUDY}/series/{SERIES}/instances/{SERIES}.1").headers["location"] == page


def test_a_report_is_text(site: Site, registry: Registry, admin: TestClient) -> None:
    registry.add("Central")
    intake = Intake(site.settings)
    sample = next(each for each in storable_files() if each.path.name == "test-SR.dcm")
    entry = intake.put(sample.data_set(), sop_class=sample.sop_class_uid, sop_instance=sample.sop_instance_uid)
    Filer(site.engine, site.settings).file([(entry, None)])
    intake.close()
    html = admin.get(f"/studies/central/{sample.study_instance_uid}/instances/{sample.sop_instance_uid}").text
    assert "The report" in html
    series = html.split("/series/")[1].split('"')[0]
    listed = admin.get(f"/api/v1/studies/central/{sample.study_instance_uid}/series/{series}/instances").json()
    assert listed["instances"][0]["no_image"] == "Structured report"
    at = f"/api/v1/studies/central/{sample.study_instance_uid}/series/{series}"
    assert admin.get(f"{at}/thumbnail.png").json()["title"] == "Structured report"
    assert admin.get(f"{at}/thumbnail.png?placeholder=1").headers["Noctis-Reason"] == "Structured%20report"


def test_elements_are_read_for_a_few_at_a_time(filed: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "WAIT_SECONDS", 0.01)
    page, value = f"/studies/central/{STUDY}/instances/{SERIES}.1", "value?path=(0010,0010)"
    for path in (page, f"{page}/{value}", f"{API}/series/{SERIES}/instances/{SERIES}.1/elements"):
        with filed.effort.of("a"), filed.effort.of("b"):
            answer = admin.get(path)
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert admin.get(path).status_code == 200


# -- whose it is


@pytest.mark.usefixtures("filed")
def test_the_same_uids_in_two_facilities_are_two_things(log_in: LogIn) -> None:
    north = log_in("facility", "north")
    at = f"/api/v1/studies/north/{STUDY}"
    listed = north.get(f"{at}/series/{SERIES}/instances").json()["instances"]
    assert [each["sop_instance_uid"] for each in listed] == [f"{SERIES}.9"]
    with zipfile.ZipFile(io.BytesIO(north.get(f"{at}/archive.zip").content)) as archive:
        assert archive.namelist() == [f"{SERIES}/{SERIES}.9.dcm"]
    for path in (picture(), f"{API}/archive.zip", f"/studies/central/{STUDY}/series/{SERIES}"):
        assert north.get(path).status_code == 404, path
    assert north.get(f"{at}/series/{SERIES}/instances/{SERIES}.1/frames/1.png").status_code == 404
    assert north.get(f"/studies/north/{STUDY}/instances/{SERIES}.1").status_code == 404


@pytest.mark.usefixtures("filed")
def test_what_is_cached_is_not_for_everybody(admin: TestClient, log_in: LogIn) -> None:
    tag = admin.get(picture()).headers["etag"]
    assert log_in("facility", "north").get(picture(), headers={"If-None-Match": tag}).status_code == 404


def test_who_looked_is_told_once_for_a_page(filed: Site, log_in: LogIn) -> None:
    client = log_in("viewer")
    events(filed)
    client.get(f"/studies/central/{STUDY}/series/{SERIES}")
    for number in (1, 2, 3):
        client.get(picture(number))
    client.get(f"/studies/central/{STUDY}/instances/{SERIES}.1", params={"q": "Doe"})
    client.get(f"{API}/series/{SERIES}/instances/{SERIES}.1/file")
    client.get(f"{API}/archive.zip")
    found = [(each["actor"], each["action"], each["slug"], each["detail"]) for each in events(filed)]
    study = {"study_instance_uid": STUDY}
    both, one = ["series_instance_uid", "study_instance_uid"], ["sop_instance_uid", "study_instance_uid"]
    instance = {"fields": one, "sop_instance_uid": f"{SERIES}.1", **study}
    assert found == [
        ("viewer", "query.instance", "central", {"fields": both, "series_instance_uid": SERIES, **study}),
        ("viewer", "query.instance", "central", instance),
        ("viewer", "instance.downloaded", "central", instance),
        ("viewer", "study.downloaded", "central", {"fields": ["study_instance_uid"], **study}),
    ]


def test_slices_without_numbers_lie_along_their_normal(site: Site, registry: Registry, admin: TestClient) -> None:
    from tests.samples import make_instance

    registry.add("Central")
    intake = Intake(site.settings)
    entries = []
    for name, height in (("b", 20), ("c", 30), ("a", -10.5)):
        made = make_instance(study=STUDY, series=SERIES, sop_instance=f"{SERIES}.{ord(name)}")
        made.InstanceNumber = None
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient = [0, 0, height]
        entries.append(intake.put(encode(made), sop_instance=made.SOPInstanceUID))
    Filer(site.engine, site.settings).file([(each, None) for each in entries])
    intake.close()
    listed = admin.get(f"{API}/series/{SERIES}/instances").json()["instances"]
    assert [chr(int(each["sop_instance_uid"].rsplit(".", 1)[1])) for each in listed] == ["a", "b", "c"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_that_no_address_can_hold_have_one_all_the_same(site: Site, registry: Registry, admin: TestClient) -> None:
    registry.add("Central")
    intake = Intake(site.settings)
    odd = {"study": "1/../2", "series": "a?b#c", "sop_instance": "~1%2f/x"}
    spooled = intake.instance(**odd)
    Filer(site.engine, site.settings).file([(spooled.entry, None)])
    intake.close()
    (study,) = site_rows(site, Study.id)
    (series,) = site_rows(site, Series.id)
    (number,) = site_rows(site, Instance.id)
    api = f"/api/v1/studies/central/~{study}"
    (found,) = admin.get(f"{api}/series/~{series}/instances").json()["instances"]
    assert (found["sop_instance_uid"], found["address"]) == (odd["sop_instance"], f"~{number}")
    assert admin.get(f"{api}/series/~{series}/instances/~{number}/frames/1.png").status_code == 200
    with zipfile.ZipFile(io.BytesIO(admin.get(f"{api}/archive.zip").content)) as archive:
        (name,) = archive.namelist()
    assert re.fullmatch(r"uid-[0-9a-f]{32}/uid-[0-9a-f]{32}\.dcm", name)
    page = admin.get(f"/studies/central/~{study}/series/~{series}")
    assert f"/studies/central/~{study}/instances/~{number}" in page.text
    assert admin.get(f"/studies/central/~{study}/instances/~{number}").status_code == 200
    assert admin.get(f"/studies/central/~{study}/instances/~{number + 1}").status_code == 404


def site_rows(site: Site, column: Any) -> list[Any]:
    with reading(site.engine) as connection:
        return list(connection.scalars(select(column)))
