"""TLS at a listener that is slow, broken off, or drained: limits of time, and what is left behind."""

import contextlib
import os
import socket
import ssl
import struct
import threading

from noctis.listener import process
from tests import tls
from tests.integration.listener.conftest import Start
from tests.integration.listener.peers import ECHO, STORE, Peer, associate_rq, bytewise, dripping, p_data
from tests.integration.listener.tls_peers import (
    TlsPeer,
    client_context,
    handshake_bytes,
    is_refused,
    refusals,
    refused,
    serve,
)
from tests.support import wait_for


def test_a_handshake_that_drips_is_cut_off(start: Start, sender: tls.Files) -> None:
    listener = serve(start, {"listeners": {"association_request_seconds": 0.5}})
    hello = handshake_bytes(listener)
    with Peer(listener) as peer, Peer(listener) as silent, dripping(peer.sock.sendall, bytewise(hello)):
        with TlsPeer(listener, sender) as quick:  # and holds up nobody
            assert quick.associate()[0] == 2
        with contextlib.suppress(ConnectionError):
            assert peer.sock.recv(100) == b""
        assert silent.sock.recv(100) == b""
    assert "not finished in time" in refused(listener)["reason"]


def test_a_request_that_does_not_follow_the_handshake(start: Start, sender: tls.Files) -> None:
    listener = serve(start, {"listeners": {"association_request_seconds": 0.5}})
    with TlsPeer(listener, sender) as peer:
        assert peer.read()[0] == 7
        assert peer.read() == (0, b"")


def test_time_limits_hold_inside_an_association(start: Start, sender: tls.Files) -> None:
    listener = serve(start, {"listeners": {"idle_association_seconds": 0.3, "pdu_seconds": 0.3}})
    with TlsPeer(listener, sender) as idle:
        assert idle.associate()[0] == 2
        assert idle.read()[0] == 7
    with TlsPeer(listener, sender) as slow:
        assert slow.associate()[0] == 2
        with dripping(slow.sock.sendall, bytewise(p_data(ECHO + b"\0" * 5000))):
            assert slow.read()[0] in (7, 0)  # 0: the dripper met the end first, and OpenSSL reads no more then
            wait_for(lambda: not listener.listener.live, what="the association's end")


def test_half_a_record_is_no_data(start: Start, sender: tls.Files) -> None:
    """A peer that drips the bytes of one TLS record is cut off too."""
    listener = serve(start, {"listeners": {"idle_association_seconds": 0.4}})
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        wanting = client_context(listener, sender).wrap_bio(incoming, outgoing)
        tls.shake_hands(wanting, raw, incoming, outgoing)
        wanting.write(associate_rq())
        raw.sendall(outgoing.read())
        assert raw.recv(65536)
        wanting.write(p_data(ECHO + b"\0" * 10_000))
        record = outgoing.read()
        with dripping(raw.sendall, bytewise(record[:-1])) as dripper:
            assert raw.recv(65536)  # the A-ABORT
            assert dripper.is_alive()
            wait_for(lambda: not listener.listener.live, what="the association's end")


def test_draining_over_tls(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender) as idle, TlsPeer(listener, sender) as busy, Peer(listener) as unfinished:
        assert idle.associate()[0] == 2
        busy.associate()
        busy.sock.sendall(p_data(STORE, context=3) + p_data(b"x" * 100, control=0, context=3))
        wait_for(listener.unfinished, what="the instance in flight")
        unfinished.sock.sendall(handshake_bytes(listener)[:20])
        listener.stop.set()
        drainer = threading.Thread(target=process.drain, args=(listener.listener, 10.0))
        drainer.start()
        assert idle.read()[0] == 7
        busy.sock.sendall(p_data(b"x" * 100, control=2, context=3))
        kind, content = busy.read()
        assert kind == 4
        assert struct.pack("<HHIH", 0, 0x100, 2, 0x8001) in content
        assert busy.read()[0] == 7
        assert unfinished.sock.recv(10) == b""
        drainer.join()
    assert refusals(listener) == []


def test_renegotiation_is_refused_and_resumption_too(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    context = client_context(listener, sender, version=ssl.TLSVersion.TLSv1_3)
    with socket.create_connection(("127.0.0.1", listener.port)) as raw, context.wrap_socket(raw) as first:
        first.sendall(associate_rq())
        assert first.recv(1)
        assert first.session is None or not first.session.has_ticket


def test_failed_handshakes_leave_nothing(start: Start, sender: tls.Files) -> None:
    listener = serve(start)
    with TlsPeer(listener, sender) as peer:
        assert peer.associate()[0] == 2
    wait_for(lambda: not listener.listener.live, what="its end")
    held = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(30):
        assert is_refused(listener)
        with Peer(listener) as peer:
            peer.sock.sendall(handshake_bytes(listener)[:30])
    wait_for(lambda: not listener.listener.live, what="their ends")
    wait_for(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) == held, what="nothing that is left")
    assert len(refusals(listener, 60)) == 60
