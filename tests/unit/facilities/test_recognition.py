"""Recognition: DESIGN's rules, one row each, and that nothing a caller says makes two facilities one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.facilities.recognition import Refusal, Reject, recognise
from noctis.facilities.snapshot import Device, Facility, Snapshot

SERVER, DEFAULT = "NOCTIS_SERVER", 11112
CENTRAL = Facility(
    1,
    "central",
    "Central",
    "CENTRAL1A2B",
    11113,
    devices=(Device("CT1", "10.1.0.0/16"), Device("MR1"), Device("XR1", "fe80::/10")),
)
CITY = Facility(2, "city", "City", "CITY3C4D", 11114, devices=(Device("CT1", "10.2.0.0/16"), Device("US1")))
SHUT = Facility(3, "shut", "Shut", "SHUT5E6F", 11115, enabled=False, devices=(Device("XA1"),))
SNAPSHOT = Snapshot((CENTRAL, CITY, SHUT))


def ask(port: int, called: str, calling: str, address: str = "192.0.2.1") -> Facility | Refusal:
    return recognise(SNAPSHOT, SERVER, port, called, calling, address, DEFAULT)


@pytest.mark.parametrize(
    ("port", "called", "calling", "address", "facility"),
    [
        (11113, "CENTRAL1A2B", "ANYBODY", "192.0.2.1", CENTRAL),
        (11113, "ANYTHING", "CENTRAL1A2B", "192.0.2.1", CENTRAL),
        (11113, "ANYTHING", "MR1", "192.0.2.1", CENTRAL),
        (11113, "ANYTHING", "CT1", "10.1.2.3", CENTRAL),
        (11113, "ANYTHING", "CT1", "::ffff:10.1.2.3", CENTRAL),
        (11113, "ANYTHING", "XR1", "fe80::1%eth0", CENTRAL),
        (11113, " CENTRAL1A2B ", "X", "192.0.2.1", CENTRAL),
        (11113, "CENTRAL1A2B\0\0", "X", "192.0.2.1", CENTRAL),
        (DEFAULT, SERVER, "CENTRAL1A2B", "192.0.2.1", CENTRAL),
        (DEFAULT, SERVER, "MR1", "192.0.2.1", CENTRAL),
        (DEFAULT, SERVER, "CT1", "10.1.0.9", CENTRAL),
        (DEFAULT, SERVER, "CT1", "10.2.0.9", CITY),
        (DEFAULT, "CITY3C4D", "ANYBODY", "192.0.2.1", CITY),
    ],
)
def test_who_is_let_in(port: int, called: str, calling: str, address: str, facility: Facility) -> None:
    assert ask(port, called, calling, address) == facility


@pytest.mark.parametrize(
    ("port", "called", "calling", "address", "reject", "word", "fix"),
    [
        (
            11113,
            "WRONG",
            "STRANGER",
            "192.0.2.1",
            Reject.CALLED_NOT_RECOGNISED,
            "No facility found for AE title",
            "CENTRAL1A2B",
        ),
        (11113, "central1a2b", "X", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "neither", "device add central X"),
        (11113, SERVER, "US1", "192.0.2.1", Reject.CALLING_NOT_RECOGNISED, "not a device", "device add central US1"),
        (11113, "CITY3C4D", "X", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "'City' on port 11114", "port 11114"),
        (11113, "X", "CT1", "10.9.9.9", Reject.CALLING_NOT_RECOGNISED, "outside its network", "CT1@10.9.9.9/32"),
        (11113, "X", "CT1", "2001:db8::1", Reject.CALLING_NOT_RECOGNISED, "outside its network", "CT1@2001:db8::1/128"),
        (
            DEFAULT,
            SERVER,
            "STRANGER",
            "192.0.2.1",
            Reject.CALLING_NOT_RECOGNISED,
            "no facility's",
            "device add FACILITY STRANGER",
        ),
        (DEFAULT, "WRONG", "MR1", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "neither", SERVER),
        (DEFAULT, SERVER, "CT1", "10.9.9.9", Reject.CALLING_NOT_RECOGNISED, "outside its network", "CT1@10.9.9.9/32"),
        (DEFAULT, SERVER, "XA1", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "disabled", "enable shut"),
        (DEFAULT, "SHUT5E6F", "X", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "disabled", "enable shut"),
        (11115, "SHUT5E6F", "X", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "disabled", "enable shut"),
        (11999, "X", "Y", "192.0.2.1", Reject.CALLED_NOT_RECOGNISED, "no facility has port", "facility list"),
        (DEFAULT, SERVER, "", "192.0.2.1", Reject.CALLING_NOT_RECOGNISED, "no facility's", "device add"),
    ],
)
def test_who_is_turned_away_and_told_why(
    port: int, called: str, calling: str, address: str, reject: Reject, word: str, fix: str
) -> None:
    answer = ask(port, called, calling, address)
    assert isinstance(answer, Refusal)
    assert answer.reject is reject
    assert word in answer.reason
    assert fix in answer.fix


def test_a_device_of_two_facilities_is_nobody_on_the_default_port() -> None:
    both = Snapshot(tuple(Facility(n, f"f{n}", f"F{n}", f"F{n}", 11112 + n, devices=(Device("CT1"),)) for n in (1, 2)))
    answer = recognise(both, SERVER, DEFAULT, SERVER, "CT1", "192.0.2.1", DEFAULT)
    assert isinstance(answer, Refusal)
    assert "several facilities: 'F1', 'F2'" in answer.reason


def test_the_fix_is_safe_to_paste() -> None:
    answer = ask(11113, "X", "$(reboot)")
    assert isinstance(answer, Refusal)
    assert "'$(reboot)'" in answer.fix


titles = st.one_of(
    st.sampled_from([SERVER, "CENTRAL1A2B", "CITY3C4D", "SHUT5E6F", "CT1", "MR1", "US1", "XA1", "", " "]),
    st.text(max_size=16),
)


@given(called=titles, calling=titles, address=st.sampled_from(["10.1.0.1", "10.2.0.1", "::1", "nonsense", ""]))
def test_a_facilitys_own_port_leads_to_it_or_nowhere(called: str, calling: str, address: str) -> None:
    for port, facility in ((11113, CENTRAL), (11114, CITY)):
        answer = ask(port, called, calling, address)
        assert isinstance(answer, Refusal) or answer == facility


@given(called=titles, calling=titles, address=st.sampled_from(["10.1.0.1", "10.2.0.1", "192.0.2.1"]))
def test_a_disabled_facility_is_never_recognised(called: str, calling: str, address: str) -> None:
    assert ask(DEFAULT, called, calling, address) != SHUT


@pytest.mark.parametrize(("called", "calling"), [("ANY-SCP", "CT1"), ("CITY3C4D", "CITY3C4D"), ("", "")])
def test_a_trusted_port_is_its_facility_whatever_is_said(called: str, calling: str) -> None:
    for port, facility in ((11113, CENTRAL), (11114, CITY)):
        assert recognise(SNAPSHOT, SERVER, port, called, calling, "203.0.113.9", DEFAULT, trust=True) == facility


def test_trust_lets_nobody_into_a_disabled_facility_or_the_default_port() -> None:
    for port, called in ((11115, "SHUT5E6F"), (11999, "X"), (DEFAULT, "ANY-SCP"), (DEFAULT, SERVER)):
        answer = recognise(SNAPSHOT, SERVER, port, called, "STRANGER", "192.0.2.1", DEFAULT, trust=True)
        assert isinstance(answer, Refusal)


def test_an_interface_in_an_address_is_not_in_the_fix() -> None:
    answer = ask(11113, "X", "CT1", "fe80::1%eth0")
    assert isinstance(answer, Refusal)
    assert "CT1@fe80::1/128" in answer.fix
