"""The forms that make and change a facility: looked at as they are typed, saved as they were shown."""

import re

import pytest
from fastapi.testclient import TestClient

from noctis.facilities.registry import Registry
from noctis.web import facility_fields as fields
from noctis.web.site import Site
from tests.integration.web.conftest import tell_listeners
from tests.integration.web.supervisors import Supervisor

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def supervisor(site: Site) -> Supervisor:
    return Supervisor(site)


def value(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]*value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def preview(client: TestClient, **typed: str) -> dict[str, str]:
    page = client.post("/add-facility/preview", data=typed, headers=OURS).text
    names = ("ae_title", "port", "proposed_ae_title", "proposed_port")
    return {name: value(page, name) for name in names} | {"page": page}


def test_what_is_shown_is_what_is_saved(site: Site, admin: TestClient) -> None:
    first = preview(admin, name="Central Hosp")
    assert first["ae_title"].startswith("CENTRALHOSP")
    assert first["port"] == str(site.settings.facilities.first_port)
    more = preview(admin, **{**first, "page": "", "name": "Central Hospital"})
    assert more["ae_title"] == first["ae_title"]  # the digits stay while one types on
    assert site.registry("x").all() == []
    typed = {**more, "page": "", "name": "Central Hospital", "phone": "123"}
    saved = admin.post("/add-facility", data=typed, headers=OURS)
    assert saved.headers["location"] == "/facilities/central-hospital/onboarding"
    record = site.registry("x").get("central-hospital")
    assert (record.ae_title, str(record.port), record.phone) == (more["ae_title"], more["port"], "123")
    assert site.snapshots.current().by_slug["central-hospital"].port == record.port


def test_what_is_typed_there_stays(admin: TestClient) -> None:
    first = preview(admin, name="Central")
    own = preview(admin, **{**first, "page": "", "name": "Central North", "ae_title": "MINE", "port": "20000"})
    assert (own["ae_title"], own["port"]) == ("MINE", "20000")
    assert own["proposed_ae_title"].startswith("CENTRALNORT")


def test_an_emptied_field_is_saved_as_it_was_proposed(site: Site, admin: TestClient) -> None:
    first = preview(admin, name="Central")
    typed = {**first, "page": "", "name": "Central", "ae_title": "", "port": " "}
    admin.post("/add-facility", data=typed, headers=OURS)
    record = site.registry("x").get("central")
    assert (record.ae_title, str(record.port)) == (first["proposed_ae_title"], first["proposed_port"])


def test_without_a_preview_everything_is_generated(site: Site, admin: TestClient) -> None:
    assert admin.post("/add-facility", data={"name": "Central"}, headers=OURS).status_code == 303
    assert site.registry("x").get("central").ae_title.startswith("CENTRAL")


def test_every_field_says_for_itself_what_is_wrong(registry: Registry, site: Site, admin: TestClient) -> None:
    central = registry.add("Central")
    page = preview(admin, name="central", ae_title=central.ae_title, port=str(central.port))["page"]
    assert "there is a facility &#39;Central&#39; already" in page
    assert page.count("is taken by &#39;Central&#39;") == 2
    assert "a whole number is wanted" in preview(admin, name="North", port="eleven")["page"]
    assert "out of range" in preview(admin, name="North", port="99999")["page"]
    for typed in (
        {"name": "central"},
        {"name": ""},
        {"name": "<script>alert(1)</script>\0"},
        {"name": "North", "port": str(central.port)},
        {"name": "North", "ae_title": central.ae_title},
        {"name": "North", "ae_title": "<script>alert(1)</script>"},
        {"name": "North", "workers": "many"},
        {"name": "North", "workers": "65"},
        {"name": "North", "phone": "5" * 65},
    ):
        answer = admin.post("/add-facility", data=typed, headers=OURS)
        assert answer.status_code in (409, 422), typed
        assert "invalid-feedback" in answer.text
        assert "<script>alert(1)</script>" not in answer.text
    assert [each.slug for each in site.registry("x").all()] == ["central"]


def test_a_port_that_somebody_was_faster_to_take_is_replaced_by_the_next_one(
    registry: Registry, site: Site, admin: TestClient
) -> None:
    shown = preview(admin, name="Central")
    registry.add("Faster")
    answer = admin.post("/add-facility", data={**shown, "page": "", "name": "Central"}, headers=OURS)
    assert answer.status_code == 409
    assert "is taken by &#39;Faster&#39;" in answer.text
    assert value(answer.text, "port") == str(int(shown["port"]) + 1)
    again = {name: value(answer.text, name) for name in shown if name != "page"} | {"name": "Central"}
    assert admin.post("/add-facility", data=again, headers=OURS).status_code == 303


# -- editing


def form_of(site: Site, slug: str, **typed: str) -> dict[str, str]:
    record = site.registry("x").get(slug)
    return fields.shown(record) | {"stamp": fields.stamp(record)} | typed


def test_the_effect_is_said_and_nothing_is_changed(
    registry: Registry, site: Site, supervisor: Supervisor, admin: TestClient
) -> None:
    central = registry.add("Central")
    tell_listeners(site)
    supervisor.live["central"] = 1

    def said(**typed: str) -> str:
        return admin.post("/facilities/central/effect", data=form_of(site, "central", **typed), headers=OURS).text

    assert "Nothing is changed yet" in said()
    moved = said(port="20000")
    assert "opens port 20000" in moved
    assert "The 1 association that is open" in moved
    assert "This cannot be saved" in said(port="0")
    assert "a whole number is wanted" in said(workers="two")
    assert "Nothing restarts, and nobody is cut off." in said(phone="123")
    supervisor.is_away = True
    assert "No supervisor runs" in said(port="20000")
    assert site.registry("x").get("central") == central


def test_tls_that_would_keep_everybody_out_is_told_before_and_after(
    registry: Registry, site: Site, supervisor: Supervisor, admin: TestClient
) -> None:
    registry.add("Central")
    tell_listeners(site)

    def said(**typed: str) -> str:
        return admin.post("/facilities/central/effect", data=form_of(site, "central", **typed), headers=OURS).text

    kept_out = said(tls="on")
    assert "Nobody can connect" in kept_out
    assert "noctis tls issue --server" in kept_out
    assert "noctis tls make-ca" in kept_out
    assert "make-ca" not in said(tls="on", client_certificates="off")
    assert "Nobody can connect" not in said(client_certificates="off")
    assert "Nobody can connect" not in admin.get("/facilities/central").text
    site.registry("x").edit("central", {"tls": "on"})
    tell_listeners(site)
    assert "Nobody can connect" in admin.get("/facilities/central").text
    assert "Nobody can connect" not in said(tls="")


def test_an_edit_is_saved_told_and_noted(
    registry: Registry, site: Site, supervisor: Supervisor, admin: TestClient
) -> None:
    registry.add("Central")
    tell_listeners(site)
    typed = form_of(site, "central", name="Central Hospital", workers="2", quota_bytes="1.5 GB", tls="on", phone="1")
    assert admin.post("/facilities/central/edit", data=typed, headers=OURS).headers["location"] == "/facilities/central"
    record = site.registry("x").get("central")
    assert (record.name, record.workers, record.quota_bytes, record.tls) == ("Central Hospital", 2, 1_500_000_000, "on")
    assert site.snapshots.current().by_slug["central"].workers == 2
    assert supervisor.reconciled == 1
    back = form_of(site, "central", quota_bytes="", tls="", phone="")
    admin.post("/facilities/central/edit", data=back, headers=OURS)
    record = site.registry("x").get("central")
    assert (record.quota_bytes, record.tls, record.phone) == (None, None, None)


def test_what_somebody_else_changed_meanwhile_is_not_undone(registry: Registry, site: Site, admin: TestClient) -> None:
    registry.add("Central")
    tell_listeners(site)
    typed = form_of(site, "central", phone="123")
    registry.edit("central", {"workers": 3})
    tell_listeners(site)
    answer = admin.post("/facilities/central/edit", data=typed, headers=OURS)
    assert answer.status_code == 409
    assert "changed by somebody else meanwhile" in answer.text
    assert "2 processes of port" in answer.text  # what saving would undo
    assert site.registry("x").get("central").workers == 3


def test_a_wrong_edit_comes_back_as_it_was_typed(registry: Registry, site: Site, admin: TestClient) -> None:
    central, north = registry.add("Central"), registry.add("North")
    tell_listeners(site)
    for typed, status in (
        ({"port": str(north.port)}, 409),
        ({"ae_title": "\0"}, 422),
        ({"quota_instances": "lots"}, 422),
        ({"quota_bytes": "9" * 24}, 422),
        ({"conflict": "neither"}, 422),
        ({"address": "x\0"}, 422),
    ):
        answer = admin.post("/facilities/central/edit", data=form_of(site, "central", **typed), headers=OURS)
        assert answer.status_code == status, typed
        assert "invalid-feedback" in answer.text or "This cannot be saved" in answer.text
    assert site.registry("x").get("central") == central
