"""The page and the API of notifications: rules, what was given up, receipts; who may do what; what is never shown."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from noctis.db.models import Event
from noctis.db.notifying import Delivery, NotificationRule
from noctis.facilities.registry import Registry
from noctis.notify import outbox
from noctis.notify.outbox import News
from noctis.notify.rules import Draft, Rules
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn, tell_listeners
from tests.notifying import SECRET

URL = "https://pacs.example/hooks/very-secret-path"
FORM = {"name": "PACS", "kinds": ["silence", "quarantine"], "url": URL, "recipients": "a@x.example, b@y.example"}


@pytest.fixture
def rules(site: Site) -> Rules:
    return Rules(site.engine, site.settings, "ada")


@pytest.fixture
def dead(site: Site, rules: Rules) -> int:
    """A delivery that was given up."""
    rules.add(Draft("all", ("silence",), url=URL, secret=SECRET))
    with site.engine.begin() as connection:
        news = News("silence", datetime.now(UTC), "<script>alert(1)</script> is silent", {})
        outbox.enqueue(connection, rules.read(connection), [news])
        connection.execute(update(Delivery).values(state="dead", last_error="answered 500"))
        return int(connection.scalars(select(Delivery.id)).one())


def events(site: Site) -> list[dict[str, Any]]:
    with site.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(Event.__table__).order_by(Event.id)).mappings()]


def test_a_rule_is_made_changed_and_removed_on_the_page(admin: TestClient, site: Site, registry: Registry) -> None:
    registry.add("Central")
    tell_listeners(site)
    made = admin.post("/notifications/rules/add", data=FORM | {"enabled": "true", "facility": "central"})
    assert made.status_code == 200
    assert "whsec_" in made.text  # it was made, and is shown this once
    secret = made.text.split("whsec_")[1].split()[0].split("<")[0]
    page = admin.get("/notifications").text
    assert "https://pacs.example/…" in page
    assert "very-secret-path" not in page
    assert secret not in page
    form = admin.get("/notifications/rules/1").text
    assert URL in form
    assert secret not in form
    changed = admin.post("/notifications/rules/1", data=FORM | {"name": "PACS <b>team</b>"})
    assert changed.headers["location"] == "/notifications?done=changed"
    assert "PACS &lt;b&gt;team&lt;/b&gt;" in admin.get("/notifications?done=changed").text
    with site.engine.connect() as connection:
        assert secret in connection.scalars(select(NotificationRule.secret)).one()
    assert admin.post("/notifications/rules/1/remove").status_code == 303
    assert admin.get("/notifications/rules/1").status_code == 404
    told = [each for each in events(site) if each["action"].startswith("notification_rule.")]
    assert [each["action"].split(".")[1] for each in told] == ["added", "changed", "removed"]
    assert {each["actor"] for each in told} == {"admin"}
    assert not any(text in str(told) for text in (secret, "very-secret-path", "a@x.example"))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "name has 1 to 64"),
        ("kinds", [], "one kind"),
        ("kinds", ["nonsense"], "there is no kind"),
        ("url", "ftp://x.example/", "no webhook"),
        ("url", "https://user:word@x.example/", "no webhook"),
        ("url", "https://x.example:99999/", "no webhook"),
        ("recipients", "not an address", "no e-mail address"),
        ("recipients", "a@x.example\r\nBcc:b@y.example", "no e-mail address"),
        ("secret", "too short", "base64"),
        ("facility", "nowhere", "no facility"),
    ],
)
def test_what_cannot_be_meant_is_said_and_what_was_typed_stays(
    field: str, value: object, says: str, admin: TestClient
) -> None:
    answer = admin.post("/notifications/rules/add", data=FORM | {field: value})
    assert answer.status_code in (404, 422)
    assert says in answer.text
    if field != "name":
        assert 'value="PACS"' in answer.text


def test_a_name_is_taken_once(admin: TestClient) -> None:
    assert admin.post("/notifications/rules/add", data=FORM).status_code == 200
    assert admin.post("/notifications/rules/add", data=FORM | {"name": "pacs"}).status_code == 409


@pytest.mark.parametrize("how", ["page", "api"])
def test_a_dead_letter_is_shown_and_tried_again_or_discarded(how: str, dead: int, log_in: LogIn, site: Site) -> None:
    operator = log_in("operator")
    page = operator.get("/notifications?state=dead").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; is silent" in page
    assert "answered 500" in page
    prefix = "/notifications/deliveries" if how == "page" else "/api/v1/deliveries"
    assert operator.post(f"{prefix}/{dead}/retry").status_code in (200, 303)
    assert operator.get(f"/api/v1/deliveries/{dead}").json()["state"] == "pending"
    assert operator.post(f"{prefix}/{dead}/discard").status_code in (200, 303)
    assert operator.get(f"/api/v1/deliveries/{dead}").json()["state"] == "discarded"
    assert operator.post(f"{prefix}/{dead}/retry").status_code == 409
    assert operator.post(f"{prefix}/999/retry").status_code == 404
    actions = [(each["actor"], each["action"]) for each in events(site)][-2:]
    assert actions == [("operator", "delivery.retried"), ("operator", "delivery.discarded")]


def test_who_may_do_what(dead: int, log_in: LogIn, registry: Registry) -> None:
    registry.add("Central")
    viewer, operator, facility = log_in("viewer"), log_in("operator"), log_in("facility", "central")
    assert viewer.get("/notifications").status_code == 200
    assert "Add a rule" not in viewer.get("/notifications").text
    assert "Try again" not in viewer.get("/notifications").text
    assert viewer.post(f"/api/v1/deliveries/{dead}/retry").status_code == 403
    assert operator.get("/notifications/rules/add").status_code == 403
    assert operator.post("/api/v1/notification-rules", json={}).status_code == 403
    assert operator.post("/notifications/test", data={"rule": "page:1"}).status_code == 403
    for path in ("/notifications", "/notifications/now", "/api/v1/notifications", "/api/v1/deliveries"):
        assert facility.get(path).status_code == 403
    assert facility.get("/api/v1/notification-rules").status_code == 403


def test_the_api_has_rules_and_shows_no_secret(admin: TestClient, log_in: LogIn) -> None:
    body = {"name": "api", "kinds": ["disk-low"], "url": URL}
    made = admin.post("/api/v1/notification-rules", json=body)
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    (rule,) = admin.get("/api/v1/notification-rules").json()
    assert (rule["url"], rule["secret"], rule["key"]) == (URL, None, "page:1")
    assert secret not in admin.get("/api/v1/notification-rules").text
    assert log_in("viewer").get("/api/v1/notification-rules").json()[0]["url"] == "https://pacs.example/…"
    changed = admin.put("/api/v1/notification-rules/1", json=body | {"enabled": False})
    assert (changed.json()["enabled"], changed.json()["secret"]) == (False, None)
    assert admin.delete("/api/v1/notification-rules/1").status_code == 204
    assert admin.delete("/api/v1/notification-rules/1").status_code == 404


def test_a_test_is_sent_to_a_rule_that_is_off_too(admin: TestClient, rules: Rules) -> None:
    rules.add(Draft("all", ("silence",), url=URL, recipients=("a@x.example",), enabled=False))
    assert admin.post("/notifications/test", data={"rule": "page:1"}).status_code == 303
    uid = admin.post("/api/v1/notification-rules/page:1/test").json()["uid"]
    items = admin.get("/api/v1/deliveries").json()["items"]
    assert len(items) == 4
    assert {each["kind"] for each in items} == {"test"}
    assert uid in {each["uid"] for each in items}


def test_lists_are_paged(admin: TestClient, site: Site, rules: Rules) -> None:
    rules.add(Draft("all", ("silence",), url=URL))
    with site.engine.begin() as connection:
        news = [News("silence", datetime.now(UTC) + timedelta(seconds=n), str(n), {}) for n in range(7)]
        outbox.enqueue(connection, rules.read(connection), news)
    for path in ("/api/v1/notifications", "/api/v1/deliveries"):
        seen: list[str] = []
        after = ""
        while after is not None:
            page = admin.get(path, params={"limit": 3} | ({"after": after} if after else {})).json()
            seen += [each["sentence"] for each in page["items"]]
            after = page["next"]
        assert seen == [str(n) for n in reversed(range(7))]
        assert admin.get(path, params={"after": "x"}).status_code == 422
    assert admin.get("/notifications?after=x&state=nonsense&kind=nonsense").status_code == 200


def test_rules_of_the_configuration_are_shown_and_cannot_be_changed(
    site: Site, log_in: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.integration.notify.conftest import with_options

    given = {"name": "configured", "kinds": ["silence"], "url": URL, "secret": SECRET}
    site.settings = with_options(site.settings, notifications={"rules": [given]})
    admin = log_in("admin")
    page = admin.get("/notifications").text
    assert "of the configuration" in page
    (rule,) = admin.get("/api/v1/notification-rules").json()
    assert (rule["origin"], rule["id"], rule["key"]) == ("config", None, "config:configured")
    assert SECRET not in page + str(rule)
    assert SECRET not in str(site.settings.shown())
    assert admin.post("/api/v1/notification-rules/config:configured/test").status_code == 202
