"""The snapshot file: written once per change, read when it is another one, never half."""

import json
from pathlib import Path

import pytest

from noctis.facilities.snapshot import Device, Facility, Snapshot, SnapshotReader, dump, parse, write_if_changed

ONE = Snapshot((Facility(1, "a", "Á", "A1", 11113, devices=(Device("CT1", "10.0.0.0/8"),)),), ("facility 2: bad",))
TWO = Snapshot((Facility(1, "a", "Á", "A1", 11114),))


def test_what_is_written_is_what_is_read() -> None:
    assert parse(dump(ONE)) == ONE


def test_it_is_written_only_when_it_says_something_else(tmp_path: Path) -> None:
    path = tmp_path / "facilities.json"
    assert write_if_changed(path, lambda: ONE)
    before = path.stat().st_ino
    assert not write_if_changed(path, lambda: ONE)
    assert path.stat().st_ino == before
    assert write_if_changed(path, lambda: TWO)
    assert parse(path.read_bytes()) == TWO


def test_a_reader_follows_the_file_and_survives_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "facilities.json"
    reader = SnapshotReader(path)
    assert reader.current() == Snapshot()
    write_if_changed(path, lambda: ONE)
    assert reader.current() == ONE
    path.write_bytes(b"{ torn")
    assert reader.current() == ONE
    assert reader.error
    path.unlink()
    assert reader.current() == ONE
    write_if_changed(path, lambda: TWO)
    assert reader.current() == TWO
    assert reader.error is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"format": 99, "facilities": [], "refused_rows": []}',
        '{"format": 1, "facilities": [{"bad": 1}], "refused_rows": []}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text.encode())


def test_it_is_plain_json_for_others() -> None:
    assert json.loads(dump(ONE))["facilities"][0]["slug"] == "a"


@pytest.mark.parametrize(
    ("network", "address", "admitted"),
    [
        ("", "anything", True),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("2001:db8::/32", "2001:db8::5", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "nonsense", False),
        ("nonsense", "10.0.0.1", False),
    ],
)
def test_a_devices_network(network: str, address: str, admitted: bool) -> None:
    assert Device("X", network).admits(address) is admitted
