"""A quota in a whole Noctis: reached, told, raised by the command, and not forgotten by a restart."""

from noctis.repository.usage import parse
from tests.support import wait_for
from tests.system.associations import open_association, store
from tests.system.conftest import Noctis

SUCCESS, OUT_OF_RESOURCES = 0, 0xA700


def filed(noctis: Noctis) -> int:
    count: int = noctis.sql("SELECT count(*) FROM instance")[0][0]
    return count


def test_a_quota_from_its_setting_to_its_end(noctis: Noctis) -> None:
    facility, other = noctis.add("Central"), noctis.add("Other")
    noctis.wait_listener("central", port=facility.port)
    noctis.wait_listener("other", port=other.port)
    with open_association(facility.port, facility.ae_title) as association:
        assert [store(association, number) for number in range(3)] == [SUCCESS] * 3
        wait_for(lambda: filed(noctis) == 3, what="three filed")
        noctis.cli("facility", "edit", "central", "--quota-instances", "4")
        wait_for(noctis.settings.paths.usage.exists, what="the archiver's count")
        assert store(association, 3) == SUCCESS
        assert store(association, 4) == OUT_OF_RESOURCES
        assert store(association, 3) == OUT_OF_RESOURCES  # again: nobody knows that it is there
        with open_association(other.port, other.ae_title) as second:
            assert store(second, 1) == SUCCESS
        assert "quota of the facility reached" in noctis.listener("central")["last_error"]
    wait_for(lambda: filed(noctis) == 5, what="four of it filed, and one of the other's")
    counted = noctis.settings.paths.usage
    wait_for(lambda: parse(counted.read_bytes()).of("central").instances == 4, what="the archiver's count of four")
    noctis.reload()
    with open_association(facility.port, facility.ae_title) as association:
        assert store(association, 5) == OUT_OF_RESOURCES
        usage = noctis.status()["usage"]["facilities"]["central"]
        assert (usage["instances"], usage["quota_instances"]) == (4, 4)
        noctis.cli("facility", "edit", "central", "--quota-instances", "default")
        assert store(association, 5) == SUCCESS
    wait_for(lambda: filed(noctis) == 6, what="one more filed")


def test_workers_learn_of_each_others_instances(noctis: Noctis) -> None:
    """Several processes of one facility: by the archiver's file, within some seconds."""
    facility = noctis.add("Central", workers=2)
    noctis.wait_listener("central", port=facility.port)
    noctis.cli("facility", "edit", "central", "--quota-instances", "2")
    with (
        open_association(facility.port, facility.ae_title) as first,
        open_association(facility.port, facility.ae_title) as second,
    ):
        assert [store(first, number) for number in range(2)] == [SUCCESS] * 2
        number = iter(range(10, 1000))
        wait_for(lambda: store(second, next(number)) == OUT_OF_RESOURCES, what="the other worker's turn")
        assert store(first, 2000) == OUT_OF_RESOURCES
