"""Limits of associations and connections, and of time, over real sockets."""

import itertools
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from noctis.listener import pdu
from noctis.listener.server import Listener
from noctis.observability.scoreboard import Counter
from tests.integration.listener.doors import house
from tests.integration.listener.peers import ECHO, RELEASE, STORE, Caller, associate_rq, dripping, p_data
from tests.support import wait_for

ACCEPTED, LIMIT, CONGESTION = (2,), (3, 2, 3, 2), (3, 2, 3, 1)


def test_a_facilitys_limit_holds_over_both_its_doors(tmp_path: Path) -> None:
    with house(tmp_path, max_associations=2, reserved_associations=0) as made, ExitStack() as stack:
        own, shared, third, other = (stack.enter_context(Caller(made[name])) for name in ("a", "default", "a", "b"))
        assert own.associate(called="A") == ACCEPTED
        assert shared.associate(called="A") == ACCEPTED
        assert third.associate(called="A") == LIMIT
        assert made.refusal("'A' has 2 associations on its ports, its limit")["port"]
        assert other.associate(called="B") == ACCEPTED
        assert own.echo()
        own.release()
        assert stack.enter_context(Caller(made["a"])).associate(called="A") == ACCEPTED


def test_the_next_association_finds_the_place_of_the_one_just_released(tmp_path: Path) -> None:
    with house(tmp_path, max_associations=1) as made:
        for _ in range(50):
            caller = Caller(made["a"])
            assert caller.associate(called="A") == ACCEPTED
            caller.sock.sendall(RELEASE)
            assert caller.read()[0] == 6  # the listener has not closed yet, perhaps
            caller.close()


def test_everything_together(tmp_path: Path) -> None:
    with house(tmp_path, max_associations_in_all=2) as made, ExitStack() as stack:
        a, b, c = (stack.enter_context(Caller(made[name])) for name in ("a", "b", "default"))
        assert a.associate(called="A") == ACCEPTED
        assert b.associate(called="B") == ACCEPTED
        assert c.associate(called="B") == CONGESTION
        assert made.refusal("all listeners together have 2 associations")["port"]


def test_one_facility_cannot_shut_the_other_out_of_the_default_port(tmp_path: Path) -> None:
    with house(tmp_path, max_associations=10, reserved_associations=2) as made, ExitStack() as stack:
        answers = [stack.enter_context(Caller(made["default"])).associate(called="A") for _ in range(30)]
        assert answers == [ACCEPTED] * 8 + [LIMIT] * 22
        assert made.refusal("kept for other facilities")["port"]
        answers = [stack.enter_context(Caller(made["default"])).associate(called="B") for _ in range(3)]
        assert answers == [ACCEPTED, ACCEPTED, LIMIT]
        assert made.refusal("the default port has 10 associations, its limit")["port"]


# -- connections without an association


def test_a_newcomer_gets_in_whatever_others_hold(tmp_path: Path) -> None:
    with house(tmp_path, max_unassociated=5) as made, ExitStack() as stack:
        sender = stack.enter_context(Caller(made["a"]))
        assert sender.associate(called="A") == ACCEPTED
        holders = [stack.enter_context(Caller(made["a"], first=associate_rq(called="A")[:20])) for _ in range(5)]
        wait_for(lambda: made["a"].waiting == 6, what="six connections whose bytes were read")
        late = stack.enter_context(Caller(made["a"]))
        assert late.associate(called="A") == ACCEPTED
        assert holders[0].read() == (0, b"")
        refusal = made.refusal("5 connections had no association")
        assert "listeners.max_unassociated" in refusal["fix"]
        assert refusal["address"] == "127.0.0.1"
        assert made["a"].scoreboard.get(Counter.REFUSED) == 1
        assert sender.echo()
        for each in holders[1:]:
            each.sock.sendall(associate_rq(called="A")[20:])
            assert each.read()[0] == 2  # the others were left alone


def test_a_flood_of_connections_leaves_few_open_and_lets_a_sender_in(tmp_path: Path) -> None:
    with house(tmp_path, max_unassociated=5) as made, ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(Caller(made["a"], first=b"\1"))
        caller = stack.enter_context(Caller(made["a"]))
        assert caller.associate(called="A") == ACCEPTED
        wait_for(lambda: made["a"].live <= 6, what="the displaced ones' ends")
        assert made["a"].scoreboard.get(Counter.REFUSED) >= 55


def test_many_senders_that_come_at_once_are_none_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for us, who are slow: nobody is displaced for another one."""
    recognise = Listener.recognise

    def slowly(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.01)
        return recognise(*arguments, **named)

    monkeypatch.setattr(Listener, "recognise", slowly)
    monkeypatch.setattr("noctis.listener.association.GRACE_SECONDS", 30.0)  # no thread here waits so long for its turn
    monkeypatch.setattr("noctis.listener.server.PATIENCE_SECONDS", 30.0)
    with house(tmp_path, max_unassociated=3) as made, ExitStack() as stack:
        callers = [stack.enter_context(Caller(made["a"], first=associate_rq(called="A"))) for _ in range(100)]
        assert [caller.read()[0] for caller in callers] == [2] * 100
        assert made.refusals() == []


def test_the_address_with_most_connections_pays(tmp_path: Path) -> None:
    with house(tmp_path, bind="0.0.0.0", max_unassociated=4) as made, ExitStack() as stack:

        def connect(source: str) -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", made["a"].port), timeout=20, source_address=(source, 0))
            stack.enter_context(sock)
            return sock

        quiet = connect("127.0.0.2")
        flood = [connect("127.0.0.3") for _ in range(3)]
        wait_for(lambda: made["a"].waiting == 4, what="four connections")
        connect("127.0.0.4")
        assert flood[0].recv(1) == b""
        assert made.refusal("had no association")["address"] == "127.0.0.3"
        quiet.sendall(associate_rq(called="A"))
        assert quiet.recv(1) == b"\2"


# -- time


def test_a_message_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    """Each PDU in time, the message not."""
    with house(tmp_path, message_seconds=0.5) as made, Caller(made["a"]) as caller:
        assert caller.associate(called="A") == ACCEPTED
        caller.sock.sendall(p_data(STORE, context=3))
        with dripping(caller.sock.sendall, itertools.repeat(p_data(b"x" * 100, control=0, context=3))):
            assert caller.read()[0] == 7
        wait_for(lambda: not made["a"].live, what="the association's end")
        assert list(made.settings.paths.spool.glob("*/new/*.dcm")) == []


@pytest.mark.parametrize(
    "begun",
    [
        p_data(ECHO[:30], control=1),  # a command without its end
        p_data(STORE, context=3),  # a command without its data set
        p_data(STORE, context=3) + p_data(b"x" * 100, control=0, context=3)[:50],  # inside a PDU
    ],
)
def test_a_message_that_stops_is_cut_off_and_named(
    tmp_path: Path, begun: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with house(tmp_path, message_seconds=0.3) as made, Caller(made["a"]) as caller:
        assert caller.associate(called="A") == ACCEPTED
        caller.sock.sendall(begun)
        assert caller.read()[0] == 7
        wait_for(lambda: not made["a"].live, what="the association's end")
        said = capsys.readouterr().out
        assert "association.timed_out" in said
        assert "a DIMSE message was not whole after 0.3 seconds" in said


def test_time_between_messages_does_not_count(tmp_path: Path) -> None:
    with house(tmp_path, message_seconds=0.2, idle_association_seconds=30) as made, Caller(made["a"]) as caller:
        assert caller.associate(called="A") == ACCEPTED
        assert caller.echo()
        threading.Event().wait(0.5)  # it is the listener's patience that is asked
        assert caller.echo()


def test_a_peer_that_does_not_read_its_answers_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctis.listener.association.SEND_SECONDS", 0.2)
    assert pdu.SEND_SECONDS == 30.0
    with house(tmp_path) as made, Caller(made["a"]) as caller:
        made["a"].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        deaf = Caller(made["a"])
        deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert deaf.associate(called="A") == ACCEPTED
        deaf.sock.settimeout(0.2)
        try:
            while True:
                deaf.sock.sendall(p_data(ECHO) * 50)
        except OSError:
            pass
        wait_for(lambda: not made["a"].live or made["a"].live == 1, what="the end of the deaf one")
        assert caller.associate(called="A") == ACCEPTED
        deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        deaf.close()
