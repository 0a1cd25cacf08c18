"""Logging in, logging out, the first admin."""

import threading
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from noctis.users import setup
from noctis.users.roles import Role
from noctis.users.throttle import FAILURES_MAX, Throttle
from noctis.web.access import COOKIE, IDLE
from noctis.web.pages.login import own_path
from noctis.web.site import Site
from tests.integration.users.test_sessions import shift
from tests.integration.web.application import create_app
from tests.integration.web.conftest import ORIGIN, PASSWORD, LogIn

FORM = {"name": "ada", "password": PASSWORD}


@pytest.fixture
def ada(site: Site) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.VIEWER)


# -- the first admin


def test_the_first_admin_comes_by_the_link_and_nobody_else(site: Site, anonymous: TestClient) -> None:
    secret = setup.secret(site.home)
    assert "Nobody can log in yet" in anonymous.get("/login").text
    for guessed in ("", "guessed", "ä", "x" * 300):
        assert anonymous.get("/setup", params={"secret": guessed}).status_code == 404
    assert anonymous.get("/setup", params={"secret": secret}).status_code == 200
    form = {"secret": secret, "name": "ada", "password": PASSWORD, "again": PASSWORD}
    for wrong in ({"again": "another one, longer"}, {"password": "short", "again": "short"}, {"name": "<script>"}):
        answer = anonymous.post("/setup", data=form | wrong)
        assert answer.status_code == 422
        assert "<script>" not in answer.text.partition("<main")[2]
    assert anonymous.post("/setup", data=form | {"secret": "guessed"}).status_code == 404
    assert anonymous.post("/setup", data=form).headers["location"] == "/"
    assert anonymous.get("/").status_code == 200
    assert site.accounts("test").get("ada").role == Role.ADMIN
    assert anonymous.post("/setup", data=form | {"name": "eve"}).status_code == 404
    assert anonymous.get("/setup", params={"secret": secret}).status_code == 404


def test_of_two_set_ups_at_once_there_is_one_admin(site: Site) -> None:
    form = {"secret": setup.secret(site.home), "password": PASSWORD, "again": PASSWORD}
    gate, statuses = threading.Barrier(3), []

    def post(client: TestClient, name: str) -> None:
        gate.wait(60)
        statuses.append(client.post("/setup", data=form | {"name": name}).status_code)

    app = create_app(site)
    clients = {name: TestClient(app, base_url=ORIGIN, follow_redirects=False) for name in ("ada", "bob", "eve")}
    threads = [threading.Thread(target=post, args=(client, name)) for name, client in clients.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [303, 404, 404]
    assert len(site.accounts("test").all()) == 1


def test_the_link_is_worth_nothing_once_there_is_somebody(site: Site, anonymous: TestClient, ada: None) -> None:
    form = {"secret": setup.secret(site.home), "name": "eve", "password": PASSWORD, "again": PASSWORD}
    assert anonymous.post("/setup", data=form).status_code == 404
    assert anonymous.get("/setup", params={"secret": form["secret"]}).status_code == 404


# -- in and out


@pytest.mark.usefixtures("ada")
def test_log_in_and_out(anonymous: TestClient) -> None:
    assert anonymous.get("/api/docs?x=1").headers["location"] == "/login?next=/api/docs%3Fx%3D1"
    form = FORM | {"password": "wrong, quite wrong", "next": "/live"}
    refused = anonymous.post("/login", data=form)
    assert (refused.status_code, COOKIE in refused.cookies) == (401, False)
    assert 'value="/live"' in refused.text
    answer = anonymous.post("/login", data=form | {"password": PASSWORD})
    assert answer.headers["location"] == "/live"
    secret = answer.cookies[COOKIE]
    assert anonymous.get("/").status_code == 200
    assert anonymous.get("/login?next=/live").headers["location"] == "/live"  # who is logged in already
    gone = anonymous.post("/logout")
    assert gone.headers["location"] == "/login"
    assert f'{COOKIE}=""' in gone.headers["set-cookie"]
    anonymous.cookies.set(COOKIE, secret)  # a copy that somebody kept
    assert anonymous.get("/").status_code == 303


@pytest.mark.usefixtures("ada")
def test_a_planted_cookie_is_never_adopted(site: Site, anonymous: TestClient) -> None:
    planted = "attacker-knows-this-value-attacker-knows-it"
    anonymous.cookies.set(COOKIE, planted)
    assert anonymous.get("/").status_code == 303
    assert COOKIE not in anonymous.get("/login").cookies
    secret = anonymous.post("/login", data=FORM).cookies[COOKIE]
    assert secret != planted
    assert site.sessions.account(planted) is None


@pytest.mark.usefixtures("ada")
def test_a_log_in_ends_the_session_that_the_browser_had(site: Site, log_in: LogIn) -> None:
    client = log_in("operator")
    before = client.cookies[COOKIE]
    client.post("/login", data=FORM)
    assert site.sessions.account(before) is None


@pytest.mark.usefixtures("ada")
def test_two_cookies_of_one_name_are_nobody(anonymous: TestClient, site: Site) -> None:
    secret = site.sessions.start(site.accounts("test").get("ada"), "")
    for header in (f"{COOKIE}={secret}x", f"x{COOKIE}={secret}", f"{COOKIE}=", f"{COOKIE}={'x' * 8000}"):
        assert anonymous.get("/", headers={"Cookie": header}).status_code == 303


# -- where it leads to


ELSEWHERE = [
    "https://evil.test",
    "//evil.test",
    "///evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "/x\r\nSet-Cookie: a=b",
    "javascript:alert(1)",
    "http:evil.test",
    "//[",
    " /live",
    "live",
    "",
    "\0",
    "/" + "x" * 3000,
]


@pytest.mark.parametrize("text", ELSEWHERE, ids=range(len(ELSEWHERE)))
@pytest.mark.usefixtures("ada")
def test_it_leads_to_pages_of_ours_alone(anonymous: TestClient, text: str) -> None:
    assert own_path(text) == "/"
    assert anonymous.post("/login", data=FORM | {"next": text}).headers["location"] == "/"
    if "\0" not in text:
        assert anonymous.get("/login", params={"next": text}).headers["location"] == "/"


@pytest.mark.parametrize("text", ["/live", "/studies?q=a&facility=central", "/a//b", "/x?y=http://evil", "/ä%20b"])
def test_where_it_may_lead_to(text: str) -> None:
    assert own_path(text) == text


def test_a_part_of_a_page_leads_to_the_login_and_back(anonymous: TestClient) -> None:
    asked = {"HX-Request": "true", "HX-Current-URL": "http://noctis.test/users?x=1"}
    answer = anonymous.get("/", headers=asked)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/login?next=/users%3Fx%3D1")
    forged = anonymous.get("/", headers=asked | {"HX-Current-URL": "https://evil.test//evil.test/x"})
    assert own_path(forged.headers["hx-redirect"].partition("next=")[2]) == "/"


# -- guessing


@pytest.mark.usefixtures("ada")
def test_guessing_a_password_locks(anonymous: TestClient, site: Site) -> None:
    for _ in range(FAILURES_MAX):
        assert anonymous.post("/login", data=FORM | {"password": "wrong"}).status_code == 401
    answer = anonymous.post("/login", data=FORM)
    assert answer.status_code == 429
    assert "too many wrong passwords" in answer.text
    api = anonymous.post("/api/v1/login", json=FORM)
    assert api.status_code == 429
    assert 0 < int(api.headers["retry-after"]) <= 61
    site.accounts("test").unlock("ada")
    assert anonymous.post("/login", data=FORM).status_code == 303


@pytest.mark.usefixtures("ada")
def test_one_address_that_tries_many_names(site: Site, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.logins, "_addresses", Throttle(6, 600))
    statuses = [
        anonymous.post("/login" if number % 2 else "/api/v1/login",
                       **{"data" if number % 2 else "json": {"name": f"user{number}", "password": "wrong"}}).status_code
        for number in range(8)
    ]  # fmt: skip
    assert statuses == [401] * 6 + [429] * 2
    other = TestClient(create_app(site), base_url=ORIGIN, client=("192.0.2.1", 1), follow_redirects=False)
    assert other.post("/login", data=FORM).status_code == 303


@pytest.mark.usefixtures("ada")
def test_what_was_typed_stands_harmlessly_on_the_page(anonymous: TestClient) -> None:
    evil = '"><script>alert(1)</script>'
    answer = anonymous.post("/login", data={"name": evil, "password": evil, "next": f"/{evil}"})
    assert answer.status_code == 401
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert evil not in anonymous.get("/login", params={"next": f"/{evil}"}).text


# -- how long


def test_a_page_that_only_refreshes_itself_keeps_nobody_logged_in(site: Site, log_in: LogIn) -> None:
    client = log_in("viewer")
    for headers, stays in (({}, True), ({IDLE: "1"}, False)):
        for _ in range(3):
            shift(site.engine, "last_seen", -timedelta(minutes=site.settings.web.idle_minutes / 2 + 1))
            answer = client.get("/", headers=headers)
        assert (answer.status_code == 200) is stays
