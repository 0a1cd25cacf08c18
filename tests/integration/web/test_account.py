"""One's own account."""

import re

from fastapi.testclient import TestClient

from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.web.application import create_app
from tests.integration.web.conftest import ORIGIN, PASSWORD, LogIn

NEW = "something else entirely"


def client_of(site: Site, name: str, address: str) -> TestClient:
    made = TestClient(create_app(site), base_url=ORIGIN, client=(address, 1), follow_redirects=False)
    assert made.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
    return made


def test_ones_own_password(site: Site) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.VIEWER)
    here, there = client_of(site, "ada", "192.0.2.1"), client_of(site, "ada", "192.0.2.2")
    form = {"current": PASSWORD, "password": NEW, "again": NEW}
    for wrong, status, said in (
        ({"current": "wrong"}, 401, "the current password is wrong"),
        ({"again": "other"}, 422, "the two new passwords differ"),
        ({"password": "short", "again": "short"}, 422, "12 to 1024 characters"),
    ):
        answer = here.post("/account/password", data=form | wrong)
        assert answer.status_code == status
        assert said in answer.text
        assert NEW not in answer.text
    before = here.cookies[COOKIE]
    answer = here.post("/account/password", data=form)
    assert answer.headers["location"] == "/account?done=password"
    assert here.cookies[COOKIE] != before
    assert "Your password is changed" in here.get("/account?done=password").text
    assert there.get("/account").status_code == 303
    assert there.post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 401
    assert there.post("/login", data={"name": "ada", "password": NEW}).status_code == 303


def test_where_one_is_logged_in(site: Site) -> None:
    for name in ("ada", "bob"):
        site.accounts("test").add(name, PASSWORD, Role.VIEWER)
    here, there, other = (client_of(site, name, f"192.0.2.{n}") for n, name in enumerate(("ada", "ada", "bob")))
    page = here.get("/account").text
    assert "192.0.2.0" in page
    assert "192.0.2.1" in page
    assert "192.0.2.2" not in page  # another one's
    assert here.cookies[COOKIE] not in page
    (token,) = re.findall(r'name="token" value="(\w+)"', page)
    other.post("/account/sessions/end", data={"token": token})  # which is not theirs
    assert there.get("/account").status_code == 200
    here.post("/account/sessions/end", data={"token": token})
    assert there.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


def test_log_out_everywhere(site: Site) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.VIEWER)
    clients = [client_of(site, "ada", f"192.0.2.{number}") for number in range(3)]
    assert clients[0].post("/account/sessions/end-all").headers["location"] == "/login"
    assert [each.get("/account").status_code for each in clients] == [303] * 3


def test_a_facilitys_user_reads_which(log_in: LogIn, site: Site) -> None:
    site.registry("test").add("Central")
    assert "central" in log_in("facility", "central").get("/account").text
