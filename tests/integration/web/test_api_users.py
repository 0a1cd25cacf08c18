"""Log-in and users by the API."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from noctis.facilities.registry import Registry
from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.users.conftest import events
from tests.integration.web.conftest import PASSWORD, LogIn

BOB = {"name": "bob", "password": PASSWORD, "role": "viewer"}


def test_log_in_and_out(site: Site, anonymous: TestClient) -> None:
    site.accounts("test").add("ada", PASSWORD, Role.OPERATOR)
    assert anonymous.get("/api/v1/me").status_code == 401
    wrong = anonymous.post("/api/v1/login", json={"name": "ada", "password": "wrong"})
    assert (wrong.status_code, wrong.json()["title"]) == (401, "the name or the password is wrong")
    assert COOKIE not in wrong.cookies
    me = anonymous.post("/api/v1/login", json={"name": "Ada", "password": PASSWORD}).json()
    assert me["user"]["name"] == "ada"
    assert me["rights"] == ["OPEN", "LOGGED_IN", "SEE", "SEE_ALL", "OPERATE"]
    secret = anonymous.cookies[COOKIE]
    assert anonymous.get("/api/v1/me").json()["user"] == me["user"]
    assert anonymous.post("/api/v1/logout").status_code == 204
    anonymous.cookies.set(COOKIE, secret)
    assert anonymous.get("/api/v1/me").status_code == 401
    assert anonymous.post("/api/v1/logout").status_code == 204


def test_users(site: Site, admin: TestClient, registry: Registry) -> None:
    registry.add("Central")
    changes = {"role": "facility", "facility": "central", "email": "b@example.org"}
    added = admin.post("/api/v1/users", json=BOB | changes)
    assert added.status_code == 201
    bob = added.json()
    assert {name: bob[name] for name in changes} == changes
    assert bob["last_login"] is None
    assert "password" not in repr(bob)
    assert [each["name"] for each in admin.get("/api/v1/users").json()] == ["admin", "bob"]
    assert admin.get("/api/v1/users/BOB").json() == bob

    def edit(**changes: Any) -> Any:
        return admin.patch("/api/v1/users/bob", json=changes).json()

    assert edit() == bob
    assert edit(email=None)["email"] is None
    assert edit(role="viewer")["facility"] is None
    assert edit(role="facility", facility="central")["facility"] == "central"
    assert edit(facility=None)["title"] == "the role 'facility', and no other, has a facility"
    assert admin.put("/api/v1/users/bob/password", json={"password": "something else entirely"}).status_code == 204
    assert site.logins.log_in("bob", "something else entirely", "").account.name == "bob"
    assert admin.post("/api/v1/users/bob/unlock").status_code == 204
    assert admin.delete("/api/v1/users/bob/sessions").status_code == 204
    assert admin.delete("/api/v1/users/bob").status_code == 204
    assert admin.get("/api/v1/users/bob").status_code == 404
    assert {who for who, what, whom, _ in events(site.engine) if whom == "bob" and "user." in what} == {"admin"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": "two words"}, 422),
        ({"name": "a\0b"}, 422),
        ({"name": "ADMIN"}, 409),
        ({"password": "short"}, 422),
        ({"password": "x" * 2000}, 422),
        ({"password": "aaaaaaaaaaaaaaa"}, 422),
        ({"role": "king"}, 422),
        ({"role": "facility", "facility": "nowhere"}, 404),
        ({"role": "facility", "facility": "\0"}, 404),
        ({"facility": "central"}, 422),
        ({"email": "x"}, 422),
        ({"is_admin": True}, 422),
        ({"name": None}, 422),
    ],
)
def test_what_is_refused(admin: TestClient, changes: dict[str, Any], status: int) -> None:
    answer = admin.post("/api/v1/users", json=BOB | changes)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert str(changes.get("password", PASSWORD)) not in answer.text


def test_the_last_admin_stays(admin: TestClient) -> None:
    assert admin.delete("/api/v1/users/admin").status_code == 409
    assert admin.patch("/api/v1/users/admin", json={"role": "viewer"}).status_code == 409


def test_the_document_tells_what_is_answered(log_in: LogIn) -> None:
    document = log_in("viewer").get("/api/v1/openapi.json").json()
    assert "/api/v1/users/{name}" in document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert "application/problem+json" in answers["default"]["content"], (path, method)
            assert "422" not in answers
            assert ("security" in operation) is (operation["x-right"] != "OPEN")
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "Problem" in document["components"]["schemas"]
