"""/healthz, /readyz and /metrics: what they say, of what, to whom, and that they never hang."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from noctis.checks import probe
from noctis.config import Settings, load_settings
from noctis.facilities.registry import Registry
from noctis.observability.boards import Boards
from noctis.observability.scoreboard import Counter
from noctis.observability.words import ANSWER, FailureKind, RefusalKind
from noctis.supervisor.measured import measured
from noctis.web.access import COOKIE
from noctis.web.metrics import observed as module
from noctis.web.metrics.catalogue import METRICS
from noctis.web.site import Site
from tests.integration.web.application import create_app
from tests.integration.web.conftest import ORIGIN, LogIn, tell_listeners

NASTY = 'Zürich "Süd"\n{x="1"} \\ <script>alert(1)</script>'
Told = dict[str, Any]


class FakeGroup:
    """As much of a supervisor's group as is measured."""

    def __init__(self, board: str, state: str, boards: Boards, pid: int, *, rows: bool = False) -> None:
        self.board = board
        self._state = state
        scoreboard = boards.take(board, rows=rows)
        scoreboard.begin(pid)
        config = type("Config", (), {"name": f"{board.rpartition('.')[2]}-1"})
        process = type("Process", (), {"pid": pid, "scoreboard": scoreboard, "config": config, "retiring": False})
        self.processes = {"1": process}
        self.active = [process]
        self.scoreboard = scoreboard

    def state(self) -> str:
        return self._state


class House:
    """A supervisor's groups without a supervisor: what `noctis.metrics` would say."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.boards = Boards()
        self.groups: dict[str, FakeGroup] = {}
        self.add("default", rows=True)
        self.add("service.archiver", rows=True)
        self.add("service.watcher")

    def add(self, board: str, state: str = "running", *, rows: bool = False) -> FakeGroup:
        self.groups[board] = FakeGroup(board, state, self.boards, os.getpid(), rows=rows)
        return self.groups[board]

    def told(self) -> Told:
        groups: Any = self.groups.values()
        return json.loads(json.dumps(measured(groups, self.boards, self.site.snapshots.current())))


@pytest.fixture
def house(site: Site, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> House:
    """Facilities `central` and one with a nasty name; their listeners run."""
    registry.add("Central", ae_title="CENTRAL")
    registry.add(NASTY.replace("\n", " "), ae_title='A"B{}')
    tell_listeners(site)
    made = House(site)
    for each in site.snapshots.current().facilities:
        made.add(f"facility.{each.slug}")
    monkeypatch.setattr(site.observed.supervisor, "_look", made.told)
    fresh(site)
    return made


def fresh(site: Site) -> None:
    """Every question is a look of its own."""
    for each in (site.observed.supervisor, site.observed.database, site.observed.disks, site.observed.spool):
        each._fresh = 0
    site.scrapes.fresh_seconds = 0


def scrape(client: TestClient, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels; none twice."""
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    openmetrics = answer.headers["content-type"].startswith("application/openmetrics-text")
    parse: Callable[[str], Any] = parse_openmetrics if openmetrics else parse_text
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parse(answer.text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


# -- health


def test_it_lives_without_a_database(site: Site, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site), "engine", property(lambda _: pytest.fail("the database was asked")))
    anonymous.cookies.set(COOKIE, "of somebody")
    assert anonymous.get("/healthz").json() == {"live": True}
    assert anonymous.head("/healthz").status_code == 200


def test_ready_and_the_reasons_why_not(
    site: Site, house: House, anonymous: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anonymous.get("/readyz").json() == {"ready": True, "reasons": []}
    assert anonymous.head("/readyz").status_code == 200
    house.groups["facility.central"]._state = "backoff"
    del house.groups["default"]
    monkeypatch.setattr(module, "space_of", lambda *_: {"free_bytes": 5, "total_bytes": 9, "reserve_bytes": 5})
    monkeypatch.setattr(site.observed.database, "_look", lambda: module.Database({"reachable": False}, 0.0, None))
    answer = anonymous.get("/readyz")
    assert answer.status_code == 503
    found = answer.json()
    assert not found["ready"]
    central = site.snapshots.current().by_slug["central"]
    assert found["reasons"] == [
        {
            "part": "listener",
            "problem": "the listener on the default port is not up: missing",
            "facility": None,
            "port": site.settings.server.port,
            "state": "missing",
        },
        {
            "part": "listener",
            "problem": "the listener of central is not up: backoff",
            "facility": "central",
            "port": central.port,
            "state": "backoff",
        },
        {"part": "database", "problem": "the database is not reachable"},
        *(
            {
                "part": "disk",
                "problem": f"the disk of the {disk} is not above the reserve",
                "disk": disk,
                "free_bytes": 5,
                "total_bytes": 9,
                "reserve_bytes": 5,
            }
            for disk in ("archive", "spool")
        ),
    ]


def test_a_disabled_facility_is_no_reason(site: Site, house: House, registry: Registry, anonymous: TestClient) -> None:
    registry.edit("central", {"enabled": False})
    tell_listeners(site)
    del house.groups["facility.central"]
    assert anonymous.get("/readyz").json()["ready"]
    assert value(scrape(anonymous), "noctis_listener_up", facility="central", listener="own") == 0


def test_without_a_supervisor(anonymous: TestClient) -> None:
    answer = anonymous.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"][0] == {"part": "supervisor", "problem": "no supervisor runs"}
    found = scrape(anonymous)
    assert value(found, "noctis_supervisor_up") == 0
    assert value(found, "noctis_database_up") == 1


@pytest.fixture
def hanging(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A supervisor that takes connections and answers none of them; a database that never answers."""
    monkeypatch.setattr(probe, "PATIENCE_SECONDS", 0.2)
    free = threading.Event()
    monkeypatch.setattr(module, "look_at_database", lambda *_: free.wait())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(settings.paths.control_socket))
        listening.listen(8)
        yield settings.paths.control_socket
        free.set()


@pytest.mark.usefixtures("hanging")
def test_what_hangs_is_said_and_does_not_hang_us(settings: Settings) -> None:
    site = Site(settings)
    for each in (site.observed.supervisor, site.observed.database):
        each._patience = 0.2
    client = TestClient(create_app(site), base_url=ORIGIN)
    for _ in range(3):
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == [
            {"part": "supervisor", "problem": "the supervisor does not answer"},
            {"part": "database", "problem": "the database does not answer"},
        ]
    found = scrape(client)
    assert value(found, "noctis_supervisor_up") == 0
    assert value(found, "noctis_database_up") == 0
    site.close()


# -- metrics


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
    ],
)
def test_every_figure_is_told(site: Site, house: House, anonymous: TestClient, accept: str, media_type: str) -> None:
    central, default = (house.groups[name].scoreboard for name in ("facility.central", "default"))
    central.stored(100, 2)
    central.observe(ANSWER, 0.3)
    central.refused(RefusalKind.CALLED)
    central.failed(FailureKind.QUOTA)
    default.of("central").stored(10)
    default.of("removed long ago").stored(10)
    default.add(Counter.CONNECTIONS, 4)
    archiver = house.groups["service.archiver"].scoreboard
    archiver.of("central").add(Counter.CONFLICTS)
    archiver.set(Counter.HEARTBEAT_NS, 1 << 62)
    archiver.of("central").set(Counter.PENDING, 5)
    answer = anonymous.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith(media_type)
    found = scrape(anonymous, accept)
    own = {"facility": "central", "listener": "own"}
    shared = {"facility": "central", "listener": "default"}
    assert value(found, "noctis_stored_instances_total", **own) == 2
    assert value(found, "noctis_stored_bytes_total", **own) == 100
    assert value(found, "noctis_stored_instances_total", **shared) == 1
    assert value(found, "noctis_store_answer_seconds_bucket", **own, le="0.25") == 0
    assert value(found, "noctis_store_answer_seconds_bucket", **own, le="0.5") == 1
    assert value(found, "noctis_store_answer_seconds_count", **own) == 1
    assert value(found, "noctis_associations_refused_total", **own, reason="called") == 1
    assert value(found, "noctis_associations_refused_total", **own, reason="tls") == 0
    assert value(found, "noctis_store_failures_total", **own, reason="quota") == 1
    assert value(found, "noctis_connections_total", facility="", listener="default") == 4
    assert value(found, "noctis_archiver_conflicts_total", facility="central") == 1
    assert value(found, "noctis_spool_instances", facility="central") == 5
    assert value(found, "noctis_database_up") == 1
    assert not any("removed long ago" in text for _, labels in found for _, text in labels)


def test_labels_are_escaped(house: House, anonymous: TestClient) -> None:
    names = {dict(labels)["name"] for name, labels in scrape(anonymous) if name == "noctis_listener_info"}
    assert names == {"", "Central", NASTY.replace("\n", " ")}


def test_nothing_is_told_that_is_in_no_list(house: House, anonymous: TestClient) -> None:
    endings = ("_bucket", "_count", "_sum")
    for name, _ in scrape(anonymous):
        plain = next((name.removesuffix(each) for each in endings if name.endswith(each)), name)
        assert plain in METRICS, name


def test_one_scrape_asks_the_database_the_same_however_many_facilities(
    site: Site, registry: Registry, house: House, anonymous: TestClient
) -> None:
    from sqlalchemy import event

    asked: list[str] = []
    event.listen(site.observed._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    scrape(anonymous)
    before = len(set(asked))
    for number in range(20):
        registry.add(f"More {number}")
    tell_listeners(site)
    asked.clear()
    scrape(anonymous)
    assert 0 < len(set(asked)) <= before


def test_the_spool_is_counted_here_while_no_archiver_tells_of_it(
    site: Site, house: House, anonymous: TestClient
) -> None:
    folder = site.home.spool / "central" / "new"
    folder.mkdir(parents=True)
    (folder / "0000000000000001-1-1.dcm").write_bytes(b"")
    house.groups["service.archiver"].scoreboard.set(Counter.HEARTBEAT_NS, 0)
    found = scrape(anonymous)
    assert value(found, "noctis_spool_instances", facility="central") == 1
    assert value(found, "noctis_spool_oldest_seconds", facility="central") > 1e9


def test_who_may_read_them(settings: Settings, log_in: LogIn) -> None:
    for access, expected in (("open", 200), ("login", 401), ("off", 404)):
        site = Site(with_metrics(settings, access))
        client = TestClient(create_app(site), base_url=ORIGIN, follow_redirects=False)
        assert client.get("/metrics").status_code == expected, access
        assert client.get("/healthz").status_code == 200
        site.close()


def test_with_a_login_who_may_see_all_may_read_them(site: Site, registry: Registry, log_in: LogIn) -> None:
    registry.add("Central")
    site.settings = with_metrics(site.settings, "login")
    assert log_in("viewer").get("/metrics").status_code == 200
    assert log_in("facility", "central").get("/metrics").status_code == 403


def with_metrics(settings: Settings, access: str) -> Settings:
    options = settings.model_dump(exclude_none=True)
    return load_settings(options=options | {"web": {"metrics": access}})
