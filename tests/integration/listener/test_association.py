"""Associations on raw sockets: who is turned away and told why, what breaks the protocol, how a listener drains."""

import os
import socket
import struct
import threading
from collections.abc import Callable

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, ModalityWorklistInformationFind

from noctis.facilities.snapshot import Facility
from noctis.listener import process
from noctis.observability.scoreboard import Counter
from noctis.repository.journal import take
from tests.integration.listener.conftest import CENTRAL, RunningListener
from tests.integration.listener.peers import ABORT, ECHO, RELEASE, STORE, Peer, associate_rq, bytewise, dripping, p_data
from tests.support import wait_for


def test_an_echo_byte_by_byte(listener: RunningListener) -> None:
    with Peer(listener) as peer:
        for byte in bytewise(associate_rq() + p_data(ECHO)):
            peer.sock.sendall(byte)
        assert peer.read()[0] == 2
        kind, content = peer.read()
        assert kind == 4
        assert content[-2:] == b"\0\0"
        peer.sock.sendall(RELEASE)
        assert peer.read()[0] == 6
        assert peer.read() == (0, b"")


def test_a_command_in_one_byte_pdvs(listener: RunningListener) -> None:
    with Peer(listener) as peer:
        peer.associate()
        for at in range(len(ECHO)):
            last = at == len(ECHO) - 1
            peer.sock.sendall(p_data(ECHO[at : at + 1], 3 if last else 1))
        assert peer.read()[0] == 4


def test_a_stranger_is_rejected_told_why_and_written_down(listener: RunningListener) -> None:
    with Peer(listener) as peer:
        kind, content = peer.associate(called="WRONG", calling="STRANGER")
        assert (kind, tuple(content[1:4])) == (3, (1, 1, 7))
        assert peer.read() == (0, b"")
    (record,) = [line for _, lines in take(listener.home.journal) for line in lines]
    assert record["kind"] == "refusal"
    assert (record["called"], record["calling"], record["address"]) == ("WRONG", "STRANGER", "127.0.0.1")
    assert "No facility found for AE title" in record["reason"]
    assert record["fix"].endswith("noctis device add central STRANGER")
    assert listener.scoreboard.get(Counter.REFUSED) == 1


def test_titles_padded_with_nuls_and_odd_protocol_bits_are_taken(listener: RunningListener) -> None:
    raw = bytearray(associate_rq())
    raw[10:26] = b"CENTRAL".ljust(16, b"\0")
    raw[6:8] = b"\xff\xff"
    with Peer(listener) as peer:
        peer.sock.sendall(raw)
        assert peer.read()[0] == 2


def test_a_query_context_is_refused_and_its_neighbours_taken(listener: RunningListener) -> None:
    ae = AE()
    for context in (ModalityWorklistInformationFind, CTImageStorage):
        ae.add_requested_context(context)
    made = ae.associate("127.0.0.1", listener.port, ae_title="CENTRAL")
    assert [each.abstract_syntax for each in made.accepted_contexts] == [CTImageStorage]
    assert [each.result for each in made.rejected_contexts] == [3]
    made.release()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + os.urandom(200),  # a TLS hello
        b"\4\0\0\0\0\4\0\0\0\0",  # data before an association
        b"\1\0\xff\xff\xff\xff",
        b"\1\0\0\0\0\4\0\1\0\0",
        b"\0" * 64,
        struct.pack(">BBL", 1, 0, 74) + b"\0\1\0\0" + b"A" * 70,
    ],
)
def test_what_is_no_association_request_gets_one_abort(listener: RunningListener, data: bytes) -> None:
    with Peer(listener) as peer:
        peer.sock.sendall(data)
        kind, content = peer.read()
        assert (kind, len(content)) == (7, 4)
        assert peer.read() == (0, b"")
    wait_for(lambda: not listener.listener.live, what="the thread's end")
    with Peer(listener) as peer:
        assert peer.associate()[0] == 2


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">BBL", 4, 0, 1 << 31),
        struct.pack(">BBL", 4, 0, 4) + b"\0\0\0\0",
        struct.pack(">BBL", 4, 0, 0),
        p_data(ECHO, context=99),
        p_data(b"data without a command", control=2),
        p_data(b"\xff" * 40),
        associate_rq(),
        b"\x09\0\0\0\0\0",
        b"\5\0\x7f\xff\xff\xff",
    ],
)
def test_what_breaks_the_protocol_gets_one_abort(listener: RunningListener, data: bytes) -> None:
    with Peer(listener) as peer:
        peer.associate()
        peer.sock.sendall(data)
        kind, content = peer.read()
        assert (kind, len(content)) == (7, 4)
        assert peer.read() == (0, b"")


def test_other_requests_are_answered_as_not_offered(listener: RunningListener) -> None:
    find = ECHO.replace(struct.pack("<HHIH", 0, 0x100, 2, 0x30), struct.pack("<HHIH", 0, 0x100, 2, 0x20))
    with Peer(listener) as peer:
        peer.associate()
        peer.sock.sendall(p_data(find))
        kind, content = peer.read()
        assert kind == 4
        assert struct.pack("<HHIH", 0, 0x900, 2, 0x211) in content
        assert peer.echo()[0] == 4


def test_responses_and_cancels_nobody_asked_for_are_passed_over(listener: RunningListener) -> None:
    with Peer(listener) as peer:
        peer.associate()
        for field in (0x8030, 0x8001, 0x0FFF):
            peer.sock.sendall(
                p_data(ECHO.replace(struct.pack("<HHIH", 0, 0x100, 2, 0x30), struct.pack("<HHIH", 0, 0x100, 2, field)))
            )
        kind, content = peer.echo()
        assert kind == 4
        assert struct.pack("<HHIH", 0, 0x100, 2, 0x8030) in content


@pytest.mark.parametrize("ending", ["abort", "close", "reset"])
def test_a_sender_that_vanishes_leaves_nothing(listener: RunningListener, ending: str) -> None:
    with Peer(listener) as peer:
        peer.associate()
        peer.sock.sendall(p_data(STORE, context=3) + p_data(b"x" * 5000, control=0, context=3))
        wait_for(listener.unfinished, what="the partial file")
        if ending == "abort":
            peer.sock.sendall(ABORT)
        elif ending == "reset":
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: not listener.listener.live, what="the association's end")
    assert listener.unfinished() == listener.spooled() == listener.quarantined() == []


def test_a_silent_caller_is_cut_off(start: Callable[..., RunningListener]) -> None:
    listener = start(listeners={"association_request_seconds": 0.2})
    with Peer(listener) as peer:
        assert peer.read()[0] == 7
        assert peer.read() == (0, b"")


def test_a_drip_is_cut_off_at_the_pdus_deadline(start: Callable[..., RunningListener]) -> None:
    listener = start(listeners={"pdu_seconds": 0.3})
    with Peer(listener) as peer:
        peer.associate()
        with dripping(peer.sock.sendall, bytewise(p_data(ECHO + b"\0" * 5000))):
            assert peer.read()[0] == 7


def test_an_idle_association_is_ended(start: Callable[..., RunningListener]) -> None:
    listener = start(listeners={"idle_association_seconds": 0.2})
    with Peer(listener) as peer:
        assert peer.associate()[0] == 2
        assert peer.read()[0] == 7


def test_more_than_the_limit_are_told_so(start: Callable[..., RunningListener]) -> None:
    listener = start(listeners={"max_associations": 2})
    with Peer(listener) as first, Peer(listener) as second, Peer(listener) as third:
        assert first.associate()[0] == 2
        assert second.associate()[0] == 2
        kind, content = third.associate()
        assert (kind, tuple(content[1:4])) == (3, (2, 3, 2))
        assert first.echo()[0] == 4
    wait_for(lambda: not listener.listener.live, what="their ends")
    with Peer(listener) as again:
        assert again.associate()[0] == 2


def test_draining_lets_the_instance_in_flight_finish_and_ends_the_idle(listener: RunningListener) -> None:
    with Peer(listener) as idle, Peer(listener) as busy:
        assert idle.associate()[0] == 2
        busy.associate()
        busy.sock.sendall(p_data(STORE, context=3) + p_data(b"x" * 100, control=0, context=3))
        wait_for(listener.unfinished, what="the instance in flight")
        listener.stop.set()
        drainer = threading.Thread(target=process.drain, args=(listener.listener, 10.0))
        drainer.start()
        assert idle.read()[0] == 7
        busy.sock.sendall(p_data(b"x" * 100, control=2, context=3))
        kind, content = busy.read()
        assert kind == 4
        assert struct.pack("<HHIH", 0, 0x100, 2, 0x8001) in content  # answered, whatever it was
        assert busy.read()[0] == 7
        drainer.join()


def test_a_disabled_facilitys_association_ends_after_its_message(listener: RunningListener) -> None:
    with Peer(listener) as peer:
        peer.associate()
        assert peer.echo()[0] == 4
        listener.set_facilities(Facility(**{**CENTRAL.__dict__, "port": listener.port, "enabled": False}))
        assert peer.echo()[0] == 7


def test_a_new_device_is_let_in_without_a_restart(listener: RunningListener) -> None:
    with Peer(listener) as peer:
        assert peer.associate(called="X", calling="NEW1")[0] == 3
    from noctis.facilities.snapshot import Device

    listener.set_facilities(Facility(**{**CENTRAL.__dict__, "port": listener.port, "devices": (Device("NEW1"),)}))
    with Peer(listener) as peer:
        assert peer.associate(called="X", calling="NEW1")[0] == 2


def test_receiving_imports_no_sqlalchemy_and_no_cryptography() -> None:
    import subprocess
    import sys

    code = "import sys, noctis.listener.process; print({'sqlalchemy', 'cryptography'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_request_is_answered_without_copying_contexts(
    listener: RunningListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[object] = []

    def copy(value: object, *_: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            copied.append(value)
        return value

    for module in ("copy", "pynetdicom.ae", "pynetdicom.presentation", "pynetdicom.transport"):
        for name in ("copy", "deepcopy"):
            monkeypatch.setattr(f"{module}.{name}", copy, raising=False)
    with Peer(listener) as peer:
        assert peer.associate()[0] == 2
        assert peer.echo()[0] == 4
    monkeypatch.undo()
    assert copied == []
