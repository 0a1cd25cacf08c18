"""Presentation contexts: which are accepted, and with which transfer syntax."""

import pytest
from pynetdicom import AllStoragePresentationContexts, QueryRetrievePresentationContexts
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from noctis.listener.negotiation import ACCEPTED, choose_transfer_syntax, is_served, negotiate

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG, J2K, HTJ2K, DEFLATED = (f"1.2.840.10008.1.2.{tail}" for tail in ("4.50", "4.90", "4.201", "1.99"))
PRIVATE = "1.2.840.113619.5.2"


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([IMPLICIT], IMPLICIT),
        ([IMPLICIT, EXPLICIT], EXPLICIT),
        ([EXPLICIT, IMPLICIT, BIG], EXPLICIT),
        ([BIG, IMPLICIT], IMPLICIT),
        ([IMPLICIT, EXPLICIT, JPEG], JPEG),
        ([J2K, JPEG, EXPLICIT], J2K),
        ([IMPLICIT, HTJ2K], HTJ2K),
        ([IMPLICIT, DEFLATED], DEFLATED),
        ([PRIVATE, IMPLICIT], IMPLICIT),
        ([PRIVATE], PRIVATE),
    ],
)
def test_the_choice_of_transfer_syntax(proposed: list[str], chosen: str) -> None:
    assert choose_transfer_syntax(proposed) == chosen


def test_every_storage_class_verification_and_unknown_ones_are_served() -> None:
    for context in AllStoragePresentationContexts:
        assert is_served(str(context.abstract_syntax)), context.abstract_syntax
    assert is_served(str(Verification))
    assert is_served("1.2.3.4.5.6.7")  # private
    assert is_served("1.2.840.10008.5.1.4.1.1.999.1")  # of a later edition


def test_other_services_are_refused() -> None:
    for context in QueryRetrievePresentationContexts:
        assert not is_served(str(context.abstract_syntax))
    assert not is_served(str(ModalityWorklistInformationFind))


def test_one_answer_each_in_order_and_the_proposals_stay_as_they_are() -> None:
    proposed = [
        build_context("1.2.840.10008.5.1.4.1.1.2", [IMPLICIT, EXPLICIT]),
        build_context(ModalityWorklistInformationFind),
    ]
    for number, context in zip((1, 3), proposed, strict=True):
        context.context_id = number
    first, second = negotiate(proposed)
    assert (first.context_id, first.result, first.transfer_syntax) == (1, ACCEPTED, [EXPLICIT])
    assert (second.context_id, second.result) == (3, 3)
    assert proposed[0].transfer_syntax == [IMPLICIT, EXPLICIT]
    assert proposed[0].result is None
