"""Hints: a datagram each, lost without harm, never waiting."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.repository.header import Header
from noctis.repository.hints import MAX_BYTES, Hint, HintReceiver, HintSender

HINT = Hint("central", "1.dcm", "0" * 64, Header(patient_name="Müller^Jörg", rows=512, flags=("charset", "vr")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hints.sock"


@pytest.fixture
def receiver(path: Path) -> Iterator[HintReceiver]:
    made = HintReceiver(path)
    yield made
    made.close()


@pytest.fixture
def sender(path: Path) -> Iterator[HintSender]:
    made = HintSender(path)
    yield made
    made.close()


def test_a_hint_comes_as_it_was_sent(receiver: HintReceiver, sender: HintSender, path: Path) -> None:
    assert sender.send(HINT)
    assert receiver.receive(5) == HINT
    assert receiver.receive(0) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_header_too_large_for_a_datagram_is_left_out(receiver: HintReceiver, sender: HintSender) -> None:
    assert sender.send(Hint("central", "1.dcm", "0" * 64, Header(patient_name="x" * MAX_BYTES)))
    got = receiver.receive(5)
    assert got is not None
    assert (got.name, got.header) == ("1.dcm", None)


def test_nobody_there_and_nobody_reading(sender: HintSender, path: Path) -> None:
    assert not sender.send(HINT)
    receiver = HintReceiver(path)
    while sender.send(HINT):  # until the queue is full: never waits
        pass
    assert receiver.receive(1) == HINT
    receiver.close()


def test_what_a_killed_archiver_left_is_replaced(sender: HintSender, path: Path) -> None:
    HintReceiver(path).close()
    assert path.exists()
    receiver = HintReceiver(path)
    assert sender.send(HINT)
    assert receiver.receive(5) == HINT
    receiver.close()


@pytest.mark.parametrize(
    "message", [b"", b"{", b"[]", b"null", b'{"slug": "x"}', b'{"slug":"a","name":"b","sha256":"c","header":{"x":1}}']
)
def test_a_malformed_hint_is_none(message: bytes, receiver: HintReceiver, path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(message, str(path))
    assert receiver.receive(1) is None


def test_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    assert len(os.fsencode(folder)) > 107
    receiver, sender = HintReceiver(folder / "hints.sock"), HintSender(folder / "hints.sock")
    assert sender.send(HINT)
    assert receiver.receive(5) == HINT
    receiver.close()
    sender.close()
