"""Which presentation contexts are accepted, and with which transfer syntax (PS3.8 §7.1.1.13).

Verification and everything that is or may be storage is accepted: private and unknown SOP classes too, since a class
that was standardised after this release must not be lost. SOP classes that are known to belong to another service
(query, worklist, print) are refused as not supported. Pure: contexts in, contexts out; the proposed ones are not
changed and nothing is copied deeply.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import Verification, uid_to_service_class

from noctis.listener import items
from noctis.listener.pdu import HEAD, ProtocolError

ACCEPTED = 0x00
ABSTRACT_SYNTAX_NOT_SUPPORTED = 0x03
TRANSFER_SYNTAXES_NOT_SUPPORTED = 0x04

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

ITEMS_START = HEAD + 68  # of an A-ASSOCIATE-RQ: versions, titles and what is reserved come before
EMPTY_TITLE = b"(empty)".ljust(16)  # of spaces and NULs alone


VERIFICATION = str(Verification)


@dataclass(frozen=True)
class Offer:
    """What is accepted beyond Verification and storage."""

    abstract_syntaxes: frozenset[str] = frozenset()
    sends_instances: bool = False  # on contexts whose requestor wants to be SCP: C-GET


NOTHING_ADDED = Offer()
Roles = Mapping[str, SCP_SCU_RoleSelectionNegotiation]


@lru_cache(maxsize=4096)
def is_served(abstract_syntax: str) -> bool:
    """Whether a context of this abstract syntax is accepted, whatever is added."""
    if abstract_syntax == VERIFICATION:
        return True
    service = uid_to_service_class(abstract_syntax)
    return service is StorageServiceClass or service is ServiceClass  # the latter: unknown, so perhaps storage


def rank(transfer_syntax: str) -> int:
    """Lower is taken first: a compressed one (never make the sender transcode), Explicit before Implicit."""
    if transfer_syntax == EXPLICIT_LITTLE:
        return 1
    if transfer_syntax == IMPLICIT_LITTLE:
        return 2
    if transfer_syntax == EXPLICIT_BIG:
        return 3
    return 0 if transfer_syntax.startswith("1.2.840.10008.1.2.") else 4  # private ones last


def choose_transfer_syntax(proposed: list[str]) -> str:
    """The best of `proposed`; among equals the one proposed first."""
    return min(proposed, key=rank)


def negotiate(
    proposed: list[PresentationContext], offer: Offer = NOTHING_ADDED, roles: Roles = MappingProxyType({})
) -> list[PresentationContext]:
    """One answer for each proposed context, in order."""
    return [_answer(context, offer, roles) for context in proposed]


def _answer(context: PresentationContext, offer: Offer, roles: Roles) -> PresentationContext:
    answer = PresentationContext()
    answer.context_id = context.context_id
    abstract_syntax = answer._abstract_syntax = context.abstract_syntax  # checked when it was read
    if not context.transfer_syntax:
        answer.result = TRANSFER_SYNTAXES_NOT_SUPPORTED
        answer.transfer_syntax = [IMPLICIT_LITTLE]  # not significant when refused, but the item must be there
    elif abstract_syntax is None or not (abstract_syntax in offer.abstract_syntaxes or is_served(abstract_syntax)):
        answer.result = ABSTRACT_SYNTAX_NOT_SUPPORTED
        answer._transfer_syntax = [context.transfer_syntax[0]]
    else:
        answer.result = ACCEPTED
        answer._transfer_syntax = [choose_transfer_syntax(context.transfer_syntax)]
        role = roles.get(abstract_syntax)
        answer._as_scp, answer._as_scu = True, role is not None and offer.sends_instances and bool(role.scp_role)
    return answer


def verification_alone(answers: list[PresentationContext]) -> bool:
    """Take back every acceptance but Verification's; whether there is one."""
    found = False
    for answer in answers:
        if answer.abstract_syntax == VERIFICATION:
            found = found or answer.result == ACCEPTED
        elif answer.result == ACCEPTED:
            answer.result = ABSTRACT_SYNTAX_NOT_SUPPORTED
    return found


def answer_roles(proposed: Roles, offer: Offer = NOTHING_ADDED) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """The requestor may be SCU; SCP too only where we send instances (PS3.7 §D.3.3.4)."""
    answers = []
    for uid, item in proposed.items():
        answer = SCP_SCU_RoleSelectionNegotiation()
        answer.sop_class_uid = uid
        answer.scu_role = bool(item.scu_role)
        answer.scp_role = offer.sends_instances and bool(item.scp_role)
        if answer.scu_role or answer.scp_role:
            answers.append(answer)
    return answers


def tolerate(raw: bytearray) -> None:
    """Mend what real devices send and pynetdicom refuses, in the A-ASSOCIATE-RQ given: its titles, versions and items.

    Raises
    ------
    ProtocolError
        It cannot be an A-ASSOCIATE-RQ.
    """
    if len(raw) < ITEMS_START:
        raise ProtocolError("an A-ASSOCIATE-RQ that is too short")
    if raw[7] & 1:  # PS3.8 §9.3.2: only bit 0 is tested
        raw[6:8] = b"\0\1"
    for start in (10, 26):
        title = bytes(raw[start : start + 16]).replace(b"\0", b" ")
        title = bytes(byte if 0x20 <= byte < 0x7F and byte != 0x5C else 0x3F for byte in title)
        raw[start : start + 16] = title if title.strip() else EMPTY_TITLE
    raw[ITEMS_START:] = items.mended(bytes(raw[ITEMS_START:]))
    raw[2:HEAD] = (len(raw) - HEAD).to_bytes(4, "big")
