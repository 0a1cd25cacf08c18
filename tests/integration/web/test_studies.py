"""Studies: the list with its search, one study, "complete now"; the page and the API."""

import html
import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from noctis.db.models import AssociationRecord
from noctis.facilities.registry import Registry
from noctis.repository import events, search_finder
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn, tell_listeners
from tests.integration.web.studies import CAME, add_series, add_study

HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def facilities(registry: Registry) -> None:
    registry.add("Central")
    registry.add("North")


def uids(client: TestClient, **asked: Any) -> list[str]:
    answer = client.get("/api/v1/studies", params=asked)
    assert answer.status_code == 200, answer.text
    return [each["study_instance_uid"] for each in answer.json()["studies"]]


@pytest.fixture
def some(site: Site) -> None:
    for number, (slug, name, patient_id, accession, date, description, modalities) in enumerate(
        (
            ("central", "Doe^Jane", "PAT-1", "A-100", "20260101", "CT chest", "CT"),
            ("central", "Kováč^Ľubomír", "PAT-2", "A-101", "20260201", "Brain", "MR\\SR"),
            ("north", "Doe^John", "PAT-1", "B-100", "20260115", "Hand", "CR"),
            ("north", "Yamada^Tarou=山田^太郎", "X/9", "", "", "", ""),
        )
    ):
        add_study(
            site.engine,
            slug,
            f"1.2.3.4.{number}",
            patient_name=name,
            patient_id=patient_id,
            accession_number=accession,
            study_date=date,
            study_description=description,
            modalities=modalities,
            status="receiving" if number == 2 else "complete",
        )


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"q": "doe"}, [2, 0]),
        ({"q": "DO j"}, [2, 0]),
        ({"q": "jane doe"}, [0]),
        ({"q": "oe"}, []),
        ({"q": "kovac"}, [1]),
        ({"q": "KOVÁČ"}, [1]),
        ({"q": "山田"}, [3]),
        ({"q": "pat-1"}, [2, 1, 0]),  # pat and 1, which begins 101
        ({"q": "pat1"}, [2, 0]),
        ({"q": "ct"}, [0]),
        ({"q": "sr brain"}, [1]),
        ({"q": "1.2.3.4.2"}, [2]),
        ({"q": "1.2.3.4.2", "facility": "central"}, []),
        ({"q": "*%_"}, [3, 2, 1, 0]),
        ({"patient": "x9"}, [3]),
        ({"patient": "chest"}, []),
        ({"accession": "a-10"}, [1, 0]),
        ({"accession": "A100"}, [0]),
        ({"accession": "doe"}, []),
        ({"modality": "mr"}, [1]),
        ({"modality": "S"}, []),
        ({"status": "receiving"}, [2]),
        ({"status": "complete", "facility": "north"}, [3]),
        ({"facility": "central"}, [1, 0]),
        ({"from": "2026-01-02"}, [1, 2]),
        ({"from": "20260101", "to": "2026-01-31"}, [2, 0]),
        ({"to": "2026-01-15", "facility": "central", "q": "doe", "modality": "CT", "status": "complete"}, [0]),
    ],
)
def test_filters(admin: TestClient, asked: dict[str, str], found: list[int]) -> None:
    assert uids(admin, **asked) == [f"1.2.3.4.{number}" for number in found]


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize("asked", [{}, {"q": "doe"}, {"q": "j"}, {"facility": "north"}, {"status": "receiving"}])
def test_an_account_of_a_facility_sees_its_own_alone(log_in: LogIn, asked: dict[str, str]) -> None:
    client = log_in("facility", "central")
    if asked.get("facility") == "north":
        assert client.get("/studies", params=asked).status_code == 404
        assert client.get("/api/v1/studies", params=asked).status_code == 404
        return
    assert set(uids(client, **asked)) <= {"1.2.3.4.0", "1.2.3.4.1"}
    assert "1.2.3.4.2" not in client.get("/studies", params=asked).text
    assert client.get("/studies/north/1.2.3.4.2").status_code == 404
    assert client.get("/studies/central/1.2.3.4.2").status_code == 404
    assert client.get("/api/v1/studies/north/1.2.3.4.2/instances").status_code == 404


@pytest.mark.parametrize(
    "asked", [{"status": "lost"}, {"from": "yesterday"}, {"modality": "C T"}, {"older": "x"}, {"newer": "1x"}]
)
def test_what_is_malformed_is_said(admin: TestClient, asked: dict[str, str]) -> None:
    assert admin.get("/api/v1/studies", params=asked).status_code == 422
    assert admin.get("/studies", params=asked).status_code == 422
    assert admin.get("/studies", params=asked, headers=HTMX).status_code == 422


def test_unknown_facilities_are_not_there(admin: TestClient) -> None:
    for slug in ("nowhere", "'"):
        assert admin.get("/api/v1/studies", params={"facility": slug}).status_code == 404


@pytest.mark.parametrize(
    "asked",
    [{}, {"q": "doe"}, {"q": "d"}, {"facility": "central"}, {"from": "2026-01-01"}, {"status": "complete"}],
    ids=str,
)
@pytest.mark.parametrize("gather", [5000, 0])
def test_pages_follow_each_other_in_both_directions(
    site: Site, admin: TestClient, asked: dict[str, str], gather: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_finder, "GATHER", gather)
    monkeypatch.setattr(search_finder, "CHUNK", 3)
    monkeypatch.setattr(search_finder, "SECONDS", 60.0)
    for number in range(12):
        attributes = {"patient_name": "Doe^D", "study_date": f"202601{20 - number % 3:02}"}
        add_study(site.engine, "central" if number % 4 else "north", f"1.2.{number}", **attributes)
    whole = uids(admin, **asked)
    assert len(whole) == (9 if "facility" in asked else 12)
    pages: list[list[str]] = []
    places: list[str | None] = []
    older: str | None = ""
    while older is not None:
        answer = admin.get("/api/v1/studies", params={**asked, "limit": 4, "older": older}).json()
        pages.append([each["study_instance_uid"] for each in answer["studies"]])
        places.append(answer["newer"])
        older = answer["older"]
    assert [uid for page in pages for uid in page] == whole
    assert places[0] is None
    back = admin.get("/api/v1/studies", params={**asked, "limit": 4, "newer": places[2]}).json()
    assert [each["study_instance_uid"] for each in back["studies"]] == pages[1]
    first = admin.get("/api/v1/studies", params={**asked, "limit": 4, "newer": back["newer"]}).json()
    assert [each["study_instance_uid"] for each in first["studies"]] == pages[0]


@pytest.mark.parametrize(
    "asked", [{"q": "doe"}, {"q": "doe", "from": "2026-01-01"}, {"q": "doe", "facility": "central"}]
)
def test_a_search_that_is_given_up_says_so_and_goes_on(
    site: Site, admin: TestClient, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_finder, "GATHER", 0)
    monkeypatch.setattr(search_finder, "ENTRIES", 0)
    monkeypatch.setattr(search_finder, "CHUNK", 2)
    monkeypatch.setattr(search_finder, "WALK", 4)
    monkeypatch.setattr(search_finder.Finder, "_frequent", lambda _self: ())
    for number in range(9):
        name = "Doe" if number in (1, 7) else "Roe"
        add_study(site.engine, "central", f"1.2.{number}", patient_name=name, study_date="20260101")
    found, older, examined = [], "", []
    while older is not None:
        answer = admin.get("/api/v1/studies", params={**asked, "older": older}).json()
        found += [each["study_instance_uid"] for each in answer["studies"]]
        older = answer["older"]
        examined.append(answer["examined"])
    assert found == ["1.2.7", "1.2.1"]
    assert examined == [4, 4, None]
    text = admin.get("/studies", params=asked).text
    assert "among the 4 studies that were looked at" in " ".join(text.split())
    assert "Search older ones" in text


@pytest.mark.usefixtures("some")
def test_the_page_searches_as_it_is_typed(admin: TestClient) -> None:
    page = admin.get("/studies", params={"q": "doe", "from": "2026-01-01"})
    assert page.text.count("<html") == 1
    assert 'value="doe"' in page.text
    assert 'value="2026-01-01"' in page.text
    part = admin.get("/studies", params={"q": "doe", "facility": "", "to": ""}, headers=HTMX)
    assert all(f"from:#{each}" in page.text for each in ("q", "patient", "accession", "modality"))
    assert "<html" not in part.text
    assert part.headers["hx-push-url"] == "/studies?q=doe"
    assert re.findall(r'href="(/studies/[^"?]+)"', part.text) == [
        "/studies/north/1.2.3.4.2",
        "/studies/central/1.2.3.4.0",
    ]
    restored = admin.get("/studies", headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert "<html" in restored.text


def test_a_facility_is_called_by_its_name_and_its_slug_where_it_was_removed(
    site: Site, registry: Registry, admin: TestClient
) -> None:
    registry.add("Zeta & Sons")
    tell_listeners(site)
    for slug, uid in (("zeta-sons", "1.2.1"), ("central", "1.2.2")):
        add_study(site.engine, slug, uid, study_date="20260131", study_time="091500.5")
    page = admin.get("/studies").text
    assert "Zeta &amp; Sons</div>" in page
    study = admin.get("/studies/zeta-sons/1.2.1").text
    assert "<title>Study of 2026-01-31, Zeta &amp; Sons" in study
    assert "09:15:00" in study
    registry.remove("zeta-sons", keep_studies=True)
    tell_listeners(site)
    assert "zeta-sons</div>" in admin.get("/studies").text


def test_rows_are_asked_for_again(site: Site, log_in: LogIn) -> None:
    ours = add_study(site.engine, "central", "1.2.1", status="receiving")
    theirs = add_study(site.engine, "north", "1.2.2")
    text = log_in("admin").get("/studies/rows", params={"ids": f"{theirs}.{ours}.99999"}).text
    assert text.index("1.2.2") < text.index("1.2.1")
    assert "Receiving" in text
    assert "1.2.2" not in log_in("facility", "central").get("/studies/rows", params={"ids": f"{theirs}.{ours}"}).text
    for ids in ("", "x", "1..2", "9" * 19):
        assert log_in("admin").get("/studies/rows", params={"ids": ids}).status_code == 422


NASTY = "<script>alert(1)</script>"


def test_what_a_patient_is_called_does_no_harm(site: Site, admin: TestClient) -> None:
    attributes = dict.fromkeys(("patient_id", "patient_name", "accession_number", "study_description"), NASTY)
    study_id = add_study(site.engine, "central", "1.2.1", study_date="'\"><", modalities="\"'>", **attributes)
    add_series(site.engine, study_id, "1.2.1.1", [NASTY], calling_ae_title="'\"><B>", peer_address=NASTY)
    for path in ("/studies", "/studies/central/1.2.1", f"/studies?q={quote(NASTY)}", f"/studies/rows?ids={study_id}"):
        text = admin.get(path).text
        assert NASTY not in text
        assert html.escape(NASTY, quote=False) in text or "&lt;script&gt;" in text
        assert "'\"><" not in text


@pytest.mark.parametrize(
    "uid", ["1.2.3 4", "a/b", "..", "~5", "x" * 400, "ü%2F?#;&", "\n", "\\", "1.2\x7f", "'\"<b>", "%00", " "]
)
def test_odd_uids_have_their_page(site: Site, admin: TestClient, uid: str) -> None:
    study_id = add_study(site.engine, "central", uid, status="receiving")
    add_series(site.engine, study_id, "1.2.1", ["1"])
    address = re.findall(r'href="(/studies/central/[^"]+)"', admin.get("/studies").text)[0]
    page = admin.get(html.unescape(address))
    assert page.status_code == 200
    assert admin.get("/api/v1" + html.unescape(address)).json()["study_instance_uid"] == uid
    assert admin.post(html.unescape(address) + "/complete").headers["location"] == html.unescape(address)


@pytest.mark.parametrize("part", ["1.2.3", "~", "~0", "~99999999999999999999", "x" * 3000, "%ff", "%ed%a0%80"])
def test_studies_that_are_not_there(admin: TestClient, part: str) -> None:
    for path in (f"/studies/central/{part}", f"/studies/{part}/1.2.3", f"/api/v1/studies/central/{part}/instances"):
        assert admin.get(path).status_code == 404
    assert admin.post(f"/api/v1/studies/central/{part}/complete").status_code == 404


def test_gaps_repeats_and_arrivals(site: Site, admin: TestClient) -> None:
    study_id = add_study(site.engine, "central", "1.2.1", late_instances=1, instances=9)
    add_series(site.engine, study_id, "1.2.1.1", ["1", "2", "5", "5", "7", "", "x"])
    add_series(site.engine, study_id, "1.2.1.2", ["1"], received_at=CAME + timedelta(hours=2), calling_ae_title="CT2")
    ours = {"facility_id": 1, "port": 11113, "called": "CENTRAL", "address": "192.0.2.7", "outcome": "released"}
    times = {"started_at": CAME - timedelta(seconds=5), "ended_at": CAME + timedelta(seconds=10), "instances": 7}
    with site.engine.begin() as connection:
        for number, (calling, hours) in enumerate((("CT1", 0), ("CT2", 0), ("CT1", 5))):
            moved = {name: times[name] + timedelta(hours=hours) for name in ("started_at", "ended_at")}
            row = ours | times | moved | {"calling": calling, "association_id": f"a{number}"}
            connection.execute(insert(AssociationRecord).values(row))
    found = admin.get("/api/v1/studies/central/1.2.1").json()
    first, second = found["series_list"]
    assert first["missing"] == [{"first": 3, "last": 4}, {"first": 6, "last": 6}]
    assert (first["missing_total"], first["repeated"], first["unnumbered"]) == (3, [5], 2)
    assert (second["missing_total"], second["repeated_total"], second["unnumbered"]) == (0, 0, 0)
    arrivals = [(each["calling"], each["instances"], len(each["associations"])) for each in found["arrivals"]]
    assert arrivals == [("CT1", 7, 1), ("CT2", 1, 0)]
    assert found["arrivals"][0]["associations"][0]["association_id"] == "a0"
    text = admin.get("/studies/central/1.2.1").text
    for shown in ("3–4, 6", "after a pause", "a0", "1 late", str(site.home.media)):
        assert shown in text


def test_a_large_study_is_looked_at_after_its_page_is_there(
    site: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noctis.web.pages import studies

    monkeypatch.setattr(studies, "AT_ONCE", 2)
    study_id = add_study(site.engine, "central", "1.2.1", instances=3)
    add_series(site.engine, study_id, "1.2.1.1", ["1", "2", "4"])
    page = admin.get("/studies/central/1.2.1").text
    assert "Looking at 3 instances" in page
    assert "Missing" not in page
    assert "<strong>1</strong>: 3" in admin.get("/studies/central/1.2.1/arrivals").text


def test_where_files_lie_is_not_a_facilitys_business(site: Site, log_in: LogIn) -> None:
    study_id = add_study(site.engine, "central", "1.2.1")
    add_series(site.engine, study_id, "1.2.1.1", ["1"])
    assert str(site.home.media) in log_in("viewer").get("/studies/central/1.2.1").text
    assert str(site.home.media) not in log_in("facility", "central").get("/studies/central/1.2.1").text


def test_complete_now(site: Site, log_in: LogIn) -> None:
    add_study(site.engine, "central", "1.2.1", status="receiving")
    for role in ("viewer", "facility"):
        client = log_in(role, "central" if role == "facility" else None)
        assert client.post("/studies/central/1.2.1/complete").status_code == 403
        assert client.post("/api/v1/studies/central/1.2.1/complete").status_code == 403
        assert "Complete now" not in client.get("/studies/central/1.2.1").text
    operator = log_in("operator")
    assert "Complete now" in operator.get("/studies/central/1.2.1/status").text
    assert operator.post("/studies/central/1.2.1/complete").headers["location"] == "/studies/central/1.2.1"
    (event,) = events.page(site.engine, events.EventFilter(action="study.completed"), 10).rows
    assert (event["actor"], event["subject"], event["facility"]) == ("operator", "1.2.1", "central")
    assert operator.post("/api/v1/studies/central/1.2.1/complete").json()["status"] == "complete"
    assert len(events.page(site.engine, events.EventFilter(action="study.completed"), 10).rows) == 1
    text = operator.get("/studies/central/1.2.1/status").text
    assert "Complete now" not in text
    assert "every 5s" not in text


def test_looking_leaves_an_event_and_no_values(site: Site, admin: TestClient) -> None:
    add_study(site.engine, "central", "1.2.840.1", patient_name="Doe^Jane")
    for text in ("d", "do", "doe"):
        admin.get("/studies", params={"q": text, "facility": "central", "modality": "CT"}, headers=HTMX)
    admin.get("/studies/central/1.2.840.1")
    admin.get("/studies/central/1.2.840.1/status")
    lines = "".join(path.read_text() for path in site.home.journal.glob("*.jsonl"))
    assert lines.count("query.studies") == 1
    assert lines.count('query.study"') == 1
    assert '"fields":["modality","text"],"modality":"CT"' in lines
    assert "doe" not in lines.lower()


def test_instances_come_a_page_at_a_time(site: Site, admin: TestClient) -> None:
    study_id = add_study(site.engine, "central", "1.2.1")
    add_series(site.engine, study_id, "1.2.1.1", ["1", "2", "3"])
    first = admin.get("/api/v1/studies/central/1.2.1/instances", params={"limit": 2}).json()
    second = admin.get("/api/v1/studies/central/1.2.1/instances", params={"limit": 2, "after": first["after"]}).json()
    numbers = [each["instance_number"] for each in first["instances"] + second["instances"]]
    assert numbers == ["1", "2", "3"]
    assert second["after"] is None
    for limit in ("0", "-1", "1001", "x", "9" * 30):
        assert admin.get("/api/v1/studies/central/1.2.1/instances", params={"limit": limit}).status_code == 422
