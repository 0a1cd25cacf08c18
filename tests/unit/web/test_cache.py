"""The cache of what many tabs ask for."""

import threading

import pytest

from noctis.errors import DatabaseError
from noctis.web.cache import Cache
from tests.support import wait_for


def test_a_value_is_worked_out_once_for_all_who_ask() -> None:
    asked: list[str] = []
    cache: Cache[str, int] = Cache(3600, lambda key: asked.append(key) or len(asked), size=2)
    assert [cache.get("a"), cache.get("a"), cache.get("b"), cache.get("a")] == [1, 1, 2, 1]
    cache.forget()
    assert cache.get("a") == 3


def test_an_old_value_is_worked_out_anew() -> None:
    asked: list[None] = []
    cache: Cache[None, int] = Cache(0, lambda key: asked.append(key) or len(asked))
    assert [cache.get(None), cache.get(None)] == [1, 2]
    assert cache.peek(None) == 2


def test_the_keys_asked_for_least_recently_go() -> None:
    asked: list[int] = []
    cache: Cache[int, int] = Cache(3600, lambda key: asked.append(key) or key, size=2)
    for key in (1, 2, 1, 3, 1, 2):
        cache.get(key)
    assert asked == [1, 2, 3, 2]


def test_while_one_works_it_out_the_others_get_the_last_one() -> None:
    working, go_on = threading.Event(), threading.Event()
    values = iter([1, 2])

    def make(_: None) -> int:
        value = next(values)
        if value == 2:
            working.set()
            assert go_on.wait(10)
        return value

    cache: Cache[None, int] = Cache(0, make)
    assert cache.get(None) == 1
    worker = threading.Thread(target=cache.get, args=(None,))
    worker.start()
    assert working.wait(10)
    assert cache.get(None) == 1
    go_on.set()
    worker.join()
    assert cache.peek(None) == 2


def test_a_value_that_is_not_too_old_is_given_while_the_next_one_is_worked_out() -> None:
    go_on, values = threading.Event(), iter(range(1, 100))

    def make(_: None) -> int:
        value = next(values)
        assert value == 1 or go_on.wait(10)
        return value

    cache: Cache[None, int] = Cache(0, make, kept=3600)
    assert [cache.get(None) for _ in range(3)] == [1, 1, 1]
    go_on.set()
    wait_for(lambda: cache.peek(None) == 2, what="the next value")


def test_what_comes_soon_is_never_waited_for() -> None:
    go_on = threading.Event()
    cache: Cache[None, bool] = Cache(3600, lambda _: go_on.wait(10))
    assert cache.soon(None) is None
    assert cache.soon(None) is None
    go_on.set()
    assert wait_for(lambda: cache.soon(None), what="the value")


def test_an_outage_is_kept_like_a_value() -> None:
    asked: list[None] = []

    def make(key: None) -> int:
        asked.append(key)
        raise DatabaseError("away")

    cache: Cache[None, int] = Cache(3600, make)
    for _ in range(3):
        with pytest.raises(DatabaseError):
            cache.get(None)
    assert len(asked) == 1
