"""Which part of a file is asked for (RFC 9110 §13, §14): conditional requests, and single ranges of bytes. Pure.

A Range that is malformed, of another unit, of several parts, or tied to another version is as good as none: its asker
gets the whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE | re.ASCII)
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@dataclass(frozen=True)
class Part:
    """What is to be answered with: this many bytes from there on."""

    status: int  # 200, 206, 304 or 416
    first: int = 0
    length: int = 0

    def headers(self, whole: int) -> dict[str, str]:
        """Of an answer about a representation of `whole` bytes."""
        if self.status == 304:
            return {}
        if self.status == 416:
            return {"Content-Range": f"bytes */{whole}", "Content-Length": "0"}
        found = {"Content-Length": str(self.length)}
        if self.status == 206:
            found["Content-Range"] = f"bytes {self.first}-{self.first + self.length - 1}/{whole}"
        return found


def asked(headers: Mapping[str, str], whole: int, tag: str, *, is_get: bool = True) -> Part:
    """What a request wants of `whole` bytes with the strong entity tag `tag` (its quotes too); GET alone has ranges."""
    known = headers.get("if-none-match", "")
    if known.strip() == "*" or tag in _TAG.findall(known):
        return Part(304)
    everything = Part(200, 0, whole)
    found = _RANGE.fullmatch(headers.get("range", ""))
    condition = headers.get("if-range")
    if not is_get or found is None or (condition is not None and condition.strip() != tag):
        return everything
    begin, end = found.groups()
    if begin:
        first, last = int(begin), min(int(end), whole - 1) if end else whole - 1
        if end and int(end) < int(begin):
            return everything
    elif end:
        first, last = max(0, whole - int(end)), whole - 1
    else:
        return everything
    return Part(206, first, last - first + 1) if first <= last else Part(416)
