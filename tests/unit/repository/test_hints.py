"""Hints: a line each, lost without harm, never waiting."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.repository.header import Header
from noctis.repository.hints import MAX_BYTES, QUEUE_BYTES, Hint, HintReceiver, HintSender

HINT = Hint("central", "1.dcm", "0" * 64, Header(patient_name="Müller^Jörg", rows=512, flags=("charset", "vr")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hints"


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


def numbered(number: int) -> Hint:
    return Hint("central", f"{number:016x}-1-1.dcm", "0" * 64, Header(rows=0, patient_id="x" * 500))


def test_a_hint_comes_as_it_was_sent(receiver: HintReceiver, sender: HintSender, path: Path) -> None:
    assert sender.send(HINT)
    assert receiver.take() == [HINT]
    assert receiver.take() == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_thousand_wait_and_come_in_order(receiver: HintReceiver, sender: HintSender) -> None:
    sent = [numbered(number) for number in range(1000)]
    assert all(sender.send(hint) for hint in sent)
    got: list[Hint] = []
    while len(got) < 1000:
        some = receiver.take()
        assert some
        got += some
    assert got == sent


def test_several_senders_at_once_keep_their_lines_whole(receiver: HintReceiver, path: Path) -> None:
    def send(number: int) -> None:
        sender = HintSender(path)
        for each in range(100):
            assert sender.send(numbered(100 * number + each))
        sender.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    got: list[Hint] = []
    while any(thread.is_alive() for thread in threads) or len(got) < 800:
        got += receiver.take()
    assert sorted(hint.name for hint in got) == [numbered(number).name for number in range(800)]


def test_a_header_too_large_for_a_hint_is_left_out(receiver: HintReceiver, sender: HintSender) -> None:
    assert sender.send(Hint("central", "1.dcm", "0" * 64, Header(patient_name="x" * MAX_BYTES)))
    (got,) = receiver.take()
    assert (got.name, got.header) == ("1.dcm", None)


def test_nobody_there_and_nobody_reading(sender: HintSender, path: Path) -> None:
    assert not sender.send(HINT)
    receiver = HintReceiver(path)
    sent = 0
    while sender.send(HINT):  # until it is full: never waits
        sent += 1
        assert sent <= QUEUE_BYTES
    assert receiver.take()[0] == HINT
    assert sender.send(HINT)
    receiver.close()


def test_an_archiver_that_comes_back_reads_what_waits(sender: HintSender, path: Path) -> None:
    first = HintReceiver(path)
    assert sender.send(HINT)
    first.close()
    second = HintReceiver(path)
    assert sender.send(HINT)
    assert second.take() == [HINT, HINT]
    second.close()


def test_anything_else_in_its_place_is_replaced(sender: HintSender, path: Path) -> None:
    path.write_text("not a FIFO")
    receiver = HintReceiver(path)
    assert sender.send(HINT)
    assert receiver.take() == [HINT]
    receiver.close()


@pytest.mark.parametrize(
    "message", [b"", b"{", b"[]", b"null", b"{}", b'["a"]', b'["a","b","c",{"x":1}]', b'["a","b","c",5]', b"\xff\xfe"]
)
def test_a_malformed_hint_is_left_out(message: bytes, receiver: HintReceiver, sender: HintSender, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, message + b"\n")
    os.close(descriptor)
    assert sender.send(HINT)
    assert receiver.take() == [HINT]


def test_half_a_line_waits_for_its_other_half(receiver: HintReceiver, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, b'["central","1.dcm",')
    assert receiver.take() == []
    os.write(descriptor, b'"00",null]\n')
    assert receiver.take() == [Hint("central", "1.dcm", "00", None)]
    os.write(descriptor, b"x" * (MAX_BYTES + 1))
    assert receiver.take() == []
    os.write(descriptor, b"\n")
    assert receiver.take() == []
    os.close(descriptor)


def test_no_thread_writes_to_what_another_has_closed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archiver goes while two associations tell it: no hint ends in a file that was opened meanwhile."""
    receiver, sender = HintReceiver(path), HintSender(path)
    assert sender.send(HINT)
    receiver.close()
    late, begun, go_on = threading.Thread(target=sender.send, args=(HINT,)), threading.Event(), threading.Event()
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if threading.current_thread() is late:
            begun.set()
            assert go_on.wait(10)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    late.start()
    assert begun.wait(10)
    other = threading.Thread(target=sender.send, args=(HINT,))  # finds nobody there, and closes
    other.start()
    other.join(0.5)  # it has to wait; without the lock it ends at once
    files = [os.open(tmp_path / f"{number}.dcm", os.O_RDWR | os.O_CREAT) for number in range(8)]  # numbers are reused
    go_on.set()
    for thread in (late, other):
        thread.join(10)
    assert [os.fstat(file).st_size for file in files] == [0] * len(files)
    for file in files:
        os.close(file)
    sender.close()
