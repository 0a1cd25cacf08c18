"""Whose a client certificate is: every combination of where it is bound, what is shown and who is called."""

import itertools

import pytest

from noctis.facilities.recognition import Refusal, Reject, recognise
from noctis.facilities.snapshot import ClientCertificate, Device, Facility, Snapshot, dump, parse

SERVER, DEFAULT = "NOCTIS_SERVER", 11112
WHOLE, OF_CT1, OF_CITY, LOOSE, GONE = ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64)
BOUND = {
    "none": (),
    "whole": (ClientCertificate(WHOLE),),
    "device": (ClientCertificate(OF_CT1, "CT1"),),
    "both": (ClientCertificate(WHOLE), ClientCertificate(OF_CT1, "CT1")),
}


def ask(bound: str, certificate: str | None, calling: str, *, port: int = 11113, called: str = "CENTRAL1A2B") -> object:
    central = Facility(
        1, "central", "Central", "CENTRAL1A2B", 11113, devices=(Device("CT1"), Device("MR1")), certificates=BOUND[bound]
    )
    city = Facility(2, "city", "City", "CITY3C4D", 11114, certificates=(ClientCertificate(OF_CITY),))
    snapshot = parse(dump(Snapshot((central, city), (), (GONE,))))
    return recognise(snapshot, SERVER, port, called, calling, "192.0.2.1", DEFAULT, certificate)


# What is bound to Central → certificate shown → calling titles that are let in, of CT1 and MR1.
LET_IN: dict[str, dict[str | None, str]] = {
    "none": {None: "CT1 MR1", "": "CT1 MR1", LOOSE: "CT1 MR1", WHOLE: "CT1 MR1", OF_CITY: "", GONE: ""},
    "whole": {None: "CT1 MR1", "": "", LOOSE: "", WHOLE: "CT1 MR1", OF_CITY: "", GONE: ""},
    "device": {None: "CT1 MR1", "": "MR1", LOOSE: "", OF_CT1: "CT1", OF_CITY: "", GONE: ""},
    "both": {None: "CT1 MR1", "": "", LOOSE: "", WHOLE: "CT1 MR1", OF_CT1: "CT1", OF_CITY: "", GONE: ""},
}


@pytest.mark.parametrize("port", [11113, DEFAULT])
@pytest.mark.parametrize(
    ("bound", "certificate"), [(bound, shown) for bound, table in LET_IN.items() for shown in table]
)
def test_every_combination(bound: str, certificate: str | None, port: int) -> None:
    for calling, padded in itertools.product(("CT1", "MR1"), (False, True)):
        answer = ask(bound, certificate, f" {calling} " if padded else calling, port=port)
        if calling in LET_IN[bound][certificate].split():
            assert isinstance(answer, Facility), (calling, answer)
            assert answer.slug == "central"
        else:
            assert isinstance(answer, Refusal), calling
            assert answer.reject is Reject.CALLING_NOT_RECOGNISED
            assert answer.reason
            assert "noctis tls" in answer.fix or "set the certificate" in answer.fix


def test_a_certificate_of_another_facility_is_refused_wherever_it_knocks() -> None:
    for port, called, calling in (
        (11114, "CITY3C4D", "X"),
        (DEFAULT, "CITY3C4D", "X"),
        (DEFAULT, SERVER, "CITY3C4D"),
    ):
        answer = ask("whole", WHOLE, calling, port=port, called=called)
        assert isinstance(answer, Refusal)
        assert answer.reason == "its client certificate is that of 'Central', not of 'City'"
        assert answer.fix.startswith("noctis tls issue city")


@pytest.mark.parametrize(
    ("bound", "certificate", "calling", "reason", "fix"),
    [
        (
            "device",
            OF_CT1,
            "MR1",
            "for the calling AE title 'CT1' alone, not for 'MR1'",
            "tls issue central --device MR1",
        ),
        ("whole", LOOSE, "CT1", "takes bound ones alone", f"noctis tls bind central {LOOSE}"),
        ("whole", "", "CT1", "shows no client certificate", "noctis tls issue central"),
        ("none", GONE, "CT1", "of a facility which was removed", "noctis tls issue central"),
    ],
)
def test_what_is_said(bound: str, certificate: str, calling: str, reason: str, fix: str) -> None:
    answer = ask(bound, certificate, calling)
    assert isinstance(answer, Refusal)
    assert reason in answer.reason
    assert fix in answer.fix


def test_titles_come_first() -> None:
    answer = ask("whole", LOOSE, "STRANGER", called="WRONG")
    assert isinstance(answer, Refusal)
    assert "No facility found for AE title" in answer.reason


def test_an_older_snapshot_without_certificates_is_read() -> None:
    document = dump(Snapshot((Facility(1, "a", "A", "A", 11113),)))
    assert parse(document.replace(b'"foreign_certificates":[],', b"")).foreign_certificates == ()


@pytest.mark.parametrize(
    ("tls", "asks", "plain", "certificate", "reason"),
    [
        ("on", None, True, None, "takes TLS alone"),
        ("on", None, False, None, ""),
        (None, "required", True, None, ""),  # its own port is plain too
        (None, "required", False, None, "wants a client certificate"),
        (None, "required", False, "", "wants a client certificate"),
        (None, "required", False, LOOSE, ""),
        (None, "optional", False, "", ""),
    ],
)
def test_the_default_port_is_no_way_round_what_a_facility_asks(
    tls: str | None, asks: str | None, plain: bool, certificate: str | None, reason: str
) -> None:
    facility = Facility(1, "central", "Central", "CENTRAL", 11113, tls=tls, client_certificates=asks)
    snapshot = Snapshot((facility,))
    answer = recognise(snapshot, SERVER, DEFAULT, "CENTRAL", "X", "192.0.2.1", DEFAULT, certificate, plain=plain)
    if not reason:
        assert answer == facility
        return
    assert isinstance(answer, Refusal)
    assert reason in answer.reason
    assert "11113" in answer.fix
    own = recognise(snapshot, SERVER, 11113, "CENTRAL", "X", "192.0.2.1", DEFAULT, certificate, plain=plain)
    assert own == facility  # there the handshake has decided
