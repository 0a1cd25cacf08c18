"""File names from UIDs. A value that came over the wire is never used as a path unless it is a valid UID."""

import hashlib
import re
from functools import lru_cache

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
UID_MAX = 64  # characters, PS3.5 §9.1


@lru_cache(maxsize=4096)  # an instance's three are asked for several times
def is_uid(text: str) -> bool:
    """Whether `text` is digits and dots, 64 characters at most. Leading zeros, though illegal, do no harm."""
    return len(text) <= UID_MAX and _UID.fullmatch(text) is not None


def safe_name(uid: str) -> str:
    """`uid` itself where it is one, else a name made from its digest: no separator, no dot first, 36 characters."""
    if is_uid(uid):
        return uid
    return "uid-" + hashlib.sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()[:32]
