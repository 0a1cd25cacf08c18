"""Signatures of webhooks, as Standard Webhooks has them (standardwebhooks.com, 1.0.0).

Signed is `ID.TIMESTAMP.BODY` with HMAC-SHA256; the header `webhook-signature` has `v1,` and the base64 of it. A secret
is the base64 of 24 to 64 bytes, with or without `whsec_` in front.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

from noctis.errors import UsageError

PREFIX = "whsec_"
LEAST, MOST = 24, 64  # bytes


def new_secret() -> str:
    """A secret that nobody has."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret.

    Raises
    ------
    UsageError
        It is none. The message does not have it.
    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX).encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST <= len(key) <= MOST:
        raise UsageError(
            f"a webhook's secret is the base64 of {LEAST} to {MOST} bytes", fix="leave it empty: one is made"
        )
    return key


def headers(secret: str, uid: str, timestamp: int, body: bytes) -> dict[str, str]:
    """What a receiver needs to know that a message is ours and fresh.

    Parameters
    ----------
    timestamp
        Of this attempt, seconds since 1970.
    """
    signed = f"{uid}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": uid, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{digest}"}
