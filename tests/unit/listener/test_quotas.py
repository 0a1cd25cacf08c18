"""Counting against quotas: exact in one process, never too small, and nothing at all where there is no limit."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from noctis.facilities.snapshot import Facility
from noctis.listener.commands import COMMENT_MAX
from noctis.listener.quotas import Account, Allowance, LimitError, Quotas
from noctis.repository import usage as usage_module
from noctis.repository.filemeta import Origin
from noctis.repository.spool import Spool
from noctis.repository.usage import Usage, UsageFile, write
from noctis.sections import StorageSettings

CENTRAL = Facility(1, "central", "Central", "CENTRAL", 11113)
NORTH = Facility(2, "north", "North", "NORTH", 11114)
Make = Callable[..., Quotas]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Quotas with the settings given, which look at the file every time."""
    monkeypatch.setattr(usage_module, "LOOK_SECONDS", 0)

    def maker(**storage: int) -> Quotas:
        return Quotas(StorageSettings.model_validate(storage), tmp_path / "usage.json", tmp_path / "spool")

    return maker


def told(tmp_path: Path, as_of: int | None = None, **archived: tuple[int, int]) -> None:
    """What the archiver says: instances and bytes of each facility."""
    used = {slug: Usage(*each) for slug, each in archived.items()}
    write(tmp_path / "usage.json", UsageFile(time.time_ns() if as_of is None else as_of, used, {}))


def admit(quotas: Quotas, facility: Facility) -> Allowance:
    allowance = quotas.admit(facility)
    assert allowance is not None
    return allowance


def store(quotas: Quotas, facility: Facility, size: int = 10) -> None:
    """One instance from its beginning to its acknowledgement."""
    allowance = admit(quotas, facility)
    allowance.check(size, size)
    allowance.claim(size)
    allowance.end(stored=True)
    allowance.end()


def test_without_limits_nothing_is_looked_at(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = make()
    monkeypatch.setattr(quotas, "_lock", None)
    monkeypatch.setattr(quotas, "_reader", None)
    assert quotas.admit(CENTRAL) is None
    sized = quotas.admit(replace(CENTRAL, max_instance_bytes=10))
    assert sized is not None
    sized.check(10, 500)
    sized.end()


def test_the_largest_data_set(make: Make) -> None:
    allowance = admit(make(max_instance_bytes=100), CENTRAL)
    allowance.check(100, 900)
    with pytest.raises(LimitError, match="larger than the limit of 100 bytes") as told:
        allowance.check(101, 901)
    assert "noctis facility edit central --max-instance-bytes" in str(told.value.fix)
    admit(make(max_instance_bytes=100), replace(CENTRAL, max_instance_bytes=200)).check(200, 900)


def test_exactly_at_the_quota_of_instances(make: Make, tmp_path: Path) -> None:
    told(tmp_path, central=(3, 300))
    quotas = make(facility_quota_instances=5)
    store(quotas, CENTRAL)
    store(quotas, CENTRAL)
    with pytest.raises(LimitError, match="quota of the facility reached: 5 instances") as error:
        quotas.admit(CENTRAL)
    assert "storage.facility_quota_instances" in str(error.value.fix)
    store(quotas, replace(CENTRAL, quota_instances=6))  # raised: the next one is taken
    store(quotas, NORTH)


def test_exactly_at_the_quota_of_bytes(make: Make, tmp_path: Path) -> None:
    told(tmp_path, central=(3, 300))
    quotas = make(facility_quota_bytes=400)
    with pytest.raises(LimitError, match="quota of the facility: no room, 100 bytes left"):
        store(quotas, CENTRAL, 101)
    store(quotas, CENTRAL, 100)
    with pytest.raises(LimitError, match="quota of the facility reached: 400 bytes"):
        quotas.admit(CENTRAL)


def test_the_quota_of_all(make: Make, tmp_path: Path) -> None:
    told(tmp_path, central=(3, 300), removed=(4, 400))
    quotas = make(quota_instances=9)
    store(quotas, CENTRAL)
    store(quotas, NORTH)
    for facility in (CENTRAL, NORTH):
        with pytest.raises(LimitError, match="quota of all facilities reached: 9 instances") as error:
            quotas.admit(facility)
        assert error.value.fix == "storage.quota_instances in the configuration"


def test_what_is_on_its_way_counts(make: Make, tmp_path: Path) -> None:
    quotas = make(facility_quota_instances=1, facility_quota_bytes=100)
    first = admit(quotas, CENTRAL)
    with pytest.raises(LimitError):
        quotas.admit(CENTRAL)
    first.end()  # given up
    second, third = admit(quotas, CENTRAL), admit(quotas, replace(CENTRAL, quota_instances=2))
    second.claim(60)
    with pytest.raises(LimitError, match="40 bytes left"):
        third.claim(60)
    third.end()
    second.end(stored=True)


def test_many_at_once_never_go_beyond(make: Make) -> None:
    quotas = make(facility_quota_instances=50, facility_quota_bytes=10_000)
    done: list[int] = []

    def send() -> None:
        for _ in range(30):
            try:
                store(quotas, CENTRAL, 7)
                done.append(1)
            except LimitError:
                pass

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 50


def test_a_quota_raised_while_an_instance_comes(make: Make, tmp_path: Path) -> None:
    told(tmp_path, central=(1, 90))
    quotas = make(facility_quota_bytes=100)
    allowance = admit(quotas, CENTRAL)
    allowance.check(10, 10)
    told(tmp_path, central=(0, 0))  # something was removed by hand
    allowance.check(60, 60)
    with pytest.raises(LimitError):
        allowance.check(101, 101)


def test_what_the_archiver_has_counted_is_forgotten(make: Make, tmp_path: Path) -> None:
    quotas = make(facility_quota_instances=4)
    store(quotas, CENTRAL)
    store(quotas, CENTRAL)
    told(tmp_path, central=(2, 20))
    store(quotas, CENTRAL)
    told(tmp_path, as_of=1, central=(2, 20))  # a file from before: what was acknowledged since is counted once more
    store(quotas, CENTRAL)
    with pytest.raises(LimitError):
        quotas.admit(CENTRAL)


def test_a_process_begins_with_what_waits_in_the_spool(make: Make, tmp_path: Path) -> None:
    spools = [Spool(tmp_path / "spool", slug) for slug in ("central", "north")]
    for number, spool in enumerate(spools):
        for _ in range(number + 2):
            spool.receive(b"1.2", b"1.2.3", "1.2.840.10008.1.2", Origin()).commit()
        spool.close()
    store(make(facility_quota_instances=3), CENTRAL)
    with pytest.raises(LimitError):
        make(facility_quota_instances=2).admit(CENTRAL)
    with pytest.raises(LimitError):
        make(quota_instances=5).admit(CENTRAL)
    told(tmp_path)  # counted by now, and filed as duplicates
    store(make(facility_quota_instances=1), CENTRAL)


def test_an_account_of_a_long_time_stays_small() -> None:
    account = Account()
    for second in range(10_000):
        account.add(second * 10**9, Usage(1, 2))
    assert len(account._steps) <= 256
    assert account.since(0) == Usage(10_000, 20_000)
    assert account.since(9_999 * 10**9) == Usage(1, 2)
    assert account.since(10_000 * 10**9) == Usage(0, 0)


def test_traffic_without_a_pause_is_forgotten_too() -> None:
    account = Account()
    for step in range(100):
        account.add(step * 50_000_000, Usage(1, 1))
    assert account.since(90 * 50_000_000).instances <= 11


def test_a_comment_fits_its_element(make: Make, tmp_path: Path) -> None:
    much = 10**18
    comments: list[str] = []
    for storage, size in (
        ({"quota_instances": much}, 0),
        ({"quota_bytes": much}, 0),
        ({"quota_bytes": much + 10**17}, 10**18),
        ({"facility_quota_bytes": much}, 0),
        ({"facility_quota_instances": much}, 0),
        ({"max_instance_bytes": much}, much + 1),
    ):
        told(tmp_path, central=(much, much))
        with pytest.raises(LimitError) as error:
            store(make(**storage), CENTRAL, size)
        comments.append(error.value.message)
    assert len(set(comments)) == len(comments)
    assert max(map(len, comments)) <= COMMENT_MAX
