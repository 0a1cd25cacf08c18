"""What a listener counts: for which facility, refusals and failures by kind, and how long answers took."""

import mmap
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.config import load_settings
from noctis.facilities.snapshot import Device, Facility, Snapshot, write_if_changed
from noctis.observability.scoreboard import Counter, Scoreboard, board_bytes
from noctis.observability.words import FAILURES, REFUSALS, FailureKind, RefusalKind, named
from noctis.supervisor.sockets import listen
from tests.integration.listener.conftest import CENTRAL, Start
from tests.integration.listener.doors import Door, house
from tests.integration.listener.peers import Connection, Peer
from tests.integration.listener.test_storage_limits import archived, limit, store
from tests.integration.listener.test_store import association, encoded, image, send
from tests.support import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def refusals(door: Door) -> dict[RefusalKind, int]:
    return {kind: count for kind, at in REFUSALS.items() if (count := door.scoreboard.get(at))}


def failures(door: Door) -> dict[FailureKind, int]:
    return {kind: count for kind, at in FAILURES.items() if (count := door.scoreboard.get(at))}


def wait_refusals(door: Door, **expected: int) -> None:
    """The count comes after the answer."""
    wanted = {RefusalKind(kind): count for kind, count in expected.items()}
    wait_for(lambda: refusals(door) == wanted, what=f"refusals {wanted}")


def test_refusals_by_kind(tmp_path: Path) -> None:
    devices = {"devices": (Device("CT1", "192.0.2.0/24"),)}
    with house(tmp_path, max_associations=1) as made:
        central = Facility(**{**made.facilities[0].__dict__, **devices})
        other = Facility(**{**made.facilities[1].__dict__, "enabled": False})
        write_if_changed(made.settings.paths.snapshot, lambda: Snapshot((central, other)))
        door, shut = made["a"], made["b"]
        for called, calling in (("X", "Y"), ("X", "CT1"), ("NOCTIS_SERVER", "Y"), ("B", "Y")):
            with Peer(door) as peer:
                peer.associate(called=called, calling=calling)
        wait_refusals(door, called=1, network=1, calling=1, port=1)
        with Peer(shut) as peer:
            peer.associate(called="B", calling="Y")
        wait_refusals(shut, disabled=1)
        with Peer(door) as first, Peer(door) as second:
            assert first.associate(called="A", calling="Y")[0] == 2
            second.associate(called="A", calling="Y")
            wait_refusals(door, called=1, network=1, calling=1, port=1, limit=1)
        assert door.scoreboard.get(Counter.REFUSED) == 5


def test_what_is_no_dicom_is_counted_and_is_in_no_ledger(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        with Connection(made["a"].port) as peer:
            peer.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            peer.read()
        wait_refusals(made["a"], protocol=1)
        assert made["a"].scoreboard.get(Counter.REFUSED) == 0
        assert made.refusals() == []


def test_connections_are_counted_and_none_stays_open(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        board = made["a"].scoreboard
        with Connection(made["a"].port), Peer(made["a"]) as peer:
            assert peer.associate(called="A", calling="Y")[0] == 2
            wait_for(lambda: board.get(Counter.OPEN) == 2, what="two connections")
            assert board.get(Counter.LIVE) == 1
        wait_for(lambda: not board.get(Counter.OPEN), what="their ends")
        assert (board.get(Counter.CONNECTIONS), board.get(Counter.LIVE)) == (2, 0)


def test_answers_are_timed_and_failures_counted_by_kind(start: Start) -> None:
    listener = start()
    with association(listener) as made:
        assert store(made).Status == 0
        dataset = image()
        assert send(made, encoded(dataset), sop_instance="1.2.3").Status == 0xA900
        assert send(made, b"\x08\0\x05\0CS\xff\xff", sop_instance="1.2.3").Status >= 0xC000
        limit(listener, max_instance_bytes=10)
        wait_for(lambda: listener.listener.snapshot().by_slug["central"].max_instance_bytes == 10, what="the limit")
        assert store(made).Status == 0xA700
        limit(listener, quota_instances=1)
        archived(listener, central=(1, 10))
        wait_for(lambda: listener.listener.snapshot().by_slug["central"].quota_instances == 1, what="the quota")
        wait_for(lambda: store(made).Status == 0xA700, what="the quota to be reached")
    counts = named(listener.scoreboard.all())
    assert failures(listener).keys() == {
        FailureKind.UID, FailureKind.UNDERSTAND, FailureKind.SIZE, FailureKind.QUOTA
    }  # fmt: skip
    assert sum(failures(listener).values()) == counts["failures"]
    assert sum(counts["answer"][:-1]) == counts["instances"] + counts["failures"]
    assert counts["answer"][-1] > 0


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Door]:
    """The default port, whose scoreboard has a table."""
    settings = load_settings(options={"home": str(tmp_path / "home"), "storage": {"reserve_bytes": 0}})
    settings.paths.create()
    sock: socket.socket = listen("127.0.0.1", 0, 16)
    settings = settings.model_copy(
        update={"server": settings.server.model_copy(update={"port": sock.getsockname()[1]})}
    )
    facilities = (CENTRAL, Facility(2, "north", "North", "NORTH", 1))
    write_if_changed(settings.paths.snapshot, lambda: Snapshot(facilities))
    board = Scoreboard(mmap.mmap(-1, board_bytes(8)))
    board.allow(8)
    door = Door(settings, sock, "default", "NOCTIS_SERVER", board)
    yield door
    door.close()


def test_the_shared_port_counts_each_facility_apart(shared: Door) -> None:
    board = shared.scoreboard
    for title, instances in (("CENTRAL", 2), ("NORTH", 1)):
        with association(shared, called=title) as made:
            for _ in range(instances):
                assert store(made).Status == 0
            assert made.send_c_echo().Status == 0
            assert board.rows()[title.lower()].get(Counter.LIVE) == 1
    with Peer(shared) as peer:
        peer.associate(called="X", calling="Y")
    wait_refusals(shared, called=1)
    wait_for(lambda: not board.total(Counter.LIVE), what="the ends")
    rows = {slug: named(row.all()) for slug, row in board.rows().items()}
    assert {slug: (row["instances"], row["associations"], row["echoes"]) for slug, row in rows.items()} == {
        "central": (2, 1, 1),
        "north": (1, 1, 1),
    }
    assert board.get(Counter.INSTANCES) == 0
    assert board.total(Counter.INSTANCES) == 3
    assert sum(rows["central"]["answer"][:-1]) == 2
