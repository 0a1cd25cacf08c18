"""Pictures on disk, so that a frame is decoded once: <home>/cache/frames/ab/<key>, the oldest go.

A key names bytes (the digest of the data set) and how they are shown, so nothing in it can be out of date. Whoever asks
has been let in before: the cache knows no facilities. It takes no room that receiving needs, and does without what it
cannot write.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noctis.frames.protocol import Request

VERSION = 2  # of what is in the files, and of how pictures are made
LOW_MARK = 0.9  # of the limit, that is left when the oldest have gone
BLOCK = 4096  # bytes: the least that a file takes, which is more than a small picture has
_HEADER_MAX = 64 << 10  # bytes


def key_of(sha256: str, transfer_syntax: str, request: Request) -> str:
    """A name for this picture of these bytes."""
    shown = asdict(request) | {"key": ""}
    return hashlib.sha256(json.dumps([VERSION, sha256, transfer_syntax, shown]).encode()).hexdigest()


def room_of(length: int) -> int:
    """Bytes that a file takes on the disk."""
    return -(-length // BLOCK) * BLOCK


class FrameCache:
    """One folder. Safe from several threads, and several processes."""

    def __init__(self, folder: Path, limit: int, reserve: int) -> None:
        self._folder = folder
        self._limit = limit  # bytes; 0: nothing is kept
        self._reserve = reserve  # bytes of free space that are not used up
        self._lock = threading.Lock()
        self._size: int | None = None  # bytes; None: not looked at yet

    def get(self, key: str) -> tuple[dict[str, Any], bytes] | None:
        """What was put under `key`, or nothing."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                info = json.loads(file.readline(_HEADER_MAX))
                body = file.read()
            os.utime(path)  # the oldest is the one that nobody looked at for longest
        except (OSError, ValueError):
            return None
        return (info, body) if isinstance(info, dict) and info.pop("bytes", None) == len(body) else None

    def put(self, key: str, info: dict[str, Any], body: bytes) -> None:
        """Keep it, if there is room."""
        head = json.dumps(info | {"bytes": len(body)}, separators=(",", ":")).encode() + b"\n"
        length = len(head) + len(body)
        path = self._path(key)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            if length > self._limit // 4 or not self._has_room(length):
                return
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(head + body)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
        with self._lock:
            self._size = self._total() if self._size is None else self._size + room_of(length)
            if self._size > self._limit:
                self._size = self._shrink()

    def _has_room(self, length: int) -> bool:
        folder = self._folder
        while not folder.is_dir():
            folder = folder.parent
        return shutil.disk_usage(folder).free > self._reserve + 4 * length

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _files(self) -> list[tuple[float, int, str]]:
        """When each was looked at last, the bytes that it takes, its path."""
        found = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):
                    status = os.stat(path := os.path.join(folder, name))
                    found.append((status.st_mtime, room_of(status.st_size), path))
        return found

    def _total(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _shrink(self) -> int:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._limit * LOW_MARK:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
        return total
