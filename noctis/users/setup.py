"""The set-up link: how the first admin comes about. There is no default password.

While there is no account, a secret lies in <home>/run/setup.secret, for the home's owner alone. Whoever has the link
with it makes the first admin; then the secret is gone.
"""

import hmac
import os
import secrets

from noctis.home import Home

NAME = "setup.secret"


def secret(home: Home) -> str:
    """The secret, made when there is none."""
    path = home.run / NAME
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if found := path.read_text(encoding="ascii").strip():
            return found
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # it was being written when we were killed
    made = secrets.token_urlsafe(24)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(made)
    return made


def matches(home: Home, given: str) -> bool:
    """Whether this is the secret of a set-up that is still to be done."""
    try:
        known = (home.run / NAME).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return False
    return bool(known) and hmac.compare_digest(known.encode(), given.encode("utf-8", "replace"))


def forget(home: Home) -> None:
    """The first admin is there."""
    (home.run / NAME).unlink(missing_ok=True)
