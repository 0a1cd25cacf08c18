"""Silence on its page and in the API: who sees what, and what is said to it."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select

from noctis.db.models import ActivityDay, Event, Facility, SilenceMute
from noctis.facilities.records import DeviceRecord
from noctis.facilities.registry import Registry
from noctis.web import silences
from noctis.web.site import Site
from tests.habits import clinic_stopped, fill
from tests.integration.web.conftest import LogIn, tell_listeners

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def silent(site: Site, registry: Registry) -> Site:
    """central is silent; north with a device of a hostile name is as usual; nothing is known of new."""
    central = registry.add("Central", devices=[DeviceRecord("CT1", "")])
    north = registry.add(HOSTILE, devices=[DeviceRecord("A'\"<b>", "")])
    registry.add("New", devices=[DeviceRecord("MR1", "")])
    now = datetime.now(UTC)
    fill(site.engine, central.id, "CT1", clinic_stopped(now, timedelta(days=9)))
    fill(site.engine, north.id, "A'\"<b>", clinic_stopped(now, timedelta(0)))
    tell_listeners(site)
    return site


def of(client: TestClient, facility: str, device: str = "") -> dict[str, object]:
    answer = client.get("/api/v1/silence", params={"facility": facility})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = next(each for each in answer.json()["items"] if each["device"] == device)
    return found


def test_the_page_lists_alarms_first_and_hostile_names_as_text(silent: Site, log_in: LogIn) -> None:
    page = log_in("viewer").get("/silence").text
    assert "1 alarm" in page
    assert page.index('id="row-central-"') < page.index('id="row-script-')
    assert "&lt;script&gt;alert(1)" in page
    assert HOSTILE not in page
    assert "never sent" in page
    assert "silent as all" in page  # the device, told by its facility's alarm
    assert 'role="img" aria-label="Usually Monday to Friday' in page
    assert "Acknowledge" not in page  # a viewer changes nothing


def test_who_comes_back_after_minutes_sees_what_is_now(
    silent: Site, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silences, "SECONDS", 0.0)  # what was looked at is old at once
    monkeypatch.setattr(silences, "PATIENCE_SECONDS", 20.0)
    client = log_in("viewer")
    assert "1 alarm" in client.get("/silence").text
    north = next(each.id for each in silent.snapshots.current().facilities if each.name == HOSTILE)
    with silent.engine.begin() as connection:
        connection.execute(delete(ActivityDay).where(ActivityDay.facility_id == north))
    fill(silent.engine, north, "A'\"<b>", clinic_stopped(datetime.now(UTC), timedelta(days=9)))
    assert "2 alarms" in client.get("/silence").text
    assert of(client, "script-alert-1-script")["alarm"] is True


def test_filters_and_pages(silent: Site, log_in: LogIn) -> None:
    client = log_in("viewer")
    alarms = client.get("/silence/rows", params={"alarms": "true"}).text
    assert "row-central-" in alarms
    assert "row-new-" not in alarms
    assert "row-central-CT1" in client.get("/silence/rows", params={"q": "ct1"}).text
    assert "Nothing fits" in client.get("/silence/rows", params={"q": "nobody"}).text
    assert client.get("/api/v1/silence", params={"limit": 2, "offset": 1}).json()["found"] == 6
    assert len(client.get("/api/v1/silence", params={"limit": 2, "offset": 1}).json()["items"]) == 2


def test_the_badge_counts_alarms(silent: Site, log_in: LogIn) -> None:
    assert '1<span class="visually-hidden"> alarms' in log_in("viewer").get("/silence").text
    assert "visually-hidden> alarms" not in log_in("facility", "new").get("/silence").text


def test_a_facilitys_user_sees_its_own_alone(silent: Site, log_in: LogIn) -> None:
    client = log_in("facility", "new")
    assert "row-new-" in client.get("/silence").text
    assert "row-central-" not in client.get("/silence").text
    assert {each["facility"] for each in client.get("/api/v1/silence").json()["items"]} == {"new"}
    for path in (
        "/silence?facility=central",
        "/silence/central",
        "/silence/central/now",
        "/silence/rows?facility=central",
    ):
        assert client.get(path).status_code == 404
    assert client.get("/silence/new").status_code == 200
    assert client.post("/silence/new/mute", data={"reason": "x"}).status_code == 403
    assert client.post("/api/v1/silence/new/mute", json={}).status_code == 403


def test_acknowledged_until_it_sends_again(silent: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    assert (of(client, "central")["alarm"], of(client, "central", "CT1")["covered"]) == (True, True)
    answer = client.post("/silence/central/acknowledge", data={"device": "", "reason": "closed for a week"})
    assert answer.headers["location"] == "/silence/central"
    page = client.get("/silence/central").text
    assert "Acknowledged by operator" in page
    assert "closed for a week" in page
    assert "1 alarm" not in client.get("/silence").text
    with silent.engine.connect() as connection:
        event = connection.execute(select(Event).where(Event.action == "silence.acknowledged")).one()
    assert (event.actor, event.subject, event.detail) == ("operator", "central", {"reason": "closed for a week"})
    facility_id = next(each.id for each in silent.snapshots.current().facilities if each.slug == "central")
    last = datetime.now(UTC) - timedelta(days=8)
    fill(silent.engine, facility_id, "CT1", [last.timestamp()])
    silent.silence.forget()
    assert of(client, "central")["acknowledged"] is False
    assert of(client, "central")["alarm"] is True


def test_muted_for_a_while_or_for_ever_and_unmuted(silent: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    client.post("/silence/central/mute", data={"device": "CT1", "length": "1w", "reason": "sold"})
    assert of(client, "central", "CT1")["muted"] is True
    assert of(client, "central")["muted"] is False
    client.post("/silence/central/mute", data={"length": "ever", "reason": "moved away"})
    assert (of(client, "central")["muted"], of(client, "central", "CT1")["state"]) == (True, "muted")
    assert "for ever" in client.get("/silence/central").text
    assert client.post("/silence/central/unmute", data={}).status_code == 303
    assert of(client, "central")["muted"] is False
    with silent.engine.connect() as connection:
        assert [row.calling for row in connection.execute(select(SilenceMute))] == ["CT1"]


@pytest.mark.parametrize(
    "form",
    [
        {"length": "date", "date": "", "reason": "x"},
        {"length": "date", "date": "yesterday", "reason": "x"},
        {"length": "date", "date": "2020-01-01", "reason": "x"},
        {"length": "99999w", "reason": "x" * 600},
    ],
)
def test_what_cannot_be_meant_is_told_on_the_page(form: dict[str, str], silent: Site, log_in: LogIn) -> None:
    answer = log_in("operator").post("/silence/central/mute", data=form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert f'value="{form["reason"]}"' in answer.text


def test_the_api_says_what_a_button_says(silent: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    told = client.post("/api/v1/silence/central/acknowledge", json={"reason": "known"}).json()
    assert (told["acknowledged"], told["mute"]["reason"], told["state"]) == (True, "known", "acknowledged")
    until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    told = client.post("/api/v1/silence/central/mute", json={"device": "CT1", "until": until}).json()
    assert (told["muted"], told["device"]) == (True, "CT1")
    assert client.post("/api/v1/silence/central/unmute", json={"device": "CT1"}).json()["muted"] is False
    assert len(told["odds"]) == 168


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("central/acknowledge", {"device": "NOBODY"}, 404),
        ("central/acknowledge", {"device": "\0"}, 422),
        ("central/acknowledge", {"device": "x" * 300}, 422),
        ("nowhere/acknowledge", {}, 404),
        ("new/acknowledge", {}, 409),
        ("central/mute", {"until": "2020-01-01T00:00:00Z"}, 422),
        ("central/mute", {"until": "9999-12-31T23:59:59-14:00"}, 422),
        ("central/mute", {"until": 1e300}, 422),
        ("central/mute", {"reason": "x" * 501}, 422),
        ("central/unmute", {}, 404),
    ],
)
def test_bad_input_is_refused(path: str, body: dict[str, object], status: int, silent: Site, log_in: LogIn) -> None:
    answer = log_in("operator").post(f"/api/v1/silence/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_reason_may_be_any_text(silent: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    body = b'{"reason": "nul \\u0000 and <script>"}'
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/silence/central/mute", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert "&lt;script&gt;" in client.get("/silence/central").text


def test_a_disabled_or_removed_facility_does_not_alarm(silent: Site, registry: Registry, log_in: LogIn) -> None:
    registry.edit("central", {"enabled": False})
    silent.silence.forget()
    client = log_in("viewer")
    assert (of(client, "central")["alarm"], of(client, "central")["state"]) == (False, "disabled")
    registry.remove("central", keep_studies=True)
    silent.silence.forget()
    assert client.get("/silence/central").status_code == 404
    with silent.engine.connect() as connection:
        assert connection.scalar(select(Facility.slug).where(Facility.slug == "central")) == "central"
