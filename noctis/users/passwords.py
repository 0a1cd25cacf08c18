"""Passwords: Argon2id digests, and how many are computed at once.

A digest takes 64 MiB and every core for a while, so a flood of log-ins would take the machine from those who receive:
they are computed by threads that stand behind all that receives, more than `AT_ONCE` wait, and more than `WAITING_MAX`
of them are turned away.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import BoundedSemaphore
from typing import TypeVar

from pwdlib import PasswordHash

from noctis import priority
from noctis.errors import UsageError

Made = TypeVar("Made")

PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters
DIFFERENT_MIN = 5  # characters
AT_ONCE, WAITING_MAX = 2, 8

_inside = BoundedSemaphore(AT_ONCE + WAITING_MAX)


class BusyError(UsageError):
    """So many log in at once that this one has to come again."""


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobody() -> str:
    return _hasher().hash("nobody's")


def check(password: str) -> str:
    """A password that may be set.

    Raises
    ------
    UsageError
        It is too short, too long, made of a few characters, or no text.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise UsageError(
            f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters, this one {len(password)}",
            fix="several words in a row are easy to remember",
        )
    if len(set(password)) < DIFFERENT_MIN:
        raise UsageError(f"a password has {DIFFERENT_MIN} different characters or more")
    if not _is_text(password):
        raise UsageError("a password is text, in UTF-8")
    return password


def digest(password: str) -> str:
    """What is kept of a password that may be set; see `check`."""
    check(password)
    return _behind(lambda: _hasher().hash(password))


def matches(password: str, known: str | None) -> bool:
    """Whether a digest is this password's. No digest (there is no such account) takes as long.

    Raises
    ------
    BusyError
        Too many are asked about at once.
    """
    given = password if len(password) <= PASSWORD_MAX and _is_text(password) else ""
    right = _behind(lambda: _hasher().verify(given, known or _nobody()))
    return right and known is not None and bool(given)


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "passwords", initializer=priority.behind)  # nice(2) is a thread's on Linux


def _behind(compute: Callable[[], Made]) -> Made:
    """Compute it in one of a few threads.

    Raises
    ------
    BusyError
        Too many wait.
    """
    if not _inside.acquire(blocking=False):
        raise BusyError("too many log in at this moment", fix="try again in some seconds")
    try:
        return _workers().submit(compute).result()
    finally:
        _inside.release()


def _is_text(password: str) -> bool:
    try:
        password.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say
        return False
    return True
