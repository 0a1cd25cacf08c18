"""Passwords: Argon2id digests, and how many are computed at once.

A digest takes 64 MiB and a core for a while, so a flood of log-ins would take the machine from those who receive: more
than `AT_ONCE` wait, more than `WAITING_MAX` of them are turned away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from pwdlib import PasswordHash

from noctis.errors import UsageError

PASSWORD_MIN, PASSWORD_MAX = 12, 1024  # characters
DIFFERENT_MIN = 5  # characters
AT_ONCE, WAITING_MAX = 2, 8

_computing = BoundedSemaphore(AT_ONCE)
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
    with _one_of_few():
        return _hasher().hash(password)


def matches(password: str, known: str | None) -> bool:
    """Whether a digest is this password's. No digest (there is no such account) takes as long.

    Raises
    ------
    BusyError
        Too many are asked about at once.
    """
    given = password if len(password) <= PASSWORD_MAX and _is_text(password) else ""
    with _one_of_few():
        right = _hasher().verify(given, known or _nobody())
    return right and known is not None and bool(given)


@contextmanager
def _one_of_few() -> Iterator[None]:
    if not _inside.acquire(blocking=False):
        raise BusyError("too many log in at this moment", fix="try again in some seconds")
    try:
        with _computing:
            yield
    finally:
        _inside.release()


def _is_text(password: str) -> bool:
    try:
        password.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say
        return False
    return True
