"""A file as it may lie in the spool after anything: torn, damaged, or put there by hand.

The first byte of an input says where it lies; the rest is the file. Oracle: `filemeta.read` gives a `FileMeta` of the
documented types, or `StorageError`; what recovery and filing make of the file is one of their documented results.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from noctis.archiver.intake import Rejected
from noctis.archiver.intake import examine as examine_entry
from noctis.errors import StorageError
from noctis.repository import filemeta, slots, spool
from noctis.repository.filemeta import FileMeta, Origin
from noctis.repository.index_values import Filing
from noctis.repository.spool_entries import SpoolEntry
from tests.unit.repository.header_data import EXPLICIT, data_set, in_memory

STAMP = "0123456789abcdef"


def examine(data: bytes) -> None:
    if not data:
        return
    slot = STAMP if data[0] & 1 else ""
    with in_memory(data[1:]) as descriptor:
        try:
            meta = filemeta.read(descriptor)
        except StorageError as error:
            meta = None
            assert len(error.message) < 400
        if meta is not None:
            sound(meta, len(data) - 1)
        path = Path(f"/proc/self/fd/{descriptor}")
        whole = spool.is_whole(path)
        assert not whole or (meta is not None and meta.record is not None)
        assert slots.look(path) == meta
        found = examine_entry(SpoolEntry("central", path, slot))
        if isinstance(found, Filing):
            assert meta is not None
            assert found.bytes <= len(data) - 1
            assert found.flags.isprintable()
            if meta.record is not None:
                assert found.sha256 == meta.record.sha256
        elif isinstance(found, Rejected):
            assert not whole or meta is None or found.note.reason
        else:
            assert found is None
            assert slot


def sound(meta: FileMeta, size: int) -> None:
    texts = [meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, *meta.flags]
    texts += [meta.origin.calling, meta.origin.called, meta.origin.address, meta.origin.association]
    for text in texts:
        assert type(text) is str
        text.encode()  # no lone surrogate
    assert type(meta.origin.port) is int
    assert 0 < meta.dataset_start <= min(size, filemeta.READ_BYTES)
    if meta.record is not None:
        assert type(meta.record.length) is int
        assert meta.record.length >= 0
        assert {type(each) for each in (meta.record.sha256, meta.record.head, meta.record.stamp)} == {str}


def seeds() -> Iterator[bytes]:
    origin = Origin("CT1", "CENTRAL", "2001:db8::7", 11113, "a1b2c3d4e5f6")
    for number, (data, flags) in enumerate(((data_set(), ()), (b"", ("context", "uid")))):
        head = filemeta.encode(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3", EXPLICIT, origin, flags)
        file = bytearray(head.encoded + data)
        yield bytes((number,)) + file
        for stamp in ("", STAMP):
            with in_memory(bytes(file)) as descriptor:
                record = head.record(spool.digest(descriptor, len(head.encoded), len(data)), len(data), stamp)
                os.pwrite(descriptor, record, head.record_at)
                yield bytes((bool(stamp),)) + os.pread(descriptor, 1 << 20, 0)
