"""Places for downloads."""

import pytest

from noctis.web import downloads


def test_a_slow_download_gives_its_place_to_who_wants_it() -> None:
    now = 0.0
    places = downloads.Places(lambda: now)
    slow, slower, fast = places.take("ada"), places.take("ada"), places.take("bob")
    places.take("eve")
    now = downloads.SLOW_SECONDS - 1
    for account in ("ada", "zoe"):
        with pytest.raises(downloads.TooManyDownloadsError):
            places.take(account)
    now += 1
    slow.sent, fast.sent = 1000, int(downloads.SLOW_RATE * now)
    places.take("ada")  # has two already: one of its own
    assert (slow.lost, slower.lost, fast.lost) == (False, True, False)
    places.give_back(slower)  # when it notices
    assert places.take("zoe")
    places.take("zoe")
    assert (slow.lost, fast.lost) == (True, False)
    with pytest.raises(downloads.TooManyDownloadsError):
        places.take("carl")
