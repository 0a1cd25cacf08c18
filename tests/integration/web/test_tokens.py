"""Tokens as programs show them, and where people make and end them."""

import json
import re
from datetime import timedelta

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from noctis.users.bearers import ADDRESS_FAILURES_MAX
from noctis.users.roles import Role
from noctis.web.access import COOKIE, Caller
from noctis.web.api.images import _still
from noctis.web.app import create_app
from noctis.web.site import Site
from tests.integration.users.test_tokens import shift
from tests.integration.web.conftest import ORIGIN, PASSWORD, LogIn
from tests.integration.web.test_health import with_metrics

WRONG = "noctis_" + "0" * 64


@pytest.fixture
def ada(site: Site) -> str:
    """A token of an operator's."""
    site.accounts("test").add("ada", PASSWORD, Role.OPERATOR)
    return site.tokens("test").add("ada", "a").secret


def show(client: TestClient, token: str, path: str = "/api/v1/me", method: str = "GET") -> httpx2.Response:
    return client.request(method, path, headers={"Authorization": f"Bearer {token}"})


def only(site: Site) -> int:
    (record,) = site.tokens("test").all()
    return record.id


# -- shown to the API


def test_who_it_is(anonymous: TestClient, ada: str) -> None:
    me = show(anonymous, ada).json()
    assert (me["user"]["name"], me["token"]["name"], me["token"]["read_only"]) == ("ada", "a", False)
    assert "token" not in me["token"]
    for spelling in (f"bearer {ada}", f"BEARER   {ada} "):  # RFC 9110 §11.1
        assert anonymous.get("/api/v1/me", headers={"Authorization": spelling}).status_code == 200
    assert "set-cookie" not in show(anonymous, ada).headers


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer x", "Basic YWRhOmFkYQ==", "Bearer eyJhbGciOiJIUzI1NiJ9"]
)
def test_without_one_of_ours(anonymous: TestClient, log_in: LogIn, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = anonymous.get("/api/v1/me", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="Noctis"'
    assert "Bearer noctis_" in answer.json()["detail"]
    # What a proxy has put there for itself takes nobody's session away.
    assert log_in("viewer").get("/api/v1/me", headers=headers).status_code == 200


@pytest.mark.parametrize("wrong", [WRONG, "noctis_", "noctis_x", "noctis_" + "ä" * 10])
def test_a_wrong_one(anonymous: TestClient, log_in: LogIn, wrong: str) -> None:
    for client in (anonymous, log_in("admin")):  # a session beside it does not count
        answer = client.get("/api/v1/me", headers={"Authorization": f"Bearer {wrong}".encode("latin-1", "replace")})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == 'Bearer realm="Noctis", error="invalid_token"'
        assert wrong not in answer.text or wrong == "noctis_"


def test_a_flood_of_wrong_ones(site: Site, anonymous: TestClient, ada: str) -> None:
    for _ in range(ADDRESS_FAILURES_MAX):
        assert show(anonymous, WRONG).status_code == 401
    answer = show(anonymous, WRONG)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 601
    assert "too many wrong tokens" in answer.json()["title"]
    assert show(anonymous, ada).status_code == 200
    other = TestClient(create_app(site), base_url=ORIGIN, client=("192.0.2.1", 1))
    assert show(other, WRONG).status_code == 401


def test_it_ends_at_once(site: Site, anonymous: TestClient, ada: str) -> None:
    shift(site.engine, "created_at", -timedelta(days=2))
    assert show(anonymous, ada).status_code == 200
    site.tokens("test").remove(only(site))
    assert show(anonymous, ada).status_code == 401


def test_a_download_ends_with_the_token_that_it_was_asked_for_with(site: Site, ada: str) -> None:
    held = site.bearers.holder(ada, "")
    by_token, by_session = _still(site, Caller(held.account, held.token)), _still(site, Caller(held.account))
    assert by_token()
    site.tokens("test").remove(held.token.id)
    assert not by_token()
    assert by_session()


def test_one_that_reads(site: Site, anonymous: TestClient) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.ADMIN)
    token = site.tokens("test").add("ada", "a", read_only=True).secret
    assert show(anonymous, token).json()["token"]["read_only"]
    assert show(anonymous, token, "/api/v1/facilities").status_code == 200
    answer = show(anonymous, token, "/api/v1/facilities", "POST")
    assert (answer.status_code, answer.json()["title"]) == (403, "this token is for reading alone")
    assert answer.headers["www-authenticate"] == 'Bearer realm="Noctis", error="insufficient_scope"'


def test_what_changes_something_is_done_in_the_accounts_name(site: Site, anonymous: TestClient) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.ADMIN)
    token = site.tokens("test").add("ada", "a").secret
    made = anonymous.post("/api/v1/facilities", json={"name": "Central"}, headers={"Authorization": f"Bearer {token}"})
    assert made.status_code == 201
    with site.engine.connect() as connection:
        actor = connection.scalar(text("SELECT actor FROM event WHERE action = 'facility.added'"))
    assert actor == "ada"


def test_no_page_is_opened_and_no_account_is_reached(anonymous: TestClient, log_in: LogIn, site: Site) -> None:
    log_in("admin")
    token = site.tokens("test").add("admin", "a").secret
    for path in ("/", "/account", "/users", "/api/docs"):
        assert show(anonymous, token, path).headers["location"].startswith("/login")
    admin = log_in("admin")
    for method, path in (
        ("GET", "/api/v1/users"),
        ("PUT", "/api/v1/users/admin/password"),
        ("GET", "/api/v1/tokens"),
        ("POST", "/api/v1/tokens"),
        ("DELETE", "/api/v1/tokens/1"),
        ("GET", "/api/v1/users/admin/tokens"),
    ):
        for client in (anonymous, admin):  # beside a session too: what is shown counts
            answer = show(client, token, path, method)
            assert (answer.status_code, answer.json()["title"]) == (
                403,
                "no token may do this: log in with your password",
            )
    assert show(anonymous, WRONG, "/api/v1/users").status_code == 401
    assert show(admin, WRONG, "/users").status_code == 200  # a page does not look at it
    # Logging in is with a password, whatever else is shown.
    answer = anonymous.post(
        "/api/v1/login", json={"name": "admin", "password": PASSWORD}, headers={"Authorization": f"Bearer {WRONG}"}
    )
    assert answer.status_code == 200
    assert answer.json()["token"] is None


def test_metrics_where_they_want_a_login(site: Site, anonymous: TestClient, ada: str) -> None:
    """Which is how Prometheus reads them: its `authorization`."""
    site.settings = with_metrics(site.settings, "login")
    assert show(anonymous, ada, "/metrics").status_code == 200
    for token in (WRONG, "x"):
        answer = show(anonymous, token, "/metrics")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_script_of_another_origin_can_show_none(anonymous: TestClient, ada: str) -> None:
    headers = {"Authorization": f"Bearer {ada}", "Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"}
    assert anonymous.post("/api/v1/facilities", json={}, headers=headers).status_code == 403
    asked = headers | {"Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in anonymous.options("/api/v1/facilities", headers=asked).headers


# -- made and ended


def test_ones_own_by_the_api(site: Site, log_in: LogIn, anonymous: TestClient) -> None:
    client, other = log_in("viewer"), log_in("operator")
    body = {"name": "nightly", "password": PASSWORD, "days": 7, "read_only": True}
    made = client.post("/api/v1/tokens", json=body)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    token = made.json()
    secret = token.pop("token")
    (listed,) = client.get("/api/v1/tokens").json()
    assert listed == token
    assert other.get("/api/v1/tokens").json() == []
    assert show(anonymous, secret).json()["user"]["name"] == "viewer"
    for wrong, status in (
        ({"password": "wrong"}, 401),
        ({"name": ""}, 422),
        ({"name": "a\nb"}, 422),
        ({"days": 0}, 422),
        ({"days": 10**30}, 422),
        ({"rights": "all"}, 422),
    ):
        assert client.post("/api/v1/tokens", json=body | wrong).status_code == status, wrong
    address = f"/api/v1/tokens/{token['id']}"
    assert other.delete(address).status_code == 404
    assert client.delete(address).status_code == 204
    assert client.delete(address).status_code == 404
    assert show(anonymous, secret).status_code == 401


def test_an_admin_sees_and_ends_those_of_others(site: Site, admin: TestClient, anonymous: TestClient, ada: str) -> None:
    (listed,) = admin.get("/api/v1/users/ada/tokens").json()
    address = f"/tokens/{listed['id']}"
    assert admin.delete(f"/api/v1/users/admin{address}").status_code == 404
    assert admin.delete(f"/api/v1{address}").status_code == 404  # it is not the admin's own
    assert admin.delete(f"/api/v1/users/ada{address}").status_code == 204
    assert show(anonymous, ada).status_code == 401


def test_ones_own_on_the_page(site: Site, log_in: LogIn, anonymous: TestClient) -> None:
    client, other = log_in("viewer"), log_in("operator")
    form = {"name": "<script>alert(1)</script>", "days": "7", "read_only": "true", "current": PASSWORD}
    made = client.post("/account/tokens", data=form)
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    secret = re.findall(r'id="token">(noctis_\w+)<', made.text)[0]
    page = client.get("/account").text
    for each in (made.text, page):
        assert "<script>alert" not in each
        assert "&lt;script&gt;alert(1)" in each
    assert secret not in page
    assert "&lt;script&gt;alert(1)" not in other.get("/account").text
    assert show(anonymous, secret).json()["token"]["read_only"]
    for wrong, status, said in (
        ({"current": "wrong"}, 401, "the current password is wrong"),
        ({"name": " "}, 422, "token&#39;s name"),
        ({"days": "x"}, 422, "days are a number"),
        ({"days": "²"}, 422, "days are a number"),
        ({"days": "9" * 30}, 422, "1 to 3650 days"),
    ):
        answer = client.post("/account/tokens", data=form | wrong)
        assert answer.status_code == status, wrong
        assert said in answer.text
    other.post(f"/account/tokens/{only(site)}/remove")
    assert show(anonymous, secret).status_code == 200
    answer = client.post(f"/account/tokens/{only(site)}/remove")
    assert answer.headers["location"] == "/account?done=token"
    assert show(anonymous, secret).status_code == 401
    del form["read_only"]
    assert "It has no end" in client.post("/account/tokens", data=form | {"days": ""}).text
    (record,) = site.tokens("test").all()
    assert (record.expires_at, record.read_only) == (None, False)


def test_wrong_passwords_for_a_token_lock_as_at_a_login(log_in: LogIn, site: Site) -> None:
    """A session that was taken over can be used to guess no further than a stranger can."""
    client = log_in("viewer")
    form = {"name": "a", "days": "", "current": "wrong"}
    statuses = [client.post("/account/tokens", data=form).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    assert client.post("/account/tokens", data=form | {"current": PASSWORD}).status_code == 429


def test_those_of_others_on_the_page(site: Site, admin: TestClient, anonymous: TestClient, ada: str) -> None:
    page = admin.get("/users/ada").text
    assert f'id="end-token-{only(site)}"' in page
    assert ada not in page
    assert admin.post(f"/users/admin/tokens/{only(site)}/remove").status_code == 404
    answer = admin.post(f"/users/ada/tokens/{only(site)}/remove")
    assert answer.headers["location"] == "/users/ada?done=token"
    assert show(anonymous, ada).status_code == 401


# -- what is said of it


def test_the_document_says_what_a_token_opens(log_in: LogIn) -> None:
    document = log_in("viewer").get("/api/v1/openapi.json").json()
    scheme = document["components"]["securitySchemes"]["token"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    both = [{"session": []}, {"token": []}]
    assert document["paths"]["/api/v1/studies"]["get"]["security"] == both
    assert document["paths"]["/api/v1/users"]["get"]["security"] == [{"session": []}]
    assert document["paths"]["/api/v1/tokens"]["post"]["security"] == [{"session": []}]
    assert "security" not in document["paths"]["/api/v1/login"]["post"]


def test_no_token_stands_in_a_log_or_an_event(
    site: Site, ada: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TestClient(create_app(site), base_url=ORIGIN, raise_server_exceptions=False)
    client.cookies.set(COOKIE, "x")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault while a token is at hand")

    show(client, WRONG)
    show(client, ada)
    show(client, ada, f"/api/v1/studies?token={ada}")
    with monkeypatch.context() as patch:
        patch.setattr(site.bearers, "_used", fail)
        assert show(client, ada).status_code == 500
    with site.engine.connect() as connection:
        kept = json.dumps([list(map(str, row)) for row in connection.execute(text("SELECT * FROM event"))])
    written = "".join(capfd.readouterr()) + kept
    assert "web.fault" in written
    for secret in (ada, WRONG):
        assert secret.removeprefix("noctis_") not in written
