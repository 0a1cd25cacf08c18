"""Remedies: what recognition says would let a caller in, as data; and that data kept as JSON is the same again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctis.facilities.recognition import Refusal, recognise
from noctis.facilities.remedies import BUTTONS, Kind, Remedy, from_json
from noctis.facilities.snapshot import ClientCertificate, Device, Facility, Snapshot
from tests.unit.facilities.test_recognition import DEFAULT, SERVER, SNAPSHOT, ask

HERE = {"called": "CENTRAL1A2B", "port": 11113}
CITY = Remedy(Kind.CALL, ("city",), called="CITY3C4D", port=11114)


@pytest.mark.parametrize(
    ("port", "called", "calling", "address", "remedy"),
    [
        (11113, "WRONG", "NEW", "192.0.2.1", Remedy(Kind.ADD_DEVICE, ("central",), "NEW", **HERE)),  # type: ignore[arg-type]
        (11113, SERVER, "US1", "192.0.2.1", Remedy(Kind.ADD_DEVICE, ("central",), "US1", **HERE)),  # type: ignore[arg-type]
        (11113, "X", "CT1", "10.9.9.9", Remedy(Kind.ALLOW_NETWORK, ("central",), "CT1", "10.9.9.9/32")),
        (11113, "X", "CT1", "2001:db8::1", Remedy(Kind.ALLOW_NETWORK, ("central",), "CT1", "2001:db8::1/128")),
        (11113, "CITY3C4D", "X", "192.0.2.1", CITY),
        (11113, SERVER, "CITY3C4D", "192.0.2.1", CITY),  # its title is taken: it cannot be a device
        (11113, "X", SERVER, "192.0.2.1", Remedy(Kind.CALL, ("central",), **HERE)),  # type: ignore[arg-type]
        (DEFAULT, SERVER, "NEW", "192.0.2.1", Remedy(Kind.ADD_DEVICE, (), "NEW")),
        (DEFAULT, SERVER, SERVER, "192.0.2.1", Remedy(Kind.CALL)),
        (DEFAULT, SERVER, "CT1", "10.9.9.9", Remedy(Kind.ALLOW_NETWORK, ("central", "city"), "CT1", "10.9.9.9/32")),
        (DEFAULT, "WRONG", "NEW", "192.0.2.1", Remedy(Kind.CALL, called=SERVER)),
        (DEFAULT, "WRONG", "US1", "192.0.2.1", Remedy(Kind.CALL, ("city",), called=SERVER)),
        (DEFAULT, "SHUT5E6F", "X", "192.0.2.1", Remedy(Kind.ENABLE_FACILITY, ("shut",))),
        (11115, "X", "Y", "192.0.2.1", Remedy(Kind.ENABLE_FACILITY, ("shut",))),
        (11999, "X", "Y", "192.0.2.1", Remedy(Kind.CALL)),
    ],
)
def test_what_would_let_it_in(port: int, called: str, calling: str, address: str, remedy: Remedy) -> None:
    answer = ask(port, called, calling, address)
    assert isinstance(answer, Refusal)
    assert answer.remedy == remedy


def test_a_device_of_several_facilities_has_to_call_one_of_them() -> None:
    both = Snapshot(tuple(Facility(n, f"f{n}", f"F{n}", f"F{n}", 11112 + n, devices=(Device("CT1"),)) for n in (1, 2)))
    answer = recognise(both, SERVER, DEFAULT, SERVER, "CT1", "192.0.2.1", DEFAULT)
    assert isinstance(answer, Refusal)
    assert answer.remedy == Remedy(Kind.CALL, ("f1", "f2"))


@pytest.mark.parametrize(
    ("certificate", "kind"), [("ab" * 32, Kind.BIND_CERTIFICATE), ("cd" * 32, Kind.CERTIFICATE), ("", Kind.CERTIFICATE)]
)
def test_a_certificate_can_be_bound_if_it_is_nobodys(certificate: str, kind: Kind) -> None:
    mine = Facility(1, "mine", "Mine", "MINE", 11113, certificates=(ClientCertificate("11" * 32),))
    other = Facility(2, "other", "Other", "OTHER", 11114, certificates=(ClientCertificate("cd" * 32),))
    answer = recognise(Snapshot((mine, other)), SERVER, 11113, "MINE", "CT1", "192.0.2.1", DEFAULT, certificate)
    assert isinstance(answer, Refusal)
    assert (answer.remedy.kind, answer.remedy.facility) == (kind, "mine")
    assert answer.remedy.certificate == (certificate if kind is Kind.BIND_CERTIFICATE else "")


titles = st.text(max_size=16)
remedies = st.builds(
    Remedy,
    st.sampled_from(list(Kind)),
    st.lists(titles, max_size=3).map(tuple),
    titles,
    titles,
    titles,
    titles,
    st.integers(0, 65535),
)


@given(remedies)
def test_json_keeps_it(remedy: Remedy) -> None:
    assert from_json(json.loads(json.dumps(remedy.as_json()))) == remedy


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | titles,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(titles, inner, max_size=3),
    max_leaves=5,
)


@given(
    json_values
    | st.fixed_dictionaries(
        {"kind": st.sampled_from(["add-device", "x", 1])},
        optional={"facilities": json_values, "device": json_values, "port": json_values},
    )
)
def test_anything_else_is_none_or_a_whole_one(document: object) -> None:
    found = from_json(document)
    assert found is None or all(isinstance(each, str) for each in (*found.facilities, found.device, found.network))


@given(
    port=st.sampled_from([11113, 11114, 11115, DEFAULT]),
    called=st.sampled_from([SERVER, "CENTRAL1A2B", "CITY3C4D", "SHUT5E6F", "WRONG"]),
    calling=st.sampled_from([SERVER, "CENTRAL1A2B", "CT1", "MR1", "US1", "XA1", "NEW"]),
    address=st.sampled_from(["10.1.0.1", "10.3.0.1", "2001:db8::1"]),
)
def test_a_button_mends_the_refusal_that_it_is_of(port: int, called: str, calling: str, address: str) -> None:
    """Whatever a button would do, done: the same caller is that facility, or meets another obstacle than before."""
    answer = ask(port, called, calling, address)
    if isinstance(answer, Facility) or answer.remedy.kind not in BUTTONS:
        return
    remedy = answer.remedy
    slug = remedy.facilities[0] if remedy.facilities else "central"
    after = recognise(done(remedy, slug), SERVER, port, called, calling, address, DEFAULT)
    if isinstance(after, Facility):
        assert after.slug == slug
    else:
        assert after.reason != answer.reason


def done(remedy: Remedy, slug: str) -> Snapshot:
    changed = []
    for each in SNAPSHOT.facilities:
        devices, enabled = each.devices, each.enabled
        if each.slug == slug and remedy.kind is Kind.ENABLE_FACILITY:
            enabled = True
        elif each.slug == slug:
            devices = (*devices, Device(remedy.device, remedy.network))
        changed.append(
            Facility(each.id, each.slug, each.name, each.ae_title, each.port, enabled=enabled, devices=devices)
        )
    return Snapshot(tuple(changed))
