"""Refusals: the page, the button, and the API."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from noctis.archiver.ledger import write_ledgers
from noctis.facilities.certificates import CertificateRegistry
from noctis.facilities.recognition import Refusal, recognise
from noctis.facilities.registry import Registry
from noctis.repository.journal import Journal
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn, tell_listeners

ADDRESS = "10.9.9.9"
EVIL = "<b>'\"&"


@pytest.fixture
def doors(site: Site, registry: Registry) -> Site:
    """Two facilities, and one that is shut."""
    registry.add("Central", ae_title="CENTRAL")
    registry.add("North <script>", ae_title="NORTH")
    registry.edit(registry.add("Shut", ae_title="SHUT").slug, {"enabled": False})
    registry.add_device("central", parse("CT1@10.1.0.0/16"))
    tell_listeners(site)
    return site


def parse(text: str) -> Any:
    from noctis.facilities.records import parse_device

    return parse_device(text)


def knock(
    site: Site,
    facility: str | None,
    calling: str,
    called: str = "NOCTIS_SERVER",
    *,
    certificate: str | None = None,
    at: datetime | None = None,
) -> bool:
    """A caller comes, as a listener meets it and writes it down; whether it was let in."""
    snapshot = site.snapshots.current()
    port = snapshot.by_slug[facility].port if facility else site.settings.server.port
    server = site.settings.server
    found = recognise(snapshot, server.ae_title, port, called, calling, ADDRESS, server.port, certificate)
    journal, now = Journal(site.home.journal, "test"), (at or datetime.now(UTC)).isoformat()
    caller = {"port": port, "called": called, "calling": calling, "address": ADDRESS}
    if isinstance(found, Refusal):
        journal.append("refusal", at=now, **caller, reason=found.reason, fix=found.fix, remedy=found.remedy.as_json())
    else:
        counts = {"instances": 1, "bytes": 1, "failures": 0, "echoes": 0, "outcome": "released"}
        ident = now.replace("-", "").replace(":", "")[:20] + calling
        times = {"started_at": now, "ended_at": now}
        journal.append("association", association_id=ident, slug=found.slug, **caller, **counts, **times)
    write_ledgers(site.engine, site.home.journal)
    return not isinstance(found, Refusal)


def only(client: TestClient, **query: str) -> dict[str, Any]:
    (item,) = client.get("/api/v1/refusals", params=query).json()["items"]
    return dict(item)


def test_a_device_is_added_where_the_operator_says(doors: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    assert not knock(doors, None, EVIL)
    row = only(client)
    assert (row["kind"], row["can_be_fixed"], row["state"], row["shared_port"]) == ("add-device", True, "open", True)
    page = client.get("/refusals").text
    assert EVIL not in page
    assert f'href="/refusals/{row["id"]}"' in page
    form = client.get(f"/refusals/{row['id']}").text
    assert "North &lt;script&gt;" in form
    assert client.post(f"/refusals/{row['id']}/fix", data={"network": ""}).status_code == 422  # which facility?
    answer = client.post(f"/refusals/{row['id']}/fix", data={"facility": "central", "network": f"{ADDRESS}/32"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/refusals/{row['id']}")
    (device,) = [each for each in doors.registry("x").get("central").devices if each.ae_title == EVIL]
    assert device.network == "10.9.9.9/32"
    row = only(client)
    assert (row["state"], row["fixed_by"], row["fixed_facility"]) == ("waiting", "operator", "central")
    assert "waiting for the next try" in client.get("/refusals/rows").text
    done = client.get(f"/refusals/{row['id']}").text
    assert "Have the sender try again." in done
    assert 'id="let-in"' not in done  # it is done, and not to be done again
    assert knock(doors, None, EVIL)
    assert only(client)["state"] == "let-in"
    assert "let in" in client.get("/refusals/rows").text
    events = client.get("/api/v1/events", params={"what": "device.", "who": "operator"}).json()["items"]
    assert [event["facility"] for event in events] == ["central"]


@pytest.mark.parametrize(
    ("facility", "calling", "called", "kind", "choice"),
    [
        ("central", "NEW", "WRONG", "add-device", {}),
        ("central", "CT1", "X", "allow-network", {}),
        ("central", "CT1", "X", "allow-network", {"network": "10.9.0.0/16"}),
        (None, "CT1", "NOCTIS_SERVER", "allow-network", {"network": ""}),
        (None, "X", "SHUT", "enable-facility", {}),
        ("shut", "X", "SHUT", "enable-facility", {}),
    ],
)
def test_what_recognition_knows_needs_no_choice(
    facility: str | None, calling: str, called: str, kind: str, choice: dict[str, str], doors: Site, admin: TestClient
) -> None:
    assert not knock(doors, facility, calling, called)
    row = only(admin)
    assert row["kind"] == kind
    answer = admin.post(f"/api/v1/refusals/{row['id']}/fix", json=choice)
    assert answer.status_code == 200, answer.text
    assert answer.json()["refusal"]["state"] == "waiting"
    again = admin.post(f"/api/v1/refusals/{row['id']}/fix", json=choice)  # a second click
    assert again.status_code == 200
    assert knock(doors, facility, calling, called)
    assert only(admin)["state"] == "let-in"
    changes = admin.get("/api/v1/events", params={"who": "admin"}).json()["items"]
    assert len([each for each in changes if not each["action"].startswith("query.")]) == 1


def test_a_certificate_is_bound(doors: Site, admin: TestClient) -> None:
    certificates = CertificateRegistry(doors.engine, doors.settings, actor="test")
    certificates.bind("central", "11" * 32)
    doors.follow()
    assert not knock(doors, "central", "CT9", "CENTRAL", certificate="ab" * 32)
    row = only(admin, kind="bind-certificate")
    answer = admin.post(f"/api/v1/refusals/{row['id']}/fix", json={"only_device": True})
    assert answer.status_code == 200
    (bound,) = [each for each in certificates.bound("central") if each.fingerprint == "ab" * 32]
    assert bound.device == "CT9"
    assert knock(doors, "central", "CT9", "CENTRAL", certificate="ab" * 32)


def test_what_no_button_mends_says_what_to_tell_the_sender(doors: Site, admin: TestClient) -> None:
    knock(doors, "central", "X", "NORTH")
    row = only(admin)
    assert (row["kind"], row["can_be_fixed"]) == ("call", False)
    page = admin.get(f"/refusals/{row['id']}").text
    port = doors.snapshots.current().by_slug["north-script"].port
    assert re.search(rf'data-copy="Please call the AE title NORTH at [^"]+, port {port}', page)
    assert "/fix" not in page
    refused = admin.post(f"/api/v1/refusals/{row['id']}/fix", json={})
    assert refused.status_code == 422
    assert "point the sender at port" in refused.json()["detail"]


def test_rows_of_an_earlier_release_and_of_limits_show_their_advice(doors: Site, admin: TestClient) -> None:
    journal = Journal(doors.home.journal, "test")
    now = datetime.now(UTC).isoformat()
    caller = {"at": now, "port": 11112, "called": "A", "address": ADDRESS, "reason": "why"}
    journal.append("refusal", **caller, calling="OLD", fix="noctis device add FACILITY OLD")
    journal.append("refusal", **caller, calling="MANY", fix="let the sender retry", remedy={"kind": "limit"})
    write_ledgers(doors.engine, doors.home.journal)
    page = admin.get("/refusals").text
    assert "noctis device add FACILITY OLD" in page
    assert "let the sender retry" in page
    assert only(admin, calling="old")["kind"] is None
    assert only(admin, kind="limit")["calling"] == "MANY"


def test_mended_elsewhere_is_seen_as_mended(doors: Site, admin: TestClient) -> None:
    knock(doors, None, "NEW")
    assert only(admin)["would_be_let_in"] is None
    doors.registry("root").add_device("central", parse("NEW"))
    doors.follow()
    assert only(admin)["would_be_let_in"] == "central"
    assert "would be let in to central now" in admin.get("/refusals").text


def test_who_is_let_in_already_is_not_made_a_device_of_a_second_facility(doors: Site, admin: TestClient) -> None:
    knock(doors, None, "NEW")
    row = only(admin)
    page = f"/refusals/{row['id']}"
    assert 'id="let-in"' in admin.get(page).text
    fix = f"/api/v1/refusals/{row['id']}/fix"
    assert admin.post(fix, json={"facility": "central", "network": ""}).status_code == 200
    shown = admin.get(page).text
    assert 'id="let-in"' not in shown
    assert "It would be let in now" in shown
    again = admin.post(fix, json={"facility": "north-script", "network": ""})
    assert again.status_code == 409
    assert "noctis device remove central NEW" in again.text
    assert admin.post(f"{page}/fix", data={"facility": "north-script", "network": ""}).status_code == 409
    assert not doors.registry("x").get("north-script").devices
    assert knock(doors, None, "NEW")


def test_who_came_to_a_port_that_a_facility_had_is_still_among_its_refusals(doors: Site, admin: TestClient) -> None:
    knock(doors, "central", "LOST", "WRONG")
    doors.registry("x").edit("central", {"port": 20_000})
    tell_listeners(doors)
    row = only(admin, facility="central")
    assert (row["calling"], row["facility"], row["former_facility"]) == ("LOST", None, "central")
    assert 'href="/refusals?facility=central">1</a>' in admin.get("/").text
    assert "once Central's" in html.unescape(admin.get("/refusals").text)
    assert "once Central's, nobody's now" in html.unescape(admin.get(f"/refusals/{row['id']}").text)


def test_filters_and_pages(doors: Site, admin: TestClient) -> None:
    base = datetime.now(UTC) - timedelta(days=2)
    for number in range(7):
        knock(doors, "central" if number % 2 else None, f"DEV{number}", at=base + timedelta(minutes=number))
    knock(doors, None, "FRESH")

    def found(**query: str | int) -> list[str]:
        names, after = [], None
        while True:
            page = admin.get("/api/v1/refusals", params={**query, "limit": 3} | ({"after": after} if after else {}))
            assert page.status_code == 200, page.text
            names += [item["calling"] for item in page.json()["items"]]
            after = page.json()["next"]
            if after is None:
                return names

    everyone = ["FRESH", *(f"DEV{number}" for number in range(6, -1, -1))]
    assert found() == everyone
    assert found(calling="dev") == everyone[1:]
    assert found(q="eV3") == ["DEV3"]
    assert found(since="1d") == ["FRESH"]
    assert found(facility="central") == ["DEV5", "DEV3", "DEV1"]
    assert found(port=doors.settings.server.port) == ["FRESH", "DEV6", "DEV4", "DEV2", "DEV0"]
    assert found(address="10.9.") == everyone
    assert found(address="10.8.") == found(kind="call") == found(state="waiting") == []
    for wrong in ({"since": "soon"}, {"after": "x"}, {"kind": "x"}, {"port": 0}, {"limit": -1}, {"q": "\0"}):
        assert admin.get("/api/v1/refusals", params=wrong).status_code in (400, 422)
    page = admin.get("/refusals", params={"calling": "DEV", "port": "many"})
    assert (page.status_code, "is no port" in page.text) == (200, True)


def test_dismissing(doors: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    for name in ("A1", "B1", "C1"):
        knock(doors, None, name)
    ids = {item["calling"]: item["id"] for item in client.get("/api/v1/refusals").json()["items"]}
    assert client.delete(f"/api/v1/refusals/{ids['A1']}").json() == {"dismissed": 1}
    assert client.delete(f"/api/v1/refusals/{ids['A1']}").status_code == 404
    answer = client.post("/refusals/dismiss", data={"id": [ids["B1"], ids["C1"]], "back": "kind=call"})
    assert answer.headers["location"] == "/refusals?kind=call&dismissed=2"
    assert client.get("/api/v1/refusals").json()["items"] == []
    events = client.get("/api/v1/events", params={"what": "refusal.dismissed"}).json()["items"]
    assert {each["detail"]["calling"] for each in events} == {"A1", "B1", "C1"}
    assert {each["actor"] for each in events} == {"operator"}
    assert client.post("/api/v1/refusals/dismiss", json={"ids": [1 << 70]}).status_code == 422


@pytest.mark.parametrize("role", ["facility", "viewer"])
def test_who_may_not(role: str, doors: Site, log_in: LogIn) -> None:
    knock(doors, None, "NEW")
    row = only(log_in("admin"))
    client = log_in(role, "central" if role == "facility" else None)
    looks = 200 if role == "viewer" else 403
    for path in ("/refusals", "/refusals/rows", f"/refusals/{row['id']}", "/api/v1/refusals"):
        assert client.get(path).status_code == looks
    assert client.post(f"/refusals/{row['id']}/fix", data={"facility": "central"}).status_code == 403
    assert client.post(f"/api/v1/refusals/{row['id']}/fix", json={"facility": "central"}).status_code == 403
    assert client.delete(f"/api/v1/refusals/{row['id']}").status_code == 403
    assert client.post("/refusals/dismiss", data={"id": [row["id"]]}).status_code == 403
    if role == "viewer":
        assert 'id="let-in"' not in client.get(f"/refusals/{row['id']}").text
