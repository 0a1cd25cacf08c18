"""Size limits and quotas at a real listener: what is refused, with which words, and that it leaves nothing."""

import time
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from noctis.facilities.snapshot import Facility
from noctis.observability.scoreboard import Counter
from noctis.repository import usage
from noctis.repository.usage import Usage, UsageFile
from tests.integration.listener.conftest import CENTRAL, RunningListener, Start
from tests.integration.listener.test_store import association, encoded, image, send
from tests.support import wait_for
from tests.system.associations import message, open_association

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def limit(listener: RunningListener, **limits: int | None) -> None:
    """Give the facility other limits, as `noctis facility edit` does."""
    listener.set_facilities(Facility(**{**CENTRAL.__dict__, "port": listener.port, **limits}))


def archived(listener: RunningListener, **facilities: tuple[int, int]) -> None:
    """What the archiver would say."""
    used = {slug: Usage(*each) for slug, each in facilities.items()}
    usage.write(listener.home.usage, UsageFile(time.time_ns(), used, {}))


def store(made: Association, dataset: Dataset | None = None) -> C_STORE:
    dataset = image() if dataset is None else dataset
    return send(made, encoded(dataset), sop_instance=dataset.SOPInstanceUID)


def large(size: int) -> Dataset:
    """An image whose data set has so many bytes, encoded."""
    dataset = image()
    dataset.PixelData = b"\0" * (size - len(encoded(dataset)) + len(dataset.PixelData))
    assert len(encoded(dataset)) == size
    return dataset


@pytest.mark.parametrize("own", [False, True], ids=["configured", "the facility's"])
def test_the_largest_data_set_is_taken_and_one_byte_pair_more_is_not(start: Start, own: bool) -> None:
    size = 300_000  # several PDUs
    most = {"max_instance_bytes": 10 if own else size}
    listener = start(storage={"reserve_bytes": 0, **most}, listeners={"max_pdu_bytes": 16384})
    if own:
        limit(listener, max_instance_bytes=size)
    with association(listener) as made:
        answer = store(made, large(size + 2))  # a data set has an even length (PS3.5 §7.1.1)
        assert answer.Status == 0xA700
        assert answer.ErrorComment == f"data set larger than the limit of {size} bytes"
        assert listener.spooled() == listener.unfinished() == listener.quarantined() == []
        assert store(made, large(size)).Status == 0
        assert made.send_c_echo().Status == 0
    assert len(listener.spooled()) == 1
    assert "--max-instance-bytes" in listener.scoreboard.read().last_error


def test_one_byte_too_many(start: Start) -> None:
    """The very byte, with a data set that ends inside an element: it is refused before anybody looks what it is."""
    listener = start(storage={"reserve_bytes": 0, "max_instance_bytes": 1000})
    with association(listener) as made:
        assert send(made, b"\0" * 1001, sop_instance="1.2.3").Status == 0xA700
        assert send(made, b"\0" * 1000, sop_instance="1.2.3").Status == 0xC000


def test_it_is_refused_while_it_comes(start: Start) -> None:
    """What lies in the spool of a data set that is too large is gone before its last byte has come."""
    listener = start(storage={"reserve_bytes": 0, "max_instance_bytes": 50})
    with open_association(listener.port, "CENTRAL") as opened:
        whole = message(1)
        opened.sock.sendall(whole[: len(whole) * 3 // 4])
        wait_for(lambda: "larger than" in listener.scoreboard.read().last_error, what="the refusal")
        assert listener.unfinished() == []
        opened.sock.sendall(whole[len(whole) * 3 // 4 :])
        assert opened.status() == 0xA700


def test_exactly_at_the_quota(start: Start) -> None:
    listener = start()
    archived(listener, central=(8, 8000))
    limit(listener, quota_instances=10)
    first = image()
    with association(listener) as made:
        assert store(made, first).Status == 0
        assert store(made).Status == 0
        answer = store(made)
        assert answer.Status == 0xA700
        assert answer.ErrorComment == "quota of the facility reached: 10 instances"
        assert store(made, first).Status == 0xA700  # again what is there already: nobody knows it yet
        assert made.send_c_echo().Status == 0
    assert len(listener.spooled()) == 2
    assert listener.unfinished() == []
    assert "--quota-instances" in listener.scoreboard.read().last_error
    wait_for(lambda: listener.scoreboard.get(Counter.FAILURES) == 2, what="both counted")


def test_a_quota_of_bytes_is_filled_and_not_exceeded(start: Start) -> None:
    listener = start()
    with association(listener) as made:
        sizes = []
        for _ in range(2):
            assert store(made, large(20_000)).Status == 0
        sizes = [path.stat().st_size for path in listener.spooled()]
        limit(listener, quota_bytes=sum(sizes) + max(sizes) + 100)
        answer = store(made, large(22_000))
        assert answer.Status == 0xA700
        assert answer.ErrorComment.startswith("quota of the facility: no room, ")
        assert store(made, large(20_000)).Status == 0
        assert store(made, large(20_000)).Status == 0xA700
    assert len(listener.spooled()) == 3
    assert listener.unfinished() == []


def test_lifted_while_the_listener_runs_it_takes_effect_at_once(start: Start) -> None:
    listener = start(storage={"reserve_bytes": 0, "facility_quota_instances": 0})
    with association(listener) as made:
        assert store(made).Status == 0xA700
        limit(listener, quota_instances=1)
        assert store(made).Status == 0
        assert store(made).Status == 0xA700
        limit(listener, quota_instances=100)
        assert store(made).Status == 0
    assert len(listener.spooled()) == 2


def test_one_facilitys_quota_does_not_touch_another(listener: RunningListener) -> None:
    """Both in one process, as at the default port."""
    north = Facility(2, "north", "North", "NORTH", listener.port)
    archived(listener, central=(1, 1000), north=(1, 1000))
    limit(listener, quota_instances=1)
    with association(listener) as made:
        assert store(made).Status == 0xA700
    listener.set_facilities(replace(north, quota_instances=2))
    with association(listener, called="NORTH") as made:
        assert store(made).Status == 0
        assert store(made).Status == 0xA700
    assert [path.parent.parent.name for path in listener.spooled()] == ["north"]


def test_the_quota_of_all_facilities(start: Start) -> None:
    listener = start(storage={"reserve_bytes": 0, "quota_instances": 10})
    archived(listener, central=(1, 1000), north=(8, 8000))
    with association(listener) as made:
        assert store(made).Status == 0
        answer = store(made)
    assert answer.Status == 0xA700
    assert answer.ErrorComment == "quota of all facilities reached: 10 instances"
    assert "storage.quota_instances" in listener.scoreboard.read().last_error


def test_what_the_archiver_says_is_taken_up(start: Start) -> None:
    listener = start(storage={"reserve_bytes": 0, "facility_quota_instances": 3})
    with association(listener) as made:
        assert store(made).Status == 0
        archived(listener, central=(3, 3000))
        wait_for(lambda: store(made).Status == 0xA700, what="the quota reached")
        archived(listener, central=(2, 2000))  # some were removed
        wait_for(lambda: store(made).Status == 0, what="room again")


def test_a_restart_forgets_nothing(start: Start) -> None:
    storage = {"reserve_bytes": 0, "facility_quota_instances": 3}
    first = start(storage=storage)
    archived(first, central=(1, 1000))
    with association(first) as made:
        assert [store(made).Status for _ in range(3)] == [0, 0, 0xA700]
    first.close()
    second = start(storage=storage)
    with association(second) as made:
        assert store(made).Status == 0xA700
    assert len(second.spooled()) == 2


def test_what_is_given_up_gives_its_room_back(start: Start) -> None:
    """An instance that ends in quarantine, and one whose sender goes away."""
    listener = start(storage={"reserve_bytes": 0, "facility_quota_instances": 1})
    with open_association(listener.port, "CENTRAL") as opened:
        whole = message(1)
        opened.sock.sendall(whole[: len(whole) // 2])
        wait_for(listener.unfinished, what="an instance on its way")
        with association(listener) as made:
            assert store(made).Status == 0xA700
    wait_for(lambda: not listener.listener.live, what="both associations' end")
    with association(listener) as made:
        assert send(made, b"\0" * 9, sop_instance="1.2.3").Status == 0xC000
        assert store(made).Status == 0
