"""How often somebody may be wrong."""

import pytest

from noctis.users import throttle
from noctis.users.throttle import Strangers, Throttle, lock_seconds, network


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_key_has_so_many_and_then_waits_for_the_first_to_be_long_ago() -> None:
    clock = Clock()
    throttled = Throttle(3, 60, clock)
    for _ in range(3):
        assert throttled.take("a") == 0
        clock.now += 10
    assert throttled.take("a") == 30
    assert throttled.take("a") == 30  # to come again too early makes it no longer
    assert throttled.take("b") == 0
    clock.now += 30
    assert throttled.take("a") == 0
    assert throttled.take("a") == 10


def test_what_was_right_does_not_count() -> None:
    throttled = Throttle(1, 60, Clock())
    for _ in range(5):
        assert throttled.take("a") == 0
        throttled.give_back("a")
    assert throttled.take("a") == 0
    assert throttled.is_used_up("a")
    assert not throttled.is_used_up("b")


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "KEYS_MAX", 10)
    throttled, strangers = Throttle(1, 60, Clock()), Strangers(Clock())
    for number in range(100):
        throttled.take(str(number))
        strangers.failed(str(number))
    assert len(throttled._times) == len(strangers._known) == 10
    assert throttled.take("99") > 0  # the latest are known still


def test_a_lock_gets_longer_each_time() -> None:
    assert [lock_seconds(failures) for failures in (0, 4, 5, 6, 7, 10, 11, 1000)] == [
        0,
        0,
        60,
        120,
        240,
        1920,
        3600,
        3600,
    ]


def test_names_that_nobody_has_are_locked_like_others() -> None:
    clock = Clock()
    strangers = Strangers(clock)
    for _ in range(4):
        strangers.failed("eve")
        assert strangers.locked("eve") == 0
    strangers.failed("eve")
    assert strangers.locked("eve") == 60
    assert strangers.locked("mallory") == 0
    clock.now += 61
    assert strangers.locked("eve") == 0
    strangers.failed("eve")
    assert strangers.locked("eve") == 120


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_who_counts_as_one(address: str, counts_as: str) -> None:
    assert network(address) == counts_as
