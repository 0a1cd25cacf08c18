"""Logging in, logging out, the first admin."""

from fastapi.testclient import TestClient

from noctis.users import setup
from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.web.conftest import PASSWORD, LogIn


def test_the_first_admin_comes_by_the_link_and_nobody_else(site: Site, anonymous: TestClient) -> None:
    secret = setup.secret(site.home)
    assert anonymous.get("/setup", params={"secret": "guessed"}).status_code == 404
    assert anonymous.get("/setup", params={"secret": secret}).status_code == 200
    form = {"secret": secret, "name": "ada", "password": PASSWORD, "again": PASSWORD}
    assert anonymous.post("/setup", data=form | {"again": "another one, longer"}).status_code == 422
    assert anonymous.post("/setup", data=form).headers["location"] == "/"
    assert anonymous.get("/").status_code == 200
    assert site.accounts("test").get("ada").role == Role.ADMIN
    assert anonymous.post("/setup", data=form | {"name": "eve"}).status_code == 404


def test_log_in_and_out(site: Site, anonymous: TestClient) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.VIEWER)
    assert anonymous.get("/api/docs?x=1").headers["location"] == "/login?next=/api/docs%3Fx%3D1"
    form = {"name": "ada", "password": "wrong, quite wrong", "next": "/live"}
    refused = anonymous.post("/login", data=form)
    assert (refused.status_code, COOKIE in refused.cookies) == (401, False)
    answer = anonymous.post("/login", data=form | {"password": PASSWORD})
    assert answer.headers["location"] == "/live"
    assert "HttpOnly" in answer.headers["set-cookie"]
    secret = answer.cookies[COOKIE]
    assert anonymous.get("/").status_code == 200
    anonymous.post("/logout")
    anonymous.cookies.set(COOKIE, secret)  # a copy that somebody kept
    assert anonymous.get("/").status_code == 303


def test_a_request_from_another_site_changes_nothing(log_in: LogIn) -> None:
    client = log_in("admin")
    assert client.post("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/logout", headers={"Origin": "http://evil.test"}).status_code == 403
    assert client.get("/").status_code == 200
