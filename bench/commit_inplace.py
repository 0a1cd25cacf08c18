"""Ways of committing that overwrite blocks a process already has, in place, and so need no change of the file system.

What they hold is copied into the archive later, and only when that copy is durable is the place used again. A place is
given back by clearing one byte of it; that byte is not synced: if it is lost, the instance is found again after a power
cut and filed twice, which changes nothing.
"""

import hashlib
import itertools
import os
import secrets
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import commit_record
from bench.commit_record import BLANK, HEAD, RECORD_AT, STATE_AT, WHOLE, Buffer, Head, Hint, Instance, put
from bench.commit_ways import Together, sync_folder, write

BLOCK = 4096  # bytes; frames begin at multiples
_ZEROS = bytes(1 << 20)
_LOOK_AT = 8  # slots, the oldest; they are filed in about the order in which they were committed
_WAIT_SECONDS = 0.0005  # between two looks at whether the other process has cleared something


def _written(path: Path, size: int) -> int:
    """A new file whose blocks are all written and durable; its name is not yet."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    at = 0
    while at < size:
        at = put(descriptor, _ZEROS[: size - at], at)
    os.fsync(descriptor)
    return descriptor


@dataclass(frozen=True)
class Slot:
    path: Path
    descriptor: int


class RecycledSlots:
    """A fixed set of files, each overwritten by one instance after another; the commit is one fdatasync of one of them.

    When none is free, receiving waits until one is; a listener would take a file ahead instead.
    An instance that is larger than a slot makes the slot grow: that commit is dearer, and no less safe.
    """

    def __init__(self, root: Path, *, slots: int = 64, size: int = 1 << 20) -> None:
        folder = root / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(root)
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # one looks for a slot that was given back, the others wait behind it
        self._numbers = itertools.count(1)
        self._used: deque[Slot] = deque()  # oldest first
        self._free: list[Slot] = []
        for number in range(slots):
            path = folder / f"{number:x}"
            self._free.append(Slot(path, _written(path, size)))
        sync_folder(folder)

    def _take(self) -> Slot:
        with self._turn:
            while True:
                with self._lock:
                    if self._free:
                        return self._free.pop()
                    for slot in list(itertools.islice(self._used, _LOOK_AT)):
                        if os.pread(slot.descriptor, 1, STATE_AT) == bytes([BLANK]):
                            self._used.remove(slot)
                            return slot
                time.sleep(_WAIT_SECONDS)

    def receive(self, name: str, pieces: Iterable[Buffer]) -> Hint:
        head = Head(name)
        slot = self._take()
        write(slot.descriptor, head, pieces)
        put(slot.descriptor, head.record(next(self._numbers)), RECORD_AT)
        os.fdatasync(slot.descriptor)
        with self._lock:
            self._used.append(slot)
        return Hint(name, str(slot.path), HEAD + head.length)

    def forget(self, hint: Hint) -> None:
        """Only where nothing is filed at all: the byte is cleared, and the slot is the next to be taken."""
        with self._lock:
            slot = next(slot for slot in self._used if str(slot.path) == hint.path)
            self._used.remove(slot)
            os.pwrite(slot.descriptor, bytes([BLANK]), STATE_AT)
            self._free.append(slot)

    @staticmethod
    def recover(root: Path) -> list[Instance]:
        contents = (path.read_bytes() for path in sorted((root / "slots").iterdir()))
        return [found for content in contents if (found := commit_record.read(content))]

    def close(self) -> None:
        for slot in (*self._free, *self._used):
            os.close(slot.descriptor)


# state (not checked: it is cleared alone), last, token, sequence, part, bytes, commit record (of the last part), check
_FRAME = struct.Struct("<BB16sQII88s32s")
FRAME = _FRAME.size


@dataclass
class Frame:
    at: int
    stop: int
    written: bool = False  # until it is, its first byte is that of an older frame


class Segment:
    """One file, written ahead, into which every instance of the process goes in frames, one behind the other, round and
    round; one fdatasync of it serves all that wait.

    The length of an instance is known at its end only, so it comes in several frames, each as large as what is held in
    memory of it. An instance must be smaller than the segment.
    """

    def __init__(self, root: Path, *, size: int = 64 << 20, extent: int = 1 << 17) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._path = root / "segment"
        self._size = size
        self._extent = extent  # bytes of an instance that are held in memory
        self._descriptor = _written(self._path, size)
        sync_folder(root)
        self._token = secrets.token_bytes(16)  # no data set can hold it by chance, or on purpose
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()  # oldest first
        self._next = 0
        self.together = Together(lambda: os.fdatasync(self._descriptor))

    def _reserve(self, length: int) -> Frame:
        """The next place for so many bytes, once what was there has been filed."""
        length = -(-length // BLOCK) * BLOCK
        while True:
            with self._lock:
                wrap = self._next + length > self._size
                start = 0 if wrap else self._next
                while self._frames and self._cleared(self._frames[0]):
                    self._frames.popleft()
                oldest = self._frames[0] if self._frames else None
                behind = wrap and oldest is not None and oldest.at >= self._next  # frames between here and the end
                if oldest is None or not (behind or (oldest.at < start + length and start < oldest.stop)):
                    frame = Frame(start, start + length)
                    self._frames.append(frame)
                    self._next = frame.stop
                    return frame
            time.sleep(_WAIT_SECONDS)

    def _cleared(self, frame: Frame) -> bool:
        return frame.written and os.pread(self._descriptor, 1, frame.at) == bytes([BLANK])

    def receive(self, name: str, pieces: Iterable[Buffer]) -> Hint:
        head = Head(name)
        sequence = next(self._numbers)
        extents: list[tuple[int, int]] = []
        held: list[Buffer] = [head.encoded]
        length = HEAD
        for piece in pieces:
            if length + len(piece) > self._extent:
                extents.append(self._append(sequence, len(extents), held, length))
                held, length = [], 0
            held.append(bytes(piece))
            length += len(piece)
            head.update(piece)
        record = head.record(sequence)
        extents.append(self._append(sequence, len(extents), held, length, record))
        self.together.sync()
        return Hint(name, str(self._path), HEAD + head.length, tuple(extents), record)

    def _append(
        self, sequence: int, part: int, held: list[Buffer], length: int, record: bytes = b""
    ) -> tuple[int, int]:
        frame = self._reserve(FRAME + length)
        header = _header(bool(record), self._token, sequence, part, length, record.ljust(88, b"\0"))
        put(self._descriptor, b"".join((header, *held)), frame.at)
        frame.written = True
        return frame.at, length

    def forget(self, hint: Hint) -> None:
        for at, _ in hint.extents:
            os.pwrite(self._descriptor, bytes([BLANK]), at)

    @staticmethod
    def recover(root: Path) -> list[Instance]:
        """Any block may begin a frame, those inside another frame as well: that one may be what is left of an older."""
        path = root / "segment"
        content = path.read_bytes() if path.exists() else b""
        return assemble(content, range(0, len(content), BLOCK))

    def close(self) -> None:
        os.close(self._descriptor)


def _header(last: bool, token: bytes, sequence: int, part: int, length: int, record: bytes) -> bytes:
    check = hashlib.sha256(struct.pack("<B16sQII88s", last, token, sequence, part, length, record)).digest()
    return _FRAME.pack(WHOLE, last, token, sequence, part, length, record, check)


def assemble(content: bytes, places: Iterable[int]) -> list[Instance]:
    """The instances whose frames begin at these places and are all there."""
    parts: dict[tuple[bytes, int], dict[int, bytes]] = {}
    ends: dict[tuple[bytes, int], tuple[int, bytes]] = {}
    for at in places:
        if at + FRAME > len(content):
            continue
        state, last, token, sequence, part, length, record, _ = _FRAME.unpack_from(content, at)
        if state != WHOLE or _header(bool(last), token, sequence, part, length, record) != content[at : at + FRAME]:
            continue
        parts.setdefault((token, sequence), {})[part] = content[at + FRAME : at + FRAME + length]
        if last:
            ends[token, sequence] = part + 1, record
    found = []
    for key, (count, record) in sorted(ends.items()):
        if len(parts[key]) == count:
            image = bytearray(b"".join(parts[key][part] for part in range(count)))
            image[RECORD_AT : RECORD_AT + len(record)] = record
            if instance := commit_record.read(bytes(image)):
                found.append(instance)
    return found
