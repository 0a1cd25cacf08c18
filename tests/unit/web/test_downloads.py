"""Places for downloads."""

import pytest

from noctis.web import downloads


def test_a_slow_download_gives_its_place_to_who_wants_it() -> None:
    now = 0.0
    places = downloads.Places(lambda: now)
    slow, slower, fast = (places.take(account, "central") for account in ("ada", "ada", "bob"))
    places.take("eve", "central")
    now = downloads.SLOW_SECONDS - 1
    for account in ("ada", "zoe"):
        with pytest.raises(downloads.TooManyDownloadsError):
            places.take(account, "central")
    now += 1
    slow.sent, fast.sent = 1000, int(downloads.SLOW_RATE * now)
    places.take("ada", "central")  # has two already: one of its own
    assert (slow.lost, slower.lost, fast.lost) == (False, True, False)
    places.give_back(slower)  # when it notices
    assert places.take("zoe", "central")
    places.take("zoe", "central")
    assert (slow.lost, fast.lost) == (True, False)
    with pytest.raises(downloads.TooManyDownloadsError):
        places.take("carl", "central")


def test_one_facility_leaves_room_for_the_others() -> None:
    places = downloads.Places(lambda: 0.0)
    for number in range(downloads.FACILITY_MAX):
        places.take(f"of central {number}", "central")
    with pytest.raises(downloads.TooManyDownloadsError):
        places.take("zoe", "central")
    for _ in range(downloads.TOTAL_MAX - downloads.FACILITY_MAX):
        places.take("of coast", "coast")
    with pytest.raises(downloads.TooManyDownloadsError):
        places.take("zoe", "valley")
