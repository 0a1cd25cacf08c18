"""Events: filtered, paged, readable, and as a file for a spreadsheet."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from noctis.db.models import Event
from noctis.facilities.registry import Registry
from noctis.repository import events
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn, tell_listeners

BASE = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 240


@pytest.fixture
def history(site: Site, registry: Registry) -> Site:
    """Every minute an event: actors and actions in turn, every fourth of the facility."""
    facility = registry.add("Central").id
    rows: list[dict[str, Any]] = [
        {
            "at": BASE + timedelta(minutes=number // 2),  # two at the same time
            "actor": f"user{number % 3}",
            "action": ("facility.edited", "device.added", "query.study")[number % 3 if number % 5 else 2],
            "facility_id": facility if number % 4 == 0 else None,
            "subject": f"s{number}",
            "detail": {"port": {"from": number, "to": number + 1}},
        }
        for number in range(MANY)
    ]
    with site.engine.begin() as connection:
        connection.execute(insert(Event), rows)
    return site


def subjects(client: TestClient, **query: str) -> list[int]:
    found, after = [], ""
    while True:
        page = client.get("/api/v1/events", params={**query, "limit": "17"} | ({"after": after} if after else {}))
        assert page.status_code == 200, page.text
        found += [int(item["subject"][1:]) for item in page.json()["items"] if item["subject"][1:].isdigit()]
        after = page.json()["next"]
        if after is None:
            return found


def expected(wanted: Any) -> list[int]:
    return [number for number in range(MANY - 1, -1, -1) if wanted(number)]


def action(number: int) -> str:
    return ("facility.edited", "device.added", "query.study")[number % 3 if number % 5 else 2]


@pytest.mark.parametrize("window", [7, events.WINDOW])
def test_filters_page_by_page(window: int, history: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WINDOW", window)
    assert subjects(admin) == expected(lambda n: True)
    assert subjects(admin, who="user1") == expected(lambda n: n % 3 == 1)
    assert subjects(admin, what="query.") == expected(lambda n: action(n) == "query.study")
    assert subjects(admin, what="facility.edited") == expected(lambda n: action(n) == "facility.edited")
    assert subjects(admin, facility="central") == expected(lambda n: n % 4 == 0)
    assert subjects(admin, facility="central", what="device") == expected(
        lambda n: n % 4 == 0 and action(n) == "device.added"
    )
    assert subjects(admin, who="user2", what="facility", facility="central") == []
    assert subjects(admin, who="user1", facility="central") == expected(lambda n: n % 3 == 1 and n % 4 == 0)
    assert subjects(admin, what="nothing") == subjects(admin, who="nobody") == subjects(admin, facility="none") == []
    times = {"since": "2026-01-01T00:10:00+00:00", "until": "2026-01-01T00:20:00+00:00"}
    assert subjects(admin, **times) == expected(lambda n: 20 <= n < 40)
    assert subjects(admin, **times, who="user0") == expected(lambda n: 20 <= n < 40 and n % 3 == 0)


def test_changes_are_found_below_whatever_number_of_looks(
    history: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WINDOW", 5)
    monkeypatch.setattr(events, "SECONDS", 0.0)
    look = {"at": BASE + timedelta(days=1), "actor": "user1", "action": "query.study", "subject": "s0", "detail": {}}
    with history.engine.begin() as connection:
        connection.execute(insert(Event), [look] * 50)
    page = admin.get("/api/v1/events", params={"looked": "false", "limit": "17"}).json()
    latest = expected(lambda n: action(n) != "query.study")[:15]
    assert [int(each["subject"][1:]) for each in page["items"] if each["subject"][1:].isdigit()][:15] == latest


def test_the_page_is_about_changes_and_who_looked_is_asked_for(history: Site, admin: TestClient) -> None:
    def actions(**query: str) -> set[str]:
        page = admin.get("/events.csv", params=query)
        return {row["what"] for row in csv.DictReader(io.StringIO(page.text.removeprefix("\ufeff")))}

    tell_listeners(history)
    assert not {each for each in actions() if each.startswith("query.")}
    assert {"facility.edited", "device.added"} <= actions()
    assert "query.study" in actions(looked="true")
    assert actions(what="query.") == actions(what="q") == {"query.study"}
    for who, where in (("user2", ""), ("", "central"), ("user2", "central")):
        asked = {"who": who, "facility": where}
        assert "query.study" not in actions(**asked)
        assert "query.study" in actions(**asked, looked="true")
    shown = admin.get("/events").text
    assert "query.study" not in shown.partition("<tbody>")[2]
    assert "Central" in shown.partition("<tbody>")[2]
    assert "looked=true&amp;after=" in admin.get("/events", params={"looked": "true"}).text
    assert subjects(admin, looked="false") == expected(lambda n: action(n) != "query.study")


def test_a_search_that_takes_long_says_how_far_it_came(
    history: Site, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WINDOW", 10)
    monkeypatch.setattr(events, "SECONDS", 0.0)
    page = admin.get("/api/v1/events", params={"who": "nobody", "facility": "central"}).json()
    assert page["items"] == []
    assert page["searched_to"].startswith("2026-01-01T")
    assert "Look further back" in admin.get("/events", params={"who": "nobody", "facility": "central"}).text
    assert subjects(admin, who="user1", facility="central") == expected(lambda n: n % 3 == 1 and n % 4 == 0)


def test_the_page_is_readable_and_bookmarkable(history: Site, admin: TestClient) -> None:
    page = admin.get("/events", params={"who": "user1", "what": "device."}).text
    assert "1 → 2" in page
    assert 'value="device."' in page
    assert "who=user1&amp;what=device." in page
    wrong = admin.get("/events", params={"since": "soon"})
    assert (wrong.status_code, "this is no time" in wrong.text) == (200, True)
    assert admin.get("/api/v1/events", params={"since": "9999-12-31T23:59:59-23:59"}).status_code == 422
    for after in ("x", "2026-01-01T00:00:00~-1", "2026-01-01T00:00:00+01:00~1", f"2026-01-01~{1 << 70}", "~"):
        assert admin.get("/api/v1/events", params={"after": after}).status_code == 422


def test_csv_is_whole_and_harmless(history: Site, admin: TestClient) -> None:
    evil = {"actor": "=cmd|'/c calc'!A0", "action": "-1+1", "subject": '@x,"y"\r\nz', "detail": {"a": "é"}}
    with history.engine.begin() as connection:
        connection.execute(insert(Event), {"at": BASE - timedelta(days=1), **evil})
    answer = admin.get("/events.csv", params={"looked": "true"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    lines = list(csv.reader(io.StringIO(answer.content.decode("utf-8"), newline="")))
    assert lines[0] == ["at", "who", "what", "facility", "subject", "detail"]
    assert len([line for line in lines if line[4][1:].isdigit()]) == MANY
    last = lines[-1]
    assert last[1:] == ["'=cmd|'/c calc'!A0", "'-1+1", "", '\'@x,"y"\r\nz', "a: é"]
    filtered = admin.get("/api/v1/events.csv", params={"who": "user1", "facility": "central"}).text
    assert filtered.count("\r\n") == 1 + MANY // 12
    assert admin.get("/events.csv", params={"since": "soon"}).status_code == 422


def test_names_are_leapt_to(history: Site) -> None:
    actors, actions = events.names(history.engine)
    assert {"user0", "user1", "user2"} <= set(actors)
    assert {"facility.edited", "device.added", "query.study"} <= set(actions)


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"workers": {"from": 1, "to": None}}, [("workers", "1 → none")]),
        ({"ae_title": "A", "networks": ["a", "b"]}, [("ae title", "A"), ("networks", "a, b")]),
        ({"on": True, "x": {"y": {"from": "", "to": 2}}}, [("on", "yes"), ("x", "y: none → 2")]),
        ({}, []),
    ],
)
def test_details_in_words(detail: dict[str, Any], words: list[tuple[str, str]]) -> None:
    assert events.words(detail) == words


def test_who_may_not(history: Site, log_in: LogIn) -> None:
    client = log_in("facility", "central")
    for path in ("/events", "/events.csv", "/api/v1/events", "/api/v1/events.csv"):
        assert client.get(path).status_code == 403
        assert log_in("viewer").get(path).status_code == 200
