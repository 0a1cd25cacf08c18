"""Who is behind a connection: a load balancer's word, callers of no facility, trusted ports, both address families."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, ModalityWorklistInformationFind, Verification

from noctis.checks.echo import echo
from noctis.facilities.snapshot import Device
from noctis.listener import services
from noctis.observability.scoreboard import Counter
from noctis.repository.journal import take
from tests.integration.listener.doors import House, house
from tests.integration.listener.peers import STORE, Caller, associate_rq, p_data
from tests.support import wait_for
from tests.unit.listener.test_proxy_protocol import header, tcp4, tcp6

ACCEPTED, UNKNOWN_CALLED, UNKNOWN_CALLING = (2,), (3, 1, 1, 7), (3, 1, 1, 3)
LOCAL = header(command=0, family=0)


@contextmanager
def guarded(home: Path, network: str, bind: str = "127.0.0.1", **listeners: Any) -> Iterator[House]:
    """Facility A with the device CT1 in `network` alone."""
    made = House(home, bind, {"a": {"devices": (Device("CT1", network),)}}, listeners)
    try:
        yield made
    finally:
        made.close()


def association_record(made: House) -> dict[str, Any]:
    """The first line of the ledger of associations, waited for."""

    def look() -> list[dict[str, Any]]:
        lines = [line for _, lines in take(made.settings.paths.journal) for line in lines]
        return [line for line in lines if line["kind"] == "association"]

    return wait_for(look, what="the association's line")[0]


# -- PROXY protocol


@pytest.mark.parametrize(
    ("raw", "network", "address"),
    [
        (tcp4("192.0.2.7"), "192.0.2.0/24", "192.0.2.7"),
        (tcp4("192.0.2.7", tlvs=b"\x04\0\x03abc"), "192.0.2.0/24", "192.0.2.7"),
        (tcp6("2001:db8::7"), "2001:db8::/32", "2001:db8::7"),
        (LOCAL, "127.0.0.0/8", "127.0.0.1"),
    ],
)
def test_the_address_in_the_header_is_the_callers(
    tmp_path: Path, raw: bytes, network: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with guarded(tmp_path, network, proxies=["127.0.0.0/8"]) as made:
        with Caller(made["a"], first=raw) as caller:
            assert caller.associate(called="X", calling="CT1") == ACCEPTED
            assert caller.echo()
            caller.release()
        assert association_record(made)["address"] == address
        assert ("proxy=127.0.0.1" in capsys.readouterr().out) is (raw != LOCAL)


def test_a_refusal_has_the_address_in_the_header(tmp_path: Path) -> None:
    with guarded(tmp_path, "192.0.2.0/24", proxies=["127.0.0.1"]) as made:
        with Caller(made["a"], first=tcp4("203.0.113.5")) as caller:
            assert caller.associate(called="X", calling="CT1") == UNKNOWN_CALLING
        refusal = made.refusal("outside its network")
        assert refusal["address"] == "203.0.113.5"
        assert "CT1@203.0.113.5/32" in refusal["fix"]


@pytest.mark.parametrize(
    ("first", "proxies", "word", "fix"),
    [
        (associate_rq(called="A"), ["127.0.0.1/32"], "without the PROXY header", "send-proxy-v2"),
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 4 5\r\n", ["127.0.0.1/32"], "version 1", "send-proxy-v2"),
        (header(length=60000), ["127.0.0.1/32"], "at most 4096", "TLVs"),
        (tcp4(), [], "a PROXY header from 127.0.0.1, which is not in listeners.proxies", "listeners.proxies"),
        (tcp4(), ["192.0.2.0/24"], "a PROXY header from 127.0.0.1, which is not", "listeners.proxies"),
    ],
)
def test_a_header_that_is_missing_wrong_or_nobodys_is_refused_and_named(
    tmp_path: Path, first: bytes, proxies: list[str], word: str, fix: str
) -> None:
    with house(tmp_path, proxies=proxies) as made, Caller(made["a"], first=first) as caller:
        assert caller.read() == (0, b"")
        refusal = made.refusal(word)
        assert fix in refusal["fix"]
        assert refusal["address"] == "127.0.0.1"
        assert made["a"].scoreboard.get(Counter.REFUSED) == 1


def test_a_header_that_does_not_come_is_waited_for_as_long_as_a_request(tmp_path: Path) -> None:
    with house(tmp_path, proxies=["127.0.0.1/32"], association_request_seconds=0.3) as made:
        for first in (b"", tcp4()[:20], tcp4(), tcp4() + associate_rq()[:50]):
            with Caller(made["a"], first=first) as caller:
                assert caller.read()[0] in (0, 7)


def test_a_load_balancers_bare_connects_are_no_refusals(tmp_path: Path) -> None:
    with house(tmp_path, proxies=["127.0.0.1/32"]) as made:
        for first in (b"", LOCAL):
            Caller(made["a"], first=first).close()
        wait_for(lambda: not made["a"].live, what="their ends")
        with Caller(made["a"], first=LOCAL) as caller:
            assert caller.associate(called="A") == ACCEPTED
        assert made.refusals() == []


def test_our_own_echo_gets_through_where_this_machine_is_the_load_balancer(tmp_path: Path) -> None:
    with house(tmp_path, proxies=["127.0.0.1/32"]) as made:
        assert echo(made.settings, "a", made["a"].port, "A").error == ""
        assert made.refusals() == []


# -- callers of no facility


def unknown(stack: ExitStack, made: House, *contexts: Any) -> tuple[Caller, int, bytes]:
    caller = stack.enter_context(Caller(made["a"]))
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    caller.sock.sendall(associate_rq(called="NOBODY", calling="STRANGER", contexts=list(contexts)))
    return caller, *caller.read()


def results(content: bytes) -> dict[int, int]:
    """Context ID → result, of an A-ASSOCIATE-AC."""
    found, at = {}, 68
    while at < len(content):
        kind, _, length = struct.unpack_from(">BBH", content, at)
        if kind == 0x21:
            found[content[at + 4]] = content[at + 6]
        at += 4 + length
    return found


def test_an_unknown_caller_may_echo_and_nothing_else_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    added = services.AddedService(frozenset({str(ModalityWorklistInformationFind)}), {})
    monkeypatch.setattr(services, "ADDED_SERVICES", (added,))
    with house(tmp_path, unknown_echo="allow") as made, ExitStack() as stack:
        caller, kind, content = unknown(
            stack, made, build_context(Verification), build_context(CTImageStorage),
            build_context(ModalityWorklistInformationFind),
        )  # fmt: skip
        assert kind == 2
        assert results(content) == {1: 0, 3: 3, 5: 3}
        assert caller.echo()
        caller.sock.sendall(p_data(STORE) + p_data(b"x" * 100, control=2))
        kind, content = caller.read()
        assert kind == 4
        assert struct.pack("<HHIH", 0, 0x900, 2, 0x211) in content
        assert caller.echo()
        caller.release()
        assert made.refusals() == []
        board = made["a"].scoreboard
        assert [board.get(each) for each in (Counter.ASSOCIATIONS, Counter.LIVE, Counter.ECHOES)] == [0, 0, 2]
        assert not list(made.settings.paths.spool.glob("*/*/*.dcm"))
        said = capsys.readouterr().out
        assert "association.unknown_caller" in said
        assert "noctis device add a STRANGER" in said


def test_an_unknown_caller_that_asks_for_no_echo_is_refused_all_the_same(tmp_path: Path) -> None:
    with house(tmp_path, unknown_echo="allow") as made, ExitStack() as stack:
        _, kind, content = unknown(stack, made, build_context(CTImageStorage))
        assert (kind, *content[1:4]) == UNKNOWN_CALLED
        assert made.refusal("No facility found")["port"]


def test_an_unknown_caller_is_refused_by_default(tmp_path: Path) -> None:
    with house(tmp_path) as made, ExitStack() as stack:
        _, kind, content = unknown(stack, made, build_context(Verification))
        assert (kind, *content[1:4]) == UNKNOWN_CALLED


def test_unknown_callers_take_nobodys_place(tmp_path: Path) -> None:
    """They are displaced as those without an association are, and count in no limit of associations."""
    with (
        house(tmp_path, unknown_echo="allow", max_unassociated=3, max_associations_in_all=1) as made,
        ExitStack() as stack,
    ):
        strangers = [unknown(stack, made, build_context(Verification)) for _ in range(3)]
        assert [kind for _, kind, _ in strangers] == [2, 2, 2]
        assert all(caller.echo() for caller, _, _ in strangers)
        with Caller(made["a"]) as caller:
            assert caller.associate(called="A") == ACCEPTED
            assert strangers[0][0].read() == (0, b"")
            assert strangers[1][0].echo()
            assert made.refusal("3 connections had no association")["port"]


# -- trust


def test_whoever_reaches_a_trusted_port_is_its_facility(tmp_path: Path) -> None:
    with guarded(tmp_path, "192.0.2.0/24", trust=True) as made:
        with Caller(made["a"]) as caller:
            assert caller.associate(called="ANY-SCP", calling="CT1") == ACCEPTED
            caller.release()
        assert association_record(made)["slug"] == "a"
        with Caller(made["default"]) as caller:
            assert caller.associate(called="ANY-SCP", calling="CT1") == UNKNOWN_CALLED


# -- both families


@pytest.mark.parametrize(
    ("address", "network", "shown"),
    [("127.0.0.1", "127.0.0.0/8", "127.0.0.1"), ("::1", "::1/128", "::1")],
)
def test_a_dual_stack_port_takes_both_families_and_shows_each_in_its_own_form(
    tmp_path: Path, address: str, network: str, shown: str
) -> None:
    with guarded(tmp_path, network, bind="::") as made:
        with Caller(made["a"], address) as caller:
            assert caller.associate(called="X", calling="CT1") == ACCEPTED
            assert caller.echo()
            caller.release()
        assert association_record(made)["address"] == shown
        with Caller(made["a"], "::1" if shown == "127.0.0.1" else "127.0.0.1") as caller:
            assert caller.associate(called="X", calling="CT1") == UNKNOWN_CALLING
        other = made.refusal("outside its network")
        assert other["address"] == ("::1" if shown == "127.0.0.1" else "127.0.0.1")
        assert f"CT1@{other['address']}/{128 if ':' in other['address'] else 32}" in other["fix"]


def test_a_port_on_one_ipv6_address(tmp_path: Path) -> None:
    with guarded(tmp_path, "::1/128", bind="::1") as made:
        with Caller(made["a"], "::1") as caller:
            assert caller.associate(called="X", calling="CT1") == ACCEPTED
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", made["a"].port), timeout=5)


@pytest.mark.parametrize(("sender", "raw"), [("::1", tcp6("2001:db8::7")), ("127.0.0.1", tcp6("2001:db8::7"))])
def test_a_load_balancer_of_one_family_passes_on_callers_of_the_other(tmp_path: Path, sender: str, raw: bytes) -> None:
    with guarded(tmp_path, "2001:db8::/32", bind="::", proxies=["127.0.0.1", "::1"]) as made:
        with Caller(made["a"], sender, first=raw) as caller:
            assert caller.associate(called="X", calling="CT1") == ACCEPTED
            caller.release()
        assert association_record(made)["address"] == "2001:db8::7"


def link_local() -> tuple[str, str] | None:
    """A link-local address of this machine and its interface, if there is one."""
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        packed, _, _, scope, _, interface = line.split()
        if scope == "20":
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(packed)), interface
    return None


@pytest.mark.skipif(link_local() is None, reason="no interface here has a link-local IPv6 address")
def test_a_link_local_caller_matches_its_network_whatever_its_interface(tmp_path: Path) -> None:
    found = link_local()
    assert found is not None
    address = f"{found[0]}%{found[1]}"
    with guarded(tmp_path, "fe80::/10", bind="::") as made:
        with Caller(made["a"], address) as caller:
            assert caller.associate(called="X", calling="CT1") == ACCEPTED
            caller.release()
        assert association_record(made)["address"] == found[0]
