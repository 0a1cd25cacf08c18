"""Facilities: the doors, one facility's page, its devices; who may see and do what."""

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from noctis.db import models
from noctis.errors import DatabaseError
from noctis.facilities.records import parse_device
from noctis.facilities.registry import Registry
from noctis.repository import counts
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn, tell_listeners
from tests.integration.web.supervisors import Supervisor

EVIL = "<script>alert(1)</script>"
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def _anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept for a second here: each look is a new one."""
    for cache in (site.doors._overview, site.doors._ledger, site.doors._live, site.doors._usage):
        monkeypatch.setattr(cache, "_seconds", 0)
        monkeypatch.setattr(cache, "_kept", 0)


@pytest.fixture
def supervisor(site: Site) -> Supervisor:
    return Supervisor(site)


@pytest.fixture
def two(registry: Registry, site: Site) -> None:
    """Central and North, which the listeners know."""
    registry.add("Central", devices=[parse_device("CT_1@10.0.0.0/8")])
    registry.add(f"North {EVIL}", ae_title="\"N'ORTH<b>")
    tell_listeners(site)


def put(site: Site, model: type[models.Base], **values: Any) -> None:
    with site.engine.begin() as connection:
        connection.execute(insert(model).values(**values))


def actions(site: Site) -> list[tuple[str, str]]:
    with site.engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(models.Event.__table__.select().order_by(models.Event.id))
        return [(row.actor, row.action) for row in rows]


# -- the doors


def test_without_a_supervisor_the_page_says_so_and_shows_what_there_is(two: None, admin: TestClient) -> None:
    page = admin.get("/")
    assert page.status_code == 200
    assert "The supervisor does not answer" in page.text
    assert "Central" in page.text
    assert "unknown" in page.text
    assert EVIL not in page.text


def test_every_door_as_it_is(two: None, site: Site, supervisor: Supervisor, admin: TestClient) -> None:
    now = datetime.now(UTC)
    central = site.registry("x").get("central")
    study = {"facility_id": central.id, "study_instance_uid": "1.2"}
    put(site, models.Study, **study, first_received=now, last_received=now)
    put(site, models.Quarantined, facility_id=central.id, name="q", reason="conflict", received_at=now)
    who = {"called": "X", "calling": "Y", "address": "10.0.0.1", "reason": "unknown"}
    put(site, models.Refusal, port=central.port, **who, first_seen=now, last_seen=now)
    supervisor.live["central"] = 4
    supervisor.told["central"] = {"state": "backoff", "last_error": f"Port already in use {EVIL}"}
    default, first, second = admin.get("/api/v1/listeners").json()["listeners"]
    assert (default["facility"], default["port"], default["studies_today"]) == (None, site.settings.server.port, None)
    assert (first["facility"], first["state"], first["live_associations"]) == ("central", "backoff", 4)
    assert (first["studies_today"], first["quarantine"], first["refused_callers"]) == (1, 1, 1)
    assert datetime.fromisoformat(first["last_instance"]) == now
    assert len(first["instances_by_minute"]) == 60
    assert (second["state"], second["studies_today"], second["last_instance"]) == ("running", 0, None)
    page = admin.get("/").text
    assert "not open" in page
    assert "Port already in use" in page
    assert EVIL not in page


def test_the_door_that_is_not_open_comes_first_with_the_reason_and_a_count(
    two: None, supervisor: Supervisor, admin: TestClient
) -> None:
    name = "north-script-alert-1-script"
    supervisor.told[name] = {"state": "backoff", "last_error": f"Port already in use {EVIL}"}
    page = admin.get("/").text
    assert page.index(f'id="door-{name}"') < page.index('id="door-default"') < page.index('id="door-central"')
    assert f'id="why-{name}"' in page
    assert EVIL not in page
    assert 'id="show-closed" href="/?show=closed"' in page
    alone = admin.get("/", params={"show": "closed", "sort": "-name"}).text
    assert 'id="door-central"' not in alone
    assert "2 are not shown" in alone
    assert 'hx-get="/?show=closed&amp;sort=-name"' in alone  # what is asked for again is the same
    facility = admin.get(f"/facilities/{name}").text
    assert "This door is not open." in facility
    assert "another port" in facility


def test_columns_sort(two: None, supervisor: Supervisor, admin: TestClient) -> None:
    page = admin.get("/", params={"sort": "port"}).text
    assert page.index('id="door-central"') < page.index('id="door-north-script-alert-1-script"')
    assert 'aria-sort="ascending"' in page
    assert 'id="sort-port" href="/?sort=-port"' in page
    turned = admin.get("/", params={"sort": "-port"}).text
    assert turned.index('id="door-north-script-alert-1-script"') < turned.index('id="door-central"')


def test_a_silent_facility_is_among_the_first(
    two: None, site: Site, supervisor: Supervisor, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "silent", lambda: frozenset({"central"}))
    page = admin.get("/").text
    assert page.index('id="door-central"') < page.index('id="door-default"')
    assert 'id="silent-central" href="/silence?facility=central"' in page
    assert 'id="show-silent"' in page


def test_before_the_first_facility_the_page_says_what_to_do(site: Site, admin: TestClient, log_in: LogIn) -> None:
    Supervisor(site)
    assert 'id="add-first" href="/add-facility"' in admin.get("/").text
    viewer = log_in("viewer").get("/").text
    assert "No facility yet" in viewer
    assert "add-facility" not in viewer


def test_a_disabled_facility_has_a_door_that_says_so(two: None, site: Site, admin: TestClient) -> None:
    Supervisor(site)
    site.registry("x").edit("central", {"enabled": False})
    tell_listeners(site)
    assert [each["state"] for each in admin.get("/api/v1/listeners").json()["listeners"]] == [
        "running",
        "disabled",
        "running",
    ]


def test_with_the_database_away_the_doors_are_shown_all_the_same(
    two: None, site: Site, supervisor: Supervisor, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.get("/")

    def away(*_: object, **__: object) -> Any:
        raise DatabaseError("the database is away", fix="noctis check")

    monkeypatch.setattr(counts, "studies_since", away)
    monkeypatch.setattr("noctis.users.sessions.reading", away)  # so that nobody can be looked up either
    page = admin.get("/")
    assert page.status_code == 200
    assert "The database is away" in page.text
    assert "Central" in page.text
    assert admin.get("/api/v1/listeners").json()["listeners"][1]["studies_today"] is None
    assert admin.post("/facilities/central/disable", headers=OURS).status_code == 503  # looking, and no more


def test_a_request_of_htmx_gets_the_doors_alone(two: None, supervisor: Supervisor, admin: TestClient) -> None:
    part = admin.get("/", headers={"HX-Request": "true"}).text
    assert part.lstrip().startswith('<div id="doors"')
    assert "<html" not in part
    restored = admin.get("/", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"}).text
    assert "<html" in restored


def test_doors_are_found_by_name_title_and_port(two: None, site: Site, admin: TestClient) -> None:
    central = site.registry("x").get("central")
    for q in ("CENT", central.ae_title.lower(), str(central.port)):
        page = admin.get("/", params={"q": q}).text
        assert 'id="to-central"' in page
        assert "script" not in page.split("<main")[1].split('id="doors"')[1]
    assert "No facility has" in admin.get("/", params={"q": EVIL * 2}).text


def test_a_facilitys_account_sees_its_own_door_alone(two: None, supervisor: Supervisor, log_in: LogIn) -> None:
    own = log_in("facility", "central")
    assert [each["facility"] for each in own.get("/api/v1/listeners").json()["listeners"]] == ["central"]
    page = own.get("/").text
    assert "Central" in page
    assert "NOCTIS_SERVER" not in page
    assert "ORTH" not in page
    assert "add-facility" not in page


# -- who may do what


def test_rights(two: None, supervisor: Supervisor, log_in: LogIn) -> None:
    own, stranger = log_in("facility", "central"), log_in("facility", "north-script-alert-1-script")
    admin, operator, viewer = log_in("admin"), log_in("operator"), log_in("viewer")
    for path, statuses in {  # of an operator, a viewer, the facility's own account, another facility's
        "/facilities/central": (200, 200, 200, 404),
        "/facilities/central/now": (200, 200, 200, 404),
        "/facilities/central/usage": (200, 200, 200, 404),
        "/facilities/central/onboarding": (200, 200, 200, 404),
        "/facilities/central/disable": (200, 403, 403, 403),
        "/facilities/central/edit": (403, 403, 403, 403),
        "/facilities/central/remove": (403, 403, 403, 403),
        "/add-facility": (403, 403, 403, 403),
        "/removed-facilities": (403, 403, 403, 403),
        "/api/v1/facilities/central": (200, 200, 200, 404),
        "/api/v1/facilities/central/activity": (200, 200, 200, 404),
        "/live?facility=central": (200, 200, 200, 404),
        "/api/v1/live?facility=central": (200, 200, 200, 404),
    }.items():
        assert admin.get(path).status_code == 200, path
        assert tuple(each.get(path).status_code for each in (operator, viewer, own, stranger)) == statuses, path
    changes = {"post": ("/api/v1/facilities/central/disable", "/api/v1/facilities/central/devices")}
    for method, paths in changes.items():
        for path in paths:
            for each in (viewer, own, stranger):
                assert each.request(method, path, json={"ae_title": "X"}, headers=OURS).status_code == 403
    for each in (operator, viewer, own, stranger):
        assert each.delete("/api/v1/facilities/central", headers=OURS).status_code == 403
        assert each.post("/api/v1/facilities", json={"name": "X"}, headers=OURS).status_code == 403
        assert each.patch("/api/v1/facilities/central", json={"workers": 2}, headers=OURS).status_code == 403


# -- one facility


def test_a_facilitys_page(two: None, supervisor: Supervisor, site: Site, admin: TestClient) -> None:
    page = admin.get("/facilities/central").text
    assert "CT_1" in page
    assert "10.0.0.0/8" in page
    north = admin.get("/facilities/north-script-alert-1-script").text
    assert EVIL not in north
    assert "<b>" not in north
    assert admin.get("/facilities/central/usage").status_code == 200


@pytest.mark.parametrize("slug", ["nobody", "CENTRAL", "a%00b", "%ed%a0%80", "..%2f", "x" * 70, "Central"])
def test_nobodys_slug_is_not_found(slug: str, two: None, admin: TestClient) -> None:
    for path in ("/facilities/{}", "/facilities/{}/now", "/facilities/{}/onboarding", "/api/v1/facilities/{}"):
        assert admin.get(path.format(slug)).status_code in (400, 404, 422)


def test_devices_are_added_and_removed(two: None, supervisor: Supervisor, site: Site, log_in: LogIn) -> None:
    operator = log_in("operator")
    typed = {"ae_title": "MR_1", "network": "10.1.0.0/16"}
    done = operator.post("/facilities/central/devices", data=typed, headers=OURS)
    assert (done.status_code, done.headers["location"]) == (303, "/facilities/central#devices")
    assert [str(each) for each in site.registry("x").get("central").devices] == ["CT_1@10.0.0.0/8", "MR_1@10.1.0.0/16"]
    assert [str(each) for each in site.snapshots.current().by_slug["central"].devices] != []
    assert site.snapshots.current().by_slug["central"].devices[1].ae_title == "MR_1"
    assert supervisor.reconciled == 1
    wrong = operator.post("/facilities/central/devices", data={"ae_title": "A" * 17, "network": EVIL}, headers=OURS)
    assert wrong.status_code == 422
    assert 'value="AAAAAAAAAAAAAAAAA"' in wrong.text
    assert EVIL not in wrong.text
    assert operator.post("/facilities/central/devices", data=typed, headers=OURS).status_code == 409
    operator.post("/facilities/central/devices/remove", data=typed, headers=OURS)
    assert [str(each) for each in site.registry("x").get("central").devices] == ["CT_1@10.0.0.0/8"]
    assert actions(site)[-2:] == [("operator", "device.added"), ("operator", "device.removed")]
    assert log_in("viewer").post("/facilities/central/devices", data=typed, headers=OURS).status_code == 403


def test_disable_and_enable(two: None, supervisor: Supervisor, site: Site, log_in: LogIn) -> None:
    operator = log_in("operator")
    supervisor.live["central"] = 2
    asked = operator.get("/facilities/central/disable").text
    assert "The 2 associations that are open" in asked
    assert site.registry("x").get("central").enabled
    assert operator.post("/facilities/central/disable", headers=OURS).status_code == 303
    assert not site.snapshots.current().by_slug["central"].enabled
    assert "Enable" in operator.get("/facilities/central").text
    operator.post("/facilities/central/enable", headers=OURS)
    assert site.snapshots.current().by_slug["central"].enabled
    assert actions(site)[-2:] == [("operator", "facility.disabled"), ("operator", "facility.enabled")]


def test_remove_keeps_studies_and_restore_brings_it_back(two: None, site: Site, admin: TestClient) -> None:
    now, central = datetime.now(UTC), site.registry("x").get("central")
    study = {"facility_id": central.id, "study_instance_uid": "1.2"}
    put(site, models.Study, **study, first_received=now, last_received=now)
    assert "Its studies stay" in admin.get("/facilities/central/remove").text
    assert admin.post("/facilities/central/remove", headers=OURS).headers["location"] == "/removed-facilities"
    assert "central" not in site.snapshots.current().by_slug
    assert "Central" in admin.get("/removed-facilities").text
    assert "Restore" in admin.get("/facilities/central").text
    assert admin.get("/facilities/central/edit").status_code == 404
    assert admin.post("/facilities/central/enable", headers=OURS).status_code == 404
    assert admin.post("/facilities/central/restore", headers=OURS).status_code == 303
    assert site.snapshots.current().by_slug["central"].port == central.port


def test_a_change_from_elsewhere_is_refused(two: None, site: Site, admin: TestClient) -> None:
    for path in ("disable", "remove", "devices", "edit", "restore"):
        answer = admin.post(f"/facilities/central/{path}", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
    assert site.registry("x").get("central").enabled


def test_client_certificates_are_listed(two: None, site: Site, admin: TestClient) -> None:
    central = site.registry("x").get("central")
    put(
        site,
        models.ClientCertificate,
        facility_id=central.id,
        fingerprint="ab" * 32,
        subject=f"CN={EVIL}",
        device="CT_1",
    )
    page = admin.get("/facilities/central").text
    assert "abababab" in page
    assert "noctis tls bind central" in page
    assert EVIL not in page
