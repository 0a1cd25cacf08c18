"""The File Meta Information that Noctis writes and reads (PS3.10 §7.1): a spool file explains itself.

Besides what the standard asks for it carries the caller, the called AE title and the addresses (0002,0016-0018,
0002,0026/0028) and, as private information of ours (0002,0100/0102), the association and what was odd at reception.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from noctis import __version__
from noctis.errors import StorageError

# 2.25 + a random UUID as a decimal number (PS3.5 §B.2): ours for good.
IMPLEMENTATION_CLASS_UID = "2.25.314852255903428074959138653329692614137"
IMPLEMENTATION_VERSION_NAME = f"NOCTIS_{__version__}"[:16]
PRIVATE_CREATOR_UID = IMPLEMENTATION_CLASS_UID

PREAMBLE = b"\0" * 128 + b"DICM"
PRIVATE_BYTES = 256  # of (0002,0102): room for the commit record, whose values are known only at the end
READ_BYTES = 4096  # enough for every group 2 that we write
_PREFIX = PREAMBLE + struct.pack("<HH2sH", 2, 0, b"UL", 4)
_PRIVATE_HEAD = struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, PRIVATE_BYTES)
_LONG_VRS = (b"OB", b"UN", b"OW", b"UT", b"UR", b"UC", b"SQ")


@dataclass(frozen=True)
class Origin:
    """Where an instance comes from."""

    calling: str = ""
    called: str = ""
    address: str = ""  # of the peer, IPv4 or IPv6
    port: int = 0  # that it reached
    association: str = ""  # id, as in the logs


@dataclass(frozen=True)
class FileMeta:
    """What group 2 of a spool file says."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    origin: Origin
    dataset_start: int  # bytes from the start of the file
    flags: tuple[str, ...] = ()
    record: "Record | None" = None  # None: the file was never committed

    @property
    def committed_bytes(self) -> int:
        """Of the file, as its record says; what lies behind is an earlier instance's. 0: it was never committed."""
        return 0 if self.record is None else self.dataset_start + self.record.length


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) & 1:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHI", 2, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


@dataclass(frozen=True)
class Record:
    """The commit record: what a whole file says of itself, so that a torn one is known after a power cut."""

    sha256: str  # hex, of the data set
    length: int  # bytes of the data set
    head: str  # digest of what is before the record: in a slot that may be an earlier instance's
    stamp: str = ""  # in a slot: which of the instances that it has held


class Head(NamedTuple):
    """Preamble and group 2, ready to be followed by the data set, and where the record goes."""

    encoded: bytes
    record_at: int  # bytes from the start of the file
    private: str  # JSON without its last brace

    def record(self, sha256: str, length: int, stamp: str = "") -> bytes:
        """The commit record of a file that is whole: the `PRIVATE_BYTES` at `record_at`."""
        said = f',"stamp":"{stamp}"' if stamp else ""
        head = _head_digest(self.encoded[: self.record_at])
        return _private(f'{self.private},"sha256":"{sha256}","length":{length},"head":"{head}"{said}}}')


def encode(
    sop_class: bytes, sop_instance: bytes, transfer_syntax: str, origin: Origin, flags: tuple[str, ...] = ()
) -> Head:
    """Preamble and group 2, Explicit VR Little Endian.

    Parameters
    ----------
    sop_class, sop_instance
        The UIDs as the command gave them, without padding; cut at 1024 bytes.
    """
    before, after, private = _around(sop_class[:1024], transfer_syntax, origin, flags)
    instance = _element(0x0003, b"UI", sop_instance[:1024])
    length = struct.pack("<I", len(before) + len(instance) + len(after))
    encoded = b"".join((_PREFIX, length, before, instance, after))
    return Head(encoded, len(encoded) - PRIVATE_BYTES, private)


@lru_cache(maxsize=256)
def _around(sop_class: bytes, transfer_syntax: str, origin: Origin, flags: tuple[str, ...]) -> tuple[bytes, bytes, str]:
    """What stands before and behind the SOP Instance UID: the same for all instances of one context."""
    calling, called = _latin(origin.calling)[:16], _latin(origin.called)[:16]
    before = _element(0x0001, b"OB", b"\0\1") + _element(0x0002, b"UI", sop_class)
    private = json.dumps({"association": origin.association, "flags": flags}, separators=(",", ":"))
    after = b"".join(
        (
            _element(0x0010, b"UI", transfer_syntax.encode("ascii", "replace")),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
            _element(0x0016, b"AE", calling),
            _element(0x0017, b"AE", calling),
            _element(0x0018, b"AE", called),
            _element(0x0026, b"UR", f"dicom://{_host(origin.address)}".encode()),
            _element(0x0028, b"UR", f"dicom://:{origin.port}".encode()),
            _element(0x0100, b"UI", PRIVATE_CREATOR_UID.encode()),
            _element(0x0102, b"OB", _private(private)),
        )
    )
    return before, after, private[:-1]


def _head_digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()[:16]


def _private(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > PRIVATE_BYTES:
        raise ValueError(f"the private information has {len(encoded)} bytes")
    return encoded.ljust(PRIVATE_BYTES)


def read(descriptor: int) -> FileMeta:
    """The meta group of an open file that we wrote.

    Raises
    ------
    StorageError
        It is not such a file.
    """
    head = os.pread(descriptor, READ_BYTES, 0)
    try:
        if head[128:132] != b"DICM" or head[132:138] != b"\2\0\0\0UL":
            raise ValueError("no File Meta Information")
        end = 144 + int(struct.unpack_from("<I", head, 140)[0])
        if end > len(head):
            raise ValueError("the File Meta Information is too long")
        shared, instance, private = _split(head[144:end])
        described = json.loads(private.strip(b"\0 ").decode() or "{}")
        association, flags = str(described.get("association", "")), tuple(described.get("flags", ()))
        "".join((association, *flags)).encode()  # texts, and such as any database takes
        context = _context(shared, association)
        return FileMeta(
            sop_class_uid=context.sop_class_uid,
            sop_instance_uid=_text(instance),
            transfer_syntax_uid=context.transfer_syntax_uid,
            origin=context.origin,
            dataset_start=end,
            flags=flags,
            record=_record(described, head[: end - PRIVATE_BYTES]),
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
        OverflowError,  # a length that JSON calls Infinity
        RecursionError,  # arrays inside arrays
    ) as error:
        raise StorageError(f"this is not a file that Noctis wrote: {error}") from error


class _Context(NamedTuple):
    """What group 2 of all instances of one context has in common."""

    sop_class_uid: str
    transfer_syntax_uid: str
    origin: Origin


@lru_cache(maxsize=256)
def _context(shared: bytes, association: str) -> _Context:
    values = {element: shared[value:end] for element, _, value, end in _walk(shared)}
    return _Context(
        sop_class_uid=_text(values[0x0002]),
        transfer_syntax_uid=_text(values[0x0010]),
        origin=Origin(
            calling=_text(values.get(0x0016, b"")),
            called=_text(values.get(0x0018, b"")),
            address=_text(values.get(0x0026, b"")).removeprefix("dicom://").strip("[]"),
            port=int(_text(values.get(0x0028, b"")).removeprefix("dicom://:") or 0),
            association=association,
        ),
    )


def _split(group: bytes) -> tuple[bytes, bytes, bytes]:
    """Group 2 without its two values that are each instance's own, then these: SOP Instance UID, private information.

    The latter stands last in what we write, so what lies between need not be walked.
    """
    spans: dict[int, tuple[int, int, int]] = {}
    last = len(group) - PRIVATE_BYTES
    for element, begin, value, end in _walk(group):
        spans[element] = (begin, value, end)
        if element == 0x0003 and group.endswith(_PRIVATE_HEAD, end, last):
            spans[0x0102] = (last - len(_PRIVATE_HEAD), last, len(group))
            break
    begin, value, end = spans[0x0003]
    private = spans.get(0x0102, (len(group),) * 3)
    if private[0] < end:
        raise ValueError("the elements are not in order")
    shared = group[:begin] + group[end : private[0]] + group[private[2] :]
    return shared, group[value:end], group[private[1] : private[2]]


def _walk(group: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The elements of group 2, and where each of them and its value begin and end."""
    at = 0
    while at < len(group):
        number, element, vr, length = struct.unpack_from("<HH2sH", group, at)
        value = at + 8
        if vr in _LONG_VRS:
            length = struct.unpack_from("<I", group, value)[0]
            value += 4
        end = value + length
        if number != 2 or end > len(group):
            raise ValueError("a broken element in the File Meta Information")
        yield element, at, value, end
        at = end


def _record(private: dict[str, Any], head: bytes) -> Record | None:
    if "sha256" not in private:
        return None
    if str(private["head"]) != _head_digest(head):
        raise ValueError("the File Meta Information is not the one that was committed")
    length = int(private["length"])
    if length < 0:
        raise ValueError("a data set of less than no bytes")
    return Record(str(private["sha256"]), length, str(private["head"]), str(private.get("stamp", "")))


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("latin-1")


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
