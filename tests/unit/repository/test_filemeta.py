"""The File Meta Information: what pydicom reads is what was written, and what is not ours is refused."""

import contextlib
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from noctis.errors import StorageError
from noctis.repository.filemeta import PRIVATE_BYTES, Origin, encode, read

ORIGIN = Origin("CT1", "CENTRAL", "192.0.2.7", 11113, "a1b2c3")
SYNTAX = "1.2.840.10008.1.2.1"


def store(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    return os.open(path, os.O_RDONLY)


def reread(path: Path, content: bytes) -> object:
    descriptor = store(path, content)
    try:
        return read(descriptor)
    finally:
        os.close(descriptor)


def test_it_explains_itself_to_us_and_to_others(tmp_path: Path) -> None:
    path = tmp_path / "1.dcm"
    head = encode(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3", SYNTAX, ORIGIN, ("context",))
    descriptor = store(path, head.encoded)
    meta = read(descriptor)
    os.close(descriptor)
    assert (meta.sop_class_uid, meta.sop_instance_uid) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    assert (meta.transfer_syntax_uid, meta.origin, meta.flags) == (SYNTAX, ORIGIN, ("context",))
    assert (meta.dataset_start, meta.record) == (len(head.encoded), None)
    theirs = dcmread(path).file_meta
    assert theirs.MediaStorageSOPInstanceUID == "1.2.3"
    assert theirs.SourceApplicationEntityTitle == theirs.SendingApplicationEntityTitle == "CT1"
    assert theirs.ReceivingApplicationEntityTitle == "CENTRAL"


def test_the_commit_record_fits_where_it_belongs(tmp_path: Path) -> None:
    head = encode(b"1.2", b"1.2.3", SYNTAX, ORIGIN, ("context",))
    sha256 = hashlib.sha256(b"x").hexdigest()
    encoded = head.record(sha256, 1 << 40, "0123456789abcdef")
    assert len(encoded) == PRIVATE_BYTES
    descriptor = store(tmp_path / "1.dcm", head.encoded[: head.record_at] + encoded + b"x")
    meta = read(descriptor)
    os.close(descriptor)
    assert meta.record is not None
    assert (meta.record.sha256, meta.record.length, meta.record.stamp) == (sha256, 1 << 40, "0123456789abcdef")
    assert (meta.flags, meta.origin) == (("context",), ORIGIN)


def test_a_record_is_of_its_own_head_alone(tmp_path: Path) -> None:
    """In a slot a power cut may leave the head of one instance before the record of another."""
    one, other = (encode(b"1.2", uid, SYNTAX, ORIGIN) for uid in (b"1.2.3", b"1.2.4"))
    mixed = other.encoded[: other.record_at] + one.record("0" * 64, 5)
    descriptor = store(tmp_path / "1.dcm", mixed)
    with pytest.raises(StorageError, match="not the one that was committed"):
        read(descriptor)
    os.close(descriptor)


@given(
    uid=st.binary(max_size=2000).filter(lambda value: not value.endswith((b"\0", b" "))),
    calling=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=16),
    address=st.sampled_from(["192.0.2.1", "::1", "2001:db8::7", ""]),
    flags=st.lists(st.sampled_from(["context", "uid", "vr"]), unique=True).map(tuple),
)
def test_whatever_a_command_holds_comes_back(
    uid: bytes, calling: str, address: str, flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    origin = Origin(calling, calling, address, 104, "a")
    head = encode(uid, uid, SYNTAX, origin, flags)
    descriptor = store(tmp_path_factory.getbasetemp() / "generated.dcm", head.encoded)
    meta = read(descriptor)
    os.close(descriptor)
    assert meta.sop_instance_uid.encode("latin-1") == uid[:1024].rstrip(b"\0 ")
    assert (meta.origin, meta.flags) == (origin, flags)


@given(data=st.data())
def test_what_is_damaged_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(encode(b"1.2", b"1.2.3", SYNTAX, ORIGIN).encoded)
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    for damaged in (bytes(content), bytes(content[:cut])):
        with contextlib.suppress(StorageError):  # and nothing else
            reread(path, damaged)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0" + b"\xff" * 4]
)
def test_no_file_of_ours(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        reread(tmp_path / "1.dcm", content)
