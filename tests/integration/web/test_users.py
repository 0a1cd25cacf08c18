"""The page of users."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from noctis.db.models import Account
from noctis.facilities.registry import Registry
from noctis.users.roles import Role
from noctis.web.site import Site
from tests.integration.users.conftest import events
from tests.integration.web.conftest import PASSWORD, LogIn

FORM = {"name": "bob", "password": PASSWORD, "again": PASSWORD, "role": "viewer", "facility": "", "email": ""}


def test_add_edit_and_remove(site: Site, admin: TestClient, registry: Registry) -> None:
    registry.add("Central")
    answer = admin.post("/users", data=FORM | {"role": "facility", "facility": "central", "email": "bob@example.org"})
    assert answer.headers["location"] == "/users?done=added"
    page = admin.get("/users?done=added").text
    for shown in ("bob", "bob@example.org", "central", "The user is added.", "Central"):
        assert shown in page
    assert admin.get("/users/bob").status_code == 200
    answer = admin.post("/users/bob", data={"role": "operator", "email": ""})
    assert answer.headers["location"] == "/users/bob?done=edited"
    account = site.accounts("test").get("bob")
    assert (account.role, account.facility, account.email) == (Role.OPERATOR, None, None)
    assert admin.post("/users/bob/remove").headers["location"] == "/users?done=removed"
    assert admin.get("/users/bob").status_code == 404
    done = [event for event in events(site.engine) if event[2] == "bob"]
    assert [(who, what) for who, what, *_ in done] == [
        ("admin", "user.added"),
        ("admin", "user.edited"),
        ("admin", "user.removed"),
    ]


def test_a_new_password_and_what_an_admin_can_end(site: Site, admin: TestClient, log_in: LogIn) -> None:
    viewer = log_in("viewer")
    new = {"password": "something else entirely", "again": "something else entirely"}
    assert admin.post("/users/viewer/password", data=new | {"again": "x"}).status_code == 422
    assert viewer.get("/").status_code == 200
    assert admin.post("/users/viewer/password", data=new).status_code == 303
    assert viewer.get("/").status_code == 303
    for _ in range(5):
        viewer.post("/login", data={"name": "viewer", "password": PASSWORD})
    assert "locked until" in admin.get("/users").text
    assert admin.post("/users/viewer/unlock").status_code == 303
    assert "locked until" not in admin.get("/users/viewer").text
    assert viewer.post("/login", data={"name": "viewer", "password": new["password"]}).status_code == 303
    assert admin.post("/users/viewer/log-out").status_code == 303
    assert viewer.get("/").status_code == 303


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"name": "two words"}, 422, "cannot be a user&#39;s name"),
        ({"name": "<script>alert(1)</script>"}, 422, "&lt;script&gt;"),
        ({"name": "ADMIN"}, 409, "there is a user"),
        ({"password": "short", "again": "short"}, 422, "12 to 1024"),
        ({"again": "other"}, 422, "the two passwords differ"),
        ({"role": "king"}, 404, "there is no role"),
        ({"role": "facility"}, 422, "has a facility"),
        ({"role": "facility", "facility": "nowhere"}, 404, "No facility found"),
        ({"facility": "central"}, 422, "has a facility"),
        ({"email": "<script>@x"}, 422, "is no e-mail address"),
        ({"name": "a\0b"}, 422, "cannot be"),
    ],
)
def test_what_is_refused_stays_typed(admin: TestClient, wrong: dict[str, str], status: int, said: str) -> None:
    answer = admin.post("/users", data=FORM | wrong)
    assert answer.status_code == status
    assert said in answer.text
    assert "<script>alert" not in answer.text
    assert "<script>@" not in answer.text
    assert PASSWORD not in answer.text
    if "name" not in wrong:
        assert 'value="bob"' in answer.text


def test_the_last_admin_stays(admin: TestClient) -> None:
    for answer in (admin.post("/users/admin/remove"), admin.post("/users/admin", data={"role": "viewer"})):
        assert answer.status_code == 409
        assert "last admin" in answer.text


def test_names_from_elsewhere_are_harmless(site: Site, admin: TestClient) -> None:
    with site.engine.begin() as connection:
        evil = "<script>alert(1)</script>"
        connection.execute(insert(Account).values(name=evil, role="viewer", password="none", email='"><img src=x>'))
    page = admin.get("/users").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    for path in ("/users/%3Cscript%3E", "/users/..%2f..", "/users/%20", "/users/" + "x" * 3000):
        assert admin.get(path).status_code == 404
        assert "<script>alert" not in admin.get(path).text


def test_facilities_whose_names_are_not_harmless(admin: TestClient, registry: Registry) -> None:
    registry.add('"><script>alert(2)</script>', ae_title="EVIL")
    assert "<script>alert" not in admin.get("/users").text
