"""The facilities of the JSON API: the same as the pages do."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from noctis.web.site import Site
from tests.integration.web.conftest import LogIn
from tests.integration.web.supervisors import Supervisor

OURS = {"Sec-Fetch-Site": "same-origin"}
ALL = "/api/v1/facilities"


@pytest.fixture(autouse=True)
def supervisor(site: Site) -> Supervisor:
    return Supervisor(site)


def test_a_facilitys_life(site: Site, supervisor: Supervisor, log_in: LogIn) -> None:
    admin = log_in("admin")
    new = {"name": "Central Hospital", "devices": [{"ae_title": "CT_1", "network": "10.0.0.1/8"}], "phone": "1"}
    made = admin.post(ALL, json=new)
    assert made.status_code == 201
    central = made.json()
    assert (central["slug"], central["phone"], central["state"]) == ("central-hospital", "1", "running")
    assert central["devices"] == [{"ae_title": "CT_1", "network": "10.0.0.0/8"}]
    assert central["onboarding"]["port"] == central["port"]
    assert central["usage"]["instances"] == 0
    one = f"{ALL}/central-hospital"
    assert admin.get(one).json() == central
    effect = admin.post(f"{one}/effect", json={"port": 20000}).json()
    assert any(each["notable"] for each in effect)
    changed = admin.patch(one, json={"quota_bytes": 5, "tls": "on", "workers": 2}).json()
    assert (changed["quota_bytes"], changed["tls"], changed["workers"], changed["phone"]) == (5, "on", 2, "1")
    assert admin.patch(one, json={"quota_bytes": None}).json()["quota_bytes"] is None
    operator = log_in("operator")
    assert operator.post(f"{one}/disable").json()["state"] == "disabled"
    assert operator.post(f"{one}/enable").json()["enabled"]
    added = operator.post(f"{one}/devices", json={"ae_title": "MR_1"})
    assert (added.status_code, len(added.json()["devices"])) == (201, 2)
    assert len(operator.delete(f"{one}/devices", params={"ae_title": "MR_1"}).json()["devices"]) == 1
    assert admin.delete(one).json()["removed_at"] is not None
    assert [each["slug"] for each in admin.get(ALL).json()] == []
    assert [each["slug"] for each in admin.get(ALL, params={"removed": True}).json()] == ["central-hospital"]
    assert admin.post(f"{one}/restore").json()["removed_at"] is None
    assert supervisor.reconciled == 9
    assert log_in("facility", "central-hospital").get(ALL).json()[0]["slug"] == "central-hospital"


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0},
        {"port": 1 << 80},
        {"port": None},
        {"name": ""},
        {"name": None},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"name": "x" * 201},
        {"ae_title": "a\\b"},
        {"ae_title": "é"},
        {"workers": 65},
        {"quota_bytes": -1},
        {"quota_bytes": 1 << 63},
        {"max_associations": 1 << 31},
        {"conflict": "neither"},
        {"enabled": None},
        {"phone": "\0"},
        {"address": "\ud800"},
        {"slug": "other"},
        {"devices": []},
        [],
        None,
    ],
)
def test_bad_values_are_refused_with_a_problem(changes: Any, site: Site, admin: TestClient) -> None:
    site.registry("x").add("Central")
    import json

    answer = admin.patch(f"{ALL}/central", content=json.dumps(changes), headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_conflicts_and_what_is_not_there(site: Site, admin: TestClient) -> None:
    central = site.registry("x").add("Central")
    for new in ({"name": "central"}, {"name": "X", "port": central.port}, {"name": "X", "ae_title": central.ae_title}):
        assert admin.post(ALL, json=new).status_code == 409
    assert admin.post(ALL, json={"name": "X", "devices": [{"ae_title": "A", "network": "here"}]}).status_code == 422
    assert [each.slug for each in site.registry("x").all()] == ["central"]
    for method, path in (("get", ""), ("delete", ""), ("post", "/restore"), ("post", "/enable"), ("get", "/activity")):
        assert admin.request(method, f"{ALL}/nobody{path}").status_code == 404
    assert admin.delete(f"{ALL}/central/devices", params={"ae_title": "X"}).status_code == 404
    assert admin.delete(f"{ALL}/central/devices", params={"ae_title": "\0"}).status_code in (400, 422)
    assert admin.post(f"{ALL}/central/restore").status_code == 422
