"""The quarantine: looked at, compared, released into whatever facility, discarded; one by one and many at once."""

import html
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from noctis.archiver.filing import file_spool_once
from noctis.db import models
from noctis.facilities.registry import Registry
from noctis.repository import quarantine_rows
from noctis.repository.quarantine import Quarantine
from noctis.web.site import Site
from tests.books import assert_true, rows
from tests.integration.web.conftest import LogIn, tell_listeners
from tests.spooling import Intake
from tests.support import wait_for

EVIL = "<script>alert(1)</script>^Jane"
UID = "1.2.826.7"


@pytest.fixture
def intake(site: Site, registry: Registry) -> Any:
    """Two facilities, and a conflict in central."""
    registry.add("Central", ae_title="CENTRAL")
    registry.add("North", ae_title="NORTH")
    tell_listeners(site)
    made = Intake(site.settings)
    conflict(site, made, UID)
    yield made
    made.close()


def conflict(site: Site, intake: Intake, uid: str, slug: str = "central") -> None:
    intake.instance(slug=slug, sop_instance=uid)
    intake.instance(slug=slug, sop_instance=uid, name=EVIL)
    file_spool_once(site.settings, engine=site.engine)


def unreadable(site: Site, intake: Intake, slug: str = "central") -> None:
    intake.put(b"\xff" * 64, slug=slug)
    file_spool_once(site.settings, engine=site.engine)


def listed(client: TestClient, **query: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/quarantine", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


@pytest.mark.tells_of_patients
def test_a_conflict_is_compared_and_resolved(site: Site, intake: Intake, log_in: LogIn) -> None:
    client = log_in("operator")
    (item,) = listed(client)
    assert (item["reason"], item["sop_class"], item["calling_ae_title"]) == ("conflict", "CT Image Storage", "CT1")
    address = f"/quarantine/central/{item['name']}"
    assert f'href="{address}"' in client.get("/quarantine").text
    page = client.get(address).text
    assert "1 element differs" in page
    assert html.escape(EVIL) in page
    assert EVIL not in page
    found = client.get(f"/api/v1{address}/differences").json()
    (difference,) = found["different"]
    assert (difference["kind"], difference["keyword"]) == ("changed", "PatientName")
    assert difference["quarantined"]["value"] == EVIL
    assert found["same"] > 10
    assert found["filed"]["sop_instance_uid"] == UID
    refused = client.post(f"/api/v1{address}/release", json={})
    assert (refused.status_code, "--replace" in refused.json()["detail"]) == (409, True)
    again = client.post(f"{address}/release", data={})
    assert (again.status_code, "is filed in central" in again.text) == (409, True)
    assert (
        client.post(f"{address}/release", data={"replace": "true"}).headers["location"] == "/quarantine?done=released"
    )
    (other,) = listed(client)
    assert other["name"] != item["name"]
    assert_true(site.engine, site.settings)
    events = client.get("/api/v1/events", params={"what": "quarantine.", "who": "operator"}).json()["items"]
    assert [(each["action"], each["detail"]["outcome"]) for each in events] == [("quarantine.released", "replaced")]


@pytest.mark.tells_of_patients
def test_what_cannot_be_filed_is_shown_as_far_as_it_goes(site: Site, intake: Intake, admin: TestClient) -> None:
    unreadable(site, intake)
    (item,) = listed(admin, reason="unparseable")
    address = f"/quarantine/central/{item['name']}"
    page = admin.get(address).text
    assert "It cannot be filed as it is" in page
    assert "noctis import central COPY" in page
    assert 'id="release"' not in page
    shown = admin.get(f"/api/v1{address}").json()
    assert "problem" in shown["target"]
    assert admin.get(f"/api/v1{address}/differences").json()["filed"] is None
    elements = admin.get(f"{address}/elements").text
    assert "(0002,0010)" in elements
    assert "The list ends here" in elements
    refused = admin.post(f"/api/v1{address}/release")
    assert (refused.status_code, "noctis import central COPY" in refused.json()["detail"]) == (422, True)
    found = admin.get(f"{address}/elements", params={"q": "transfer syntax"}).text
    assert "(0002,0010)" in found
    assert "(0002,0002)" not in found


def test_discarding_wants_to_be_sure(site: Site, intake: Intake, admin: TestClient) -> None:
    (item,) = listed(admin)
    address = f"/quarantine/central/{item['name']}"
    assert admin.post(f"{address}/discard", data={}).status_code == 422
    assert len(listed(admin)) == 1
    assert admin.post(f"{address}/discard", data={"sure": "true"}).status_code == 303
    assert listed(admin) == []
    assert admin.get(address).status_code == 404
    assert admin.post(f"/api/v1{address}/discard").status_code == 404


def test_into_another_facility(site: Site, intake: Intake, log_in: LogIn) -> None:
    client, operator = log_in("admin"), log_in("operator")
    (item,) = listed(client)
    address = f"/api/v1/quarantine/central/{item['name']}"
    both = {"into": "north", "out_of": "central"}
    assert operator.post(f"{address}/release", json=both).status_code == 403
    assert 'id="into"' not in operator.get(address.removeprefix("/api/v1")).text
    assert client.post(f"{address}/release", json={"into": "north"}).status_code == 422
    assert client.post(f"{address}/release", json={"into": "north", "out_of": "north"}).status_code == 422
    assert client.post(f"{address}/release", json={"into": "nobody", "out_of": "central"}).status_code == 404
    answer = client.post(f"{address}/release", json=both)
    assert answer.json() | {"path": ""} == {"outcome": "filed", "facility": "north", "path": ""}
    assert answer.json()["path"].startswith("north/")
    assert listed(client) == []
    assert_true(site.engine, site.settings)
    events = client.get("/api/v1/events", params={"what": "quarantine.", "who": "admin"}).json()["items"]
    assert {(each["action"], each["facility"]) for each in events} == {
        ("quarantine.released", "central"),
        ("quarantine.taken_over", "north"),
    }


def test_a_facilitys_account_sees_its_own_and_changes_nothing(site: Site, intake: Intake, log_in: LogIn) -> None:
    conflict(site, intake, "1.2.826.8", slug="north")
    (central, north) = sorted(listed(log_in("admin")), key=lambda each: each["facility"])
    client = log_in("facility", "central")
    assert [each["facility"] for each in listed(client)] == ["central"]
    assert north["name"] not in client.get("/quarantine").text
    assert client.get("/api/v1/quarantine", params={"facility": "north"}).status_code == 404
    assert client.get("/quarantine", params={"facility": "north"}).status_code == 404
    for name in (north["name"], central["name"]):
        for part in ("", "/elements"):
            assert client.get(f"/quarantine/north/{name}{part}").status_code == 404
        for part in ("", "/differences"):
            assert client.get(f"/api/v1/quarantine/north/{name}{part}").status_code == 404
    own = f"/quarantine/central/{central['name']}"
    assert client.get(own).status_code == client.get(f"{own}/elements").status_code == 200
    for path in (f"{own}/release", f"{own}/discard", "/quarantine/many"):
        assert client.post(path, data={"sure": "true", "action": "discard"}).status_code == 403
    for path in (f"/api/v1{own}/release", f"/api/v1{own}/discard"):
        assert client.post(path, json={}).status_code == 403
    viewer = log_in("viewer")
    assert 'id="discard"' not in viewer.get(own).text
    assert viewer.post(f"/api/v1{own}/discard").status_code == 403


@pytest.mark.parametrize(
    "name",
    ["..%2Fnorth%2Fx.dcm", "%2E%2E", "x.dcm", "..%5Cx.dcm", "a%00.dcm", "%ff.dcm", "link.dcm", "n" * 196 + ".dcm"],
)
def test_a_name_is_never_a_path(name: str, site: Site, intake: Intake, admin: TestClient) -> None:
    secret = site.home.root / "secret.dcm"
    secret.write_bytes(b"\0" * 128 + b"DICM")
    (site.home.quarantine / "central" / "link.dcm").symlink_to(secret)
    for path in (f"/quarantine/central/{name}", f"/quarantine/central/{name}/elements"):
        assert admin.get(path).status_code in (400, 404, 422)
        assert admin.get(f"/api/v1{path}").status_code in (400, 404, 422)
    assert admin.post(f"/api/v1/quarantine/central/{name}/discard").status_code in (400, 404, 405, 422)
    assert secret.exists()


def test_a_row_that_names_a_path_leads_nowhere(site: Site, intake: Intake, admin: TestClient) -> None:
    """Whoever can write into the database still cannot make the pages read another file."""
    from datetime import UTC, datetime

    from sqlalchemy import insert

    site.quarantine.refresh()
    with site.engine.begin() as connection:
        values = {"facility_id": 1, "name": "..", "reason": "conflict", "received_at": datetime.now(UTC)}
        connection.execute(insert(models.Quarantined), values)
    site.quarantine._seen = site.quarantine._stamps()  # as if nothing had changed: the row stays for now
    assert admin.get("/api/v1/quarantine/central/%2E%2E").status_code == 404


def _done(client: TestClient, page: str, count: int) -> str:
    text = client.get(page).text
    return text if f"{count} of {count} done." in text else ""


def test_many_at_once(site: Site, intake: Intake, log_in: LogIn) -> None:
    client = log_in("operator")
    for number in range(5):
        conflict(site, intake, f"1.2.826.9.{number}")
    unreadable(site, intake)
    items = listed(client)
    assert len(items) == 7
    chosen = [f"central/{each['name']}" for each in items]
    asked = client.post("/quarantine/many", data={"action": "replace", "item": chosen})
    assert (asked.status_code, "<strong>7</strong> instances" in asked.text) == (200, True)
    started = client.post("/quarantine/many", data={"action": "replace", "item": chosen, "sure": "true"})
    assert started.status_code == 303
    page = started.headers["location"]
    done = wait_for(lambda: _done(client, page, 7), what="the work")
    assert '<dt class="col-4">replaced</dt><dd class="col-8">6</dd>' in done
    assert '<dt class="col-4">failed</dt><dd class="col-8">1</dd>' in done
    assert "cannot be filed" in done
    assert log_in("admin").get(page).status_code == 404  # somebody else's
    assert_true(site.engine, site.settings)
    data = {"action": "discard", "everything": "true", "sure": "true", "back": "reason=conflict"}
    page = client.post("/quarantine/many", data=data).headers["location"]
    wait_for(lambda: _done(client, page, 6), what="the work")
    assert [each["reason"] for each in listed(client)] == ["unparseable"]
    for wrong in ({"action": "burn"}, {"action": "discard"}, {}):
        assert client.post("/quarantine/many", data=wrong).status_code == 422
    page = client.post("/quarantine/many", data={"action": "discard", "back": "facility=central"}).text
    assert "nothing is chosen" in page
    assert 'id="quarantine"' in page  # the list, so that one can choose


def test_filters_and_pages(site: Site, intake: Intake, admin: TestClient) -> None:
    conflict(site, intake, "1.2.826.8", slug="north")
    unreadable(site, intake)
    assert len(listed(admin)) == 3
    assert [each["facility"] for each in listed(admin, facility="north")] == ["north"]
    assert len(listed(admin, reason="conflict")) == 2
    assert [each["sop_instance_uid"] for each in listed(admin, q="1.2.826.8")] == ["1.2.826.8"]
    assert len(listed(admin, q="ct1")) == 3
    assert listed(admin, until="2020-01-01") == []
    names, after = [], ""
    while after is not None:
        page = admin.get("/api/v1/quarantine", params={"limit": 1} | ({"after": after} if after else {})).json()
        names += [each["name"] for each in page["items"]]
        after = page["next"]
    assert len(set(names)) == len(names) == 3
    assert admin.get("/api/v1/quarantine", params={"reason": "x"}).status_code == 422
    assert admin.get("/api/v1/quarantine", params={"since": "x"}).status_code == 422
    assert admin.get("/api/v1/quarantine", params={"facility": "nobody"}).status_code == 404
    wrong = admin.get("/quarantine", params={"reason": "x"})
    assert (wrong.status_code, "there is no such reason" in wrong.text) == (200, True)


def test_the_table_is_made_true_when_a_folder_has_changed_and_not_else(
    site: Site, intake: Intake, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = quarantine_rows.sync

    def sync(*arguments: Any) -> int:
        synced.append(1)
        return real(*arguments)

    monkeypatch.setattr(quarantine_rows, "sync", sync)
    folder = site.home.quarantine / "central"
    os.utime(folder, (1, 1))
    listed(admin)
    listed(admin)
    assert len(synced) == 1
    Path(folder / "hand.dcm").write_bytes(b"by hand")
    assert len(listed(admin)) == 2
    assert "the note beside the file is missing" in str(listed(admin, q="hand"))


def test_looking_leaves_an_event_without_what_was_typed(site: Site, intake: Intake, admin: TestClient) -> None:
    from noctis.archiver.ledger import write_ledgers

    assert listed(admin, q="Doe") == []
    (item,) = listed(admin)
    admin.get(f"/quarantine/central/{item['name']}")
    write_ledgers(site.engine, site.home.journal)
    told = {row["action"]: row["detail"] for row in rows(site.engine, models.Event) if row["actor"] == "admin"}
    assert {"fields": ["q"]} in [row["detail"] for row in rows(site.engine, models.Event)]
    assert told["query.quarantined"] == {"fields": ["name"]}
    assert Quarantine(site.home.quarantine).count("central") == 1
