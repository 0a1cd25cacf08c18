"""Reading a header costs bounded work and memory, whatever the data set."""

import os
import struct
import tracemalloc
import zlib

import pytest

from noctis.repository import walk
from noctis.repository.header import HeaderError
from tests.unit.repository.header_data import (
    DEFLATED,
    EXPECTED,
    IMPLICIT,
    UNDEFINED,
    data_set,
    deflated,
    explicit,
    implicit,
    item,
    read,
)


class Reads:
    """What was read from files, in calls and in bytes."""

    def __init__(self) -> None:
        self.calls = self.bytes = 0

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        piece = os.pread(descriptor, length, offset)
        self.calls += 1
        self.bytes += len(piece)
        return piece


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    counted = Reads()

    class CountingOs:
        pread = staticmethod(counted.pread)
        fstat = staticmethod(os.fstat)

    monkeypatch.setattr(walk, "os", CountingOs)
    return counted


def test_pixel_data_is_not_read(reads: Reads) -> None:
    head = data_set()[: -len(explicit(0x7FE00010, b"OW", b"\1\2" * 50))]
    assert read(head + explicit(0x7FE00010, b"OW", b"\1" * 4_000_000)) == EXPECTED
    assert reads.bytes <= 20_000


def test_large_values_are_skipped_by_offset(reads: Reads) -> None:
    extra = b"".join(explicit(0x00091000 + number, b"OB", b"\1" * 500_000) for number in range(8))
    assert read(data_set(extra=extra)) == EXPECTED
    assert reads.bytes <= 150_000


def test_of_an_absurdly_long_text_only_the_beginning_is_read(reads: Reads) -> None:
    long = explicit(0x00100020, b"UT", b"P" * 4_000_000)
    header = read(data_set().replace(explicit(0x00100020, b"LO", b"P1"), long))
    assert (header.patient_id, header.columns) == ("P" * 1024, 256)
    assert reads.bytes <= 60_000


@pytest.mark.parametrize("tag", [0x00081140, 0x00401234])
def test_fifty_thousand_nested_sequences_end_quickly(reads: Reads, tag: int) -> None:
    opening = explicit(tag, b"SQ", length=UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
    if tag < 0x00280011:
        data = data_set(extra=opening * 50_000)
    else:
        data = data_set()[: -len(explicit(0x7FE00010, b"OW", b"\1\2" * 50))] + opening * 50_000
    with pytest.raises(HeaderError, match="deeper than 64 levels"):
        read(data)
    assert reads.bytes <= 300_000


def test_nested_sequences_of_defined_length_cost_nothing(reads: Reads) -> None:
    content = b""
    for _ in range(3000):
        content = explicit(0x00081140, b"SQ", item(content, defined=True))
    assert read(data_set(extra=content)) == EXPECTED
    assert reads.calls <= 4


def test_elements_without_end_are_refused_before_the_last_wanted_tag_and_let_be_behind_it() -> None:
    many = implicit(0x00090000, b"") * 120_000
    with pytest.raises(HeaderError, match="more than 100000 elements"):
        read(data_set(implicit, extra=many), IMPLICIT)
    head = data_set(implicit)[: -len(implicit(0x7FE00010, b"OW", b"\1\2" * 50))]
    items = implicit(0x00401234, b"SQ", length=UNDEFINED) + item(implicit(0x00090000, b"") * 6000)  # and no end of it
    assert read(head + items, IMPLICIT) == EXPECTED


def bomb(head: bytes, megabytes: int) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    pieces = [machine.compress(head)]
    pieces += [machine.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join((*pieces, machine.flush()))


def test_a_deflated_bomb_costs_bounded_memory() -> None:
    size = 80 << 20
    in_front = bomb(explicit(0x00080005, b"OB", length=size), 80)
    behind = bomb(data_set() + explicit(0xFFFCFFFC, b"OB", length=size), 80)
    assert len(in_front) * 900 < size
    tracemalloc.start()
    try:
        with pytest.raises(HeaderError, match="larger than 8 MiB when inflated"):
            read(in_front, DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
        tracemalloc.reset_peak()
        assert read(behind, DEFLATED) == EXPECTED
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_header_beyond_the_first_inflated_piece_is_found() -> None:
    assert read(deflated(data_set(extra=explicit(0x00091010, b"OB", bytes(3 << 20)))), DEFLATED) == EXPECTED


def test_damaged_deflated_data_is_refused() -> None:
    sound = deflated(data_set())
    with pytest.raises(HeaderError, match="ends early"):
        read(sound[:-20], DEFLATED)
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    with pytest.raises(HeaderError, match="damaged"):
        read(machine.compress(data_set()) + machine.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 40, DEFLATED)
    with pytest.raises(HeaderError, match="no header in its first"):
        read(b"\0\0\0\xff\xff" * 200_000, DEFLATED)  # stored blocks of no bytes
