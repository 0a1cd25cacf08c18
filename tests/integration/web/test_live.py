"""Live, and the checklist of a new facility: what is open, what was, and what got through."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from noctis.checks.echo import EchoResult
from noctis.db import models
from noctis.errors import DatabaseError
from noctis.facilities.naming import CHECKING
from noctis.facilities.registry import Registry
from noctis.observability import live
from noctis.observability.live import LiveAssociation
from noctis.web import checklist
from noctis.web import live as pages
from noctis.web.site import Site
from tests.integration.web.conftest import LogIn, tell_listeners
from tests.integration.web.supervisors import Supervisor
from tests.support import wait_for

EVIL = "<b>evil</b>"
NOW = datetime.now(UTC)
OPEN = LiveAssociation(
    association_id="a1",
    facility="central",
    port=11113,
    called="CENTRAL",
    calling="CT_1",
    address="10.0.0.1",
    tls=False,
    started_at=(NOW - timedelta(seconds=90)).isoformat(),
    last_data_at=NOW.isoformat(),
    received=5000,
    instances=2,
    bytes=4000,
    failures=1,
    echoes=0,
)


@pytest.fixture(autouse=True)
def supervisor(site: Site) -> Supervisor:
    return Supervisor(site)


@pytest.fixture(autouse=True)
def _anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, steps = site.watch, site.checklist
    kept = (watch._growth, watch._spool, watch._machine, watch._recent, steps._firsts, steps._echo)
    for cache in (*kept, site.doors._live, site.doors._overview, site.doors._ledger):
        monkeypatch.setattr(cache, "_seconds", 0)
        monkeypatch.setattr(cache, "_kept", 0)


@pytest.fixture
def two(registry: Registry, site: Site) -> dict[str, int]:
    """Slug → id."""
    found = {name: registry.add(name, ae_title=name.upper()).id for name in ("central", "north")}
    tell_listeners(site)
    return found


Say = Callable[..., None]


@pytest.fixture
def say(site: Site) -> Say:
    """These associations are open, as listeners would say it."""

    def write(*rows: LiveAssociation) -> None:
        live.write(site.home.live / live.name_of(11113, os.getpid()), os.getpid(), live.started(os.getpid()), rows)

    return write


def ended(site: Site, facility_id: int, number: int, **values: Any) -> None:
    known = {
        "port": 11113,
        "called": "CENTRAL",
        "calling": f"CT_{number}",
        "address": "10.0.0.9",
        "outcome": "released",
    }
    known |= {"started_at": NOW - timedelta(seconds=10), "ended_at": NOW, "association_id": f"e{number}"}
    with site.engine.begin() as connection:
        connection.execute(insert(models.AssociationRecord).values(facility_id=facility_id, **(known | values)))


def test_open_and_recent_associations(two: dict[str, int], say: Say, site: Site, admin: TestClient) -> None:
    say(OPEN, replace(OPEN, association_id="a2", facility="north", calling=EVIL), replace(OPEN, calling=CHECKING))
    ended(site, two["central"], 1, calling=EVIL, outcome="aborted", instances=3)
    ended(site, two["central"], 2, calling=CHECKING, echoes=1)
    told = admin.get("/api/v1/live").json()
    assert [each["association_id"] for each in told["open"]] == ["a1", "a2"]
    assert (told["open"][0]["received"], told["open"][0]["failures"]) == (5000, 1)
    assert [(each["association_id"], each["outcome"], each["seconds"]) for each in told["recent"]] == [
        ("e1", "aborted", 10.0)
    ]
    assert (told["machine"]["spool"]["pending"], told["machine"]["archiver"]["filed"]) == (3, 7)
    page = admin.get("/live").text
    assert "Open associations (2)" in page
    assert "aborted" in page
    assert EVIL not in page
    part = admin.get("/live", headers={"HX-Request": "true"}).text
    assert part.lstrip().startswith('<div id="live"')
    own = admin.get("/live?facility=north").text
    assert "Open associations (1)" in own
    assert admin.get("/live?facility=nobody").status_code == 404
    assert admin.get("/api/v1/live", params={"facility": "a b"}).status_code == 404
    assert admin.get("/api/v1/live", params={"limit": 0}).status_code == 422


def test_a_facilitys_account_sees_its_own_rows_and_nothing_of_the_machine(
    two: dict[str, int], say: Say, site: Site, log_in: LogIn
) -> None:
    say(OPEN, replace(OPEN, association_id="a2", facility="north", calling="SECRET_N"))
    ended(site, two["central"], 1)
    ended(site, two["north"], 2, calling="SECRET_E")
    own = log_in("facility", "central")
    told = own.get("/api/v1/live").json()
    assert [each["association_id"] for each in told["open"]] == ["a1"]
    assert [each["association_id"] for each in told["recent"]] == ["e1"]
    assert told["machine"] is None
    page = own.get("/live").text
    assert "CT_1" in page
    for foreign in ("SECRET", "north", "Spool", "Disk", "Archiver"):
        assert foreign not in page


def test_an_archiver_that_hangs_is_told_and_the_spool_is_counted(
    two: dict[str, int], supervisor: Supervisor, site: Site, admin: TestClient
) -> None:
    assert "said nothing" not in admin.get("/live").text
    folder = site.home.spool / "central" / "new"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"000000000000000{number}-1-1.dcm").write_bytes(b"")
    supervisor.archiver_silent = 31.0
    site.sampler.forget()
    told = wait_for(lambda: of_machine(admin, pending=5), what="the spool to be counted")
    assert told["spool"]["oldest_seconds"] > 1e6
    assert told["archiver"]["silent_seconds"] == 31.0
    page = admin.get("/live").text
    assert "it has said nothing for 31 s" in page
    assert "counted in the spool" in page


def of_machine(client: TestClient, pending: int) -> dict[str, Any] | None:
    told: dict[str, Any] = client.get("/api/v1/live").json()["machine"]
    return told if told["spool"]["pending"] == pending else None


def test_with_supervisor_and_database_away_what_can_be_had_is_shown(
    two: dict[str, int],
    say: Say,
    supervisor: Supervisor,
    site: Site,
    admin: TestClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin.get("/live")
    say(OPEN)
    spool = site.home.spool / "central" / "new"
    spool.mkdir(parents=True)
    supervisor.is_away = True
    site.sampler.forget()

    def away(*_: object, **__: object) -> Any:
        raise DatabaseError("away")

    monkeypatch.setattr(pages, "associations", away)
    monkeypatch.setattr(pages, "growth", away)
    page = admin.get("/live").text
    assert "The supervisor does not answer" in page
    assert "counted in the spool" in page
    assert "They cannot be had" in page
    assert "Open associations (1)" in page
    wait_for(lambda: "Days until full: the database is away" in admin.get("/live").text, what="why nothing is foretold")


def test_the_disk_is_foretold_by_what_came(two: dict[str, int], site: Site, admin: TestClient) -> None:

    def look(known: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Nobody waits for it: it is there a moment later."""

        def disk() -> dict[str, Any] | None:
            found: dict[str, Any] = admin.get("/api/v1/live").json()["machine"]["disks"][0]
            return found if known(found) else None

        return wait_for(disk, what="the forecast")

    look(lambda disk: disk["note"].startswith("not enough data"))
    first = NOW - timedelta(days=2)
    row = {"study_instance_uid": "1.2", "bytes": 20_000_000, "first_received": first, "last_received": first}
    with site.engine.begin() as connection:
        connection.execute(insert(models.Study).values(facility_id=two["north"], **row))
    disk = look(lambda disk: disk["a_day"] is not None)
    assert disk["a_day"] == pytest.approx(10_000_000, rel=0.01)
    assert disk["holds"] == "archive"
    assert "10.0 MB a day" in admin.get("/live").text


# -- the checklist


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether a port answers our own echo."""
    answers = [True]
    monkeypatch.setattr(
        checklist,
        "echo",
        lambda _, slug, port, called: EchoResult(slug, port, answers[0], 4.0, "" if answers[0] else "no"),
    )
    return answers


def ticked(client: TestClient, slug: str = "central") -> set[str]:
    page = client.get(f"/facilities/{slug}/onboarding/checks").text
    steps = page.split('id="step-')[1:]
    assert len(steps) == 5
    return {step.split('"')[0] for step in steps if 'data-done="yes"' in step}


def test_the_checklist_ticks_as_a_modality_gets_through(
    two: dict[str, int], say: Say, port: list[bool], site: Site, admin: TestClient
) -> None:
    assert ticked(admin) == {"port"}
    port[0] = False
    assert ticked(admin) == set()
    ended(site, two["central"], 1, calling=CHECKING, echoes=1)
    ended(site, two["north"], 2, echoes=1)
    assert ticked(admin) == set()
    say(replace(OPEN, instances=0))
    assert ticked(admin) == {"connection"}
    say(replace(OPEN, instances=0, echoes=1))
    assert ticked(admin) == {"connection", "echo"}
    say()
    ended(site, two["central"], 3, echoes=1)
    assert ticked(admin) == {"connection", "echo"}
    study = {"facility_id": two["central"], "study_instance_uid": "1.2", "first_received": NOW, "last_received": NOW}
    with site.engine.begin() as connection:
        connection.execute(insert(models.Study).values(**study))
    assert ticked(admin) == {"connection", "echo", "instance"}
    with site.engine.begin() as connection:
        connection.execute(models.Study.__table__.update().values(completed_at=NOW))
    port[0] = True
    assert ticked(admin) == {"port", "connection", "echo", "instance", "complete"}


def test_a_refusal_at_its_port_says_what_stands_in_the_way(
    two: dict[str, int], port: list[bool], site: Site, admin: TestClient, log_in: LogIn
) -> None:
    central = site.registry("x").get("central")
    who = {
        "called": EVIL,
        "calling": "STRANGER",
        "address": "10.0.0.7",
        "reason": "not known",
        "fix": "noctis device add",
    }
    with site.engine.begin() as connection:
        connection.execute(insert(models.Refusal).values(port=central.port, **who, first_seen=NOW, last_seen=NOW))
    page = admin.get("/facilities/central/onboarding/checks").text
    assert "STRANGER at 10.0.0.7" in page
    assert "noctis device add" in page
    assert EVIL not in page
    assert "connection" not in ticked(admin)
    assert "Let it in" in page
    assert "Let it in" not in log_in("facility", "central").get("/facilities/central/onboarding/checks").text


def test_the_card_comes_before_the_port_has_answered(two: dict[str, int], site: Site, admin: TestClient) -> None:
    page = admin.get("/facilities/central/onboarding").text
    assert "is being asked" in page
    assert 'data-copy="CENTRAL"' in page
    assert "echoscu -v -aet CENTRAL -aec CENTRAL" in page


def test_many_tabs_are_one_echo(
    two: dict[str, int], admin: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        checklist, "echo", lambda _, slug, port, called: asked.append(port) or EchoResult(slug, port, True, 1.0)
    )
    monkeypatch.setattr(site.checklist._echo, "_seconds", 3600)
    for _ in range(5):
        ticked(admin)
    assert len(asked) == 1
