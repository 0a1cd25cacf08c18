"""Passwords: which may be set, and that not too many are computed at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Event, get_native_id

import pytest

from noctis import priority
from noctis.errors import UsageError
from noctis.users import passwords

GOOD = "correct horse battery staple"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "12 to 1024 characters, this one 5"),
        ("x" * 1025, "this one 1025"),
        ("abababababababab", "different characters"),
        ("\ud800 is half of something", "UTF-8"),
    ],
)
def test_what_is_no_password(password: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        passwords.digest(password)


@pytest.mark.parametrize("password", [GOOD, "пароль из слов", "zwölf Zeichen", "with \0 inside it", "𝕬𝕭𝕮𝕯𝕰𝕱𝕲𝕳𝕴𝕵𝕶𝕷"])
def test_a_digest_is_its_own_passwords_alone(password: str) -> None:
    digest = passwords.digest(password)
    assert digest.startswith("$argon2id$")
    assert password not in digest
    assert passwords.matches(password, digest)
    assert not passwords.matches(password + "x", digest)
    assert not passwords.matches("", digest)
    assert digest != passwords.digest(password)


def test_nobody_has_no_password_whatever_is_said() -> None:
    assert not passwords.matches("nobody's", None)
    assert not passwords.matches("", None)
    assert not passwords.matches("x" * 5000, None)
    assert not passwords.matches("\udfff" * 12, None)


def test_a_name_that_nobody_has_costs_a_digest_too(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    real = passwords._hasher()

    class Counting:
        def verify(self, password: str, digest: str) -> bool:
            computed.append(digest)
            return real.verify(password, digest)

        def hash(self, password: str) -> str:
            return real.hash(password)

    known = passwords.digest(GOOD)
    monkeypatch.setattr(passwords, "_hasher", Counting)
    passwords.matches(GOOD, known)
    passwords.matches(GOOD, None)
    assert len(computed) == 2
    assert computed[0].split("$")[:4] == computed[1].split("$")[:4]  # of the same cost


def test_a_flood_is_turned_away_and_those_inside_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ThreadPoolExecutor(1)
    monkeypatch.setattr(passwords, "_workers", lambda: one)
    monkeypatch.setattr(passwords, "_inside", BoundedSemaphore(2))
    inside, go_on = Event(), Event()

    class Slow:
        def verify(self, password: str, digest: str) -> bool:
            inside.set()
            assert go_on.wait(20)
            return True

    monkeypatch.setattr(passwords, "_hasher", Slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(passwords.matches, GOOD, "a digest")
        assert inside.wait(20)
        second = pool.submit(passwords.matches, GOOD, "a digest")
        while passwords._inside.acquire(blocking=False):  # until the second one waits
            passwords._inside.release()
        with pytest.raises(passwords.BusyError):
            passwords.matches(GOOD, "a digest")
        go_on.set()
        assert first.result(20)
        assert second.result(20)
    assert passwords.matches(GOOD, "a digest")


def test_receiving_goes_before_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    class Asked:
        def hash(self, password: str) -> str:
            found.append(os.getpriority(os.PRIO_PROCESS, get_native_id()))
            return ""

    monkeypatch.setattr(passwords, "_hasher", Asked)
    passwords.digest("correct horse battery staple")
    own = os.getpriority(os.PRIO_PROCESS, get_native_id())
    assert found == [min(own + priority.BEHIND, 19)]
