"""While the schema is upgraded pages say so and come back by themselves; nobody asks the database meanwhile."""

import os
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from noctis.db import migrate, upgrading
from noctis.db.upgrading import Progress
from noctis.errors import DatabaseError
from noctis.web.site import Site

NEWEST = migrate.revisions()[-1]


@pytest.fixture
def progress(site: Site) -> Iterator[Progress]:
    """An upgrade for which this process answers."""
    yield Progress(site.home, "0003", NEWEST, os.getpid())
    upgrading.forget(site.home)


def test_a_page_says_how_far_it_is_and_looks_again(site: Site, progress: Progress, anonymous: TestClient) -> None:
    progress.tell("the words of studies", 250_000, 1_000_000)
    answer = anonymous.get("/login")
    assert answer.status_code == 503
    assert "The database is being upgraded" in answer.text
    assert "250,000 of 1,000,000 (25 %)" in answer.text
    assert (answer.headers["Refresh"], answer.headers["Retry-After"]) == ("5", "5")
    upgrading.forget(site.home)
    assert anonymous.get("/login").status_code == 200
    assert anonymous.get("/").status_code == 303


def test_a_part_of_a_page_has_the_whole_page_look_again(progress: Progress, anonymous: TestClient) -> None:
    answer = anonymous.get("/studies", headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert answer.headers["HX-Refresh"] == "true"
    assert "Refresh" not in answer.headers
    assert "<html" not in answer.text


def test_a_form_is_not_sent_twice(progress: Progress, anonymous: TestClient) -> None:
    answer = anonymous.post("/login", data={"name": "x", "password": "y"})
    assert answer.status_code == 503
    assert "Refresh" not in answer.headers


def test_programs_get_problem_details(progress: Progress, anonymous: TestClient) -> None:
    answer = anonymous.get("/api/v1/facilities")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "5"
    assert "Refresh" not in answer.headers
    assert answer.json()["title"].startswith(f"the database is being upgraded from schema 0003 to {NEWEST}")


def test_health_needs_no_database_and_names_none(
    site: Site, engine: Engine, progress: Progress, anonymous: TestClient
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    progress.waits(DatabaseError("the database postgresql://db.internal/noctis is held locked"))
    assert anonymous.get("/healthz").status_code == 200
    answer = anonymous.get("/readyz")
    assert answer.status_code == 503
    (problem,) = [each["problem"] for each in answer.json()["reasons"] if each["part"] == "database"]
    assert problem.startswith("the database is being upgraded")
    assert problem.endswith("; it waits; what arrives is received meanwhile")
    for path in ("/readyz", "/login", "/api/v1/facilities"):
        assert "db.internal" not in anonymous.get(path).text


def test_an_older_schema_that_nobody_upgrades(engine: Engine, anonymous: TestClient) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    answer = anonymous.get("/login")
    assert answer.status_code == 503
    assert f"the database has schema 0003, this release wants {NEWEST}" in answer.text
    assert "noctis db upgrade" in answer.text
    assert "Refresh" not in answer.headers
