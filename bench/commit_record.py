"""What the ways of committing share: the head of an instance's file, its commit record, whole writes, syncfs.

An instance's file is a head of `HEAD` bytes and then its data. The head stands for the File Meta Information: it says
what the instance is, and has room for the commit record, which is written last. The record's digests cover the data
and the head, so that a mixture of two instances is known as one whatever parts of either reached the disk.
"""

import ctypes
import hashlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

Buffer = bytes | memoryview

HEAD = 1024  # bytes
RECORD_AT = 768  # in a sector other than the first one: head and record may part
STATE_AT = RECORD_AT  # its first byte alone clears a record
BLANK, WHOLE = 0, 1
_NAME = 64  # bytes; repeated over the head, so that every sector of it matters
_RECORD = struct.Struct(
    "<B7xQQ32s32s"
)  # state, sequence, bytes of data, SHA-256 of the data, SHA-256 of head and these
_UNMIXED = 1  # names that a sound head holds


@dataclass(frozen=True)
class Instance:
    """What recovery finds."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Hint:
    """Where a committed instance is, for the filing."""

    name: str
    path: str
    size: int  # bytes of its file, head and all
    extents: tuple[tuple[int, int], ...] = ()  # of a segment: where each frame is, and how many bytes it carries
    record: bytes = b""  # of a segment, where the head came before it


class Way(Protocol):
    """One way of committing. Safe for several threads; what it needs ahead is made by its constructor."""

    def receive(self, name: str, pieces: Iterable[Buffer]) -> Hint:
        """Take one instance. When this returns, the instance survives a power cut: it may be acknowledged."""

    def forget(self, hint: Hint) -> None:
        """Do as if it was filed: where it was may be used again."""

    def close(self) -> None:
        """Give back descriptors."""


class Head:
    """The head of one instance that is being received, and the digest so far."""

    def __init__(self, name: str) -> None:
        self.encoded = (name.encode().ljust(_NAME, b"\0") * (RECORD_AT // _NAME)).ljust(HEAD, b"\0")
        self._digest = hashlib.sha256()
        self.length = 0  # bytes of data

    def update(self, piece: Buffer) -> None:
        self._digest.update(piece)
        self.length += len(piece)

    def record(self, sequence: int) -> bytes:
        """What goes to `RECORD_AT` when the instance is whole."""
        digest = self._digest.digest()
        return _RECORD.pack(WHOLE, sequence, self.length, digest, _check(self.encoded, sequence, self.length, digest))


def _check(head: bytes, sequence: int, length: int, digest: bytes) -> bytes:
    return hashlib.sha256(head[:RECORD_AT] + struct.pack("<QQ", sequence, length) + digest).digest()


def read(content: bytes) -> Instance | None:
    """The instance at the start of `content`, whole by its record. None: torn, or never committed."""
    if len(content) < HEAD:
        return None
    state, sequence, length, digest, check = _RECORD.unpack_from(content, RECORD_AT)
    data = content[HEAD : HEAD + length]
    if state != WHOLE or check != _check(content, sequence, length, digest):
        return None
    if len(data) != length or hashlib.sha256(data).digest() != digest:
        return None
    return read_unchecked(content[: HEAD + length])


def read_unchecked(content: bytes) -> Instance:
    """The instance that `content` must be, because of where it was found. (The tests know whether it is.)"""
    names = {content[at : at + _NAME] for at in range(0, RECORD_AT, _NAME)}
    name = names.pop().rstrip(b"\0").decode("latin-1") if len(names) == _UNMIXED else "a mixture of heads"
    return Instance(name, content[HEAD:])


def put(descriptor: int, data: Buffer, at: int) -> int:
    """Write all of `data`; where it ended."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count
    return at


_libc = ctypes.CDLL(None, use_errno=True)


def syncfs(descriptor: int) -> None:
    """Linux's syncfs(2): everything of the file system on which the descriptor is. Waits until it is done."""
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
