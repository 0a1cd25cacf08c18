"""The A-ASSOCIATE-RQ read and the -AC written (PS3.8 §9.3.2, §9.3.3), without going through every context anew.

A sender proposes the same contexts each time, 128 of them perhaps, and often for a single instance. pynetdicom takes
each one apart; what it made of one is remembered by the bytes, so that the next association costs a look into a table.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydicom.config import IGNORE
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_items import UserInformationItem
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from noctis.listener.items import APPLICATION_CONTEXT, APPLICATION_CONTEXT_ITEM, CONTEXT_RQ, split, uid_of
from noctis.listener.negotiation import ITEMS_START
from noctis.listener.pdu import PduType

CONTEXT_AC, ABSTRACT_SYNTAX, TRANSFER_SYNTAX = 0x21, 0x30, 0x40  # item types
REMEMBERED_MAX = 2048  # bytes of a context that is remembered: it has some forty transfer syntaxes


class Request(A_ASSOCIATE_RQ):  # type: ignore[misc]
    """An A-ASSOCIATE-RQ PDU whose contexts are read here; everything else is read by pynetdicom."""

    def __init__(self) -> None:
        super().__init__()
        self._contexts: list[PresentationContext] = []

    def decode(self, bytestream: bytes) -> None:
        """Raises whatever pynetdicom raises for what cannot be read."""
        others, at, end = [bytestream[:ITEMS_START]], ITEMS_START, len(bytestream)
        while at < end:
            kind, _, length = struct.unpack_from(">BBH", bytestream, at)
            after = at + 4 + length
            if after > end:
                raise ValueError("an item that goes past the PDU")
            if kind == CONTEXT_RQ:
                self._contexts.append(_context(bytestream[at:after]))
            else:
                others.append(bytestream[at:after])
            at = after
        super().decode(b"".join(others))

    def to_primitive(self) -> A_ASSOCIATE:
        primitive = super().to_primitive()
        primitive._presentation_context_definition_list = self._contexts
        return primitive


def _context(item: bytes) -> PresentationContext:
    known = (_remembered if len(item) <= REMEMBERED_MAX else _read)(item[8:])
    context = PresentationContext()
    context.context_id = item[4]
    context._abstract_syntax, context._transfer_syntax = known._abstract_syntax, list(known._transfer_syntax)
    return context


def _read(syntaxes: bytes) -> PresentationContext:
    """The abstract and transfer syntaxes of a context; must not be changed.

    One that pydicom would warn of is taken as it is: a warning would have the sender's words in our log. What is no UID
    at all is left out: without an abstract or a transfer syntax the context is refused, and no other.
    """
    abstract: UID | None = None
    transfers = []
    for kind, item in split(syntaxes, "its presentation context"):
        uid = uid_of(item[4:])
        if uid is None:
            continue
        if kind == ABSTRACT_SYNTAX:
            abstract = abstract or UID(uid, IGNORE)
        elif kind == TRANSFER_SYNTAX:
            transfers.append(UID(uid, IGNORE))
    context = PresentationContext()
    context._abstract_syntax, context._transfer_syntax = abstract, transfers
    return context


_remembered = lru_cache(maxsize=512)(_read)


def acceptance(request: A_ASSOCIATE, answers: list[PresentationContext], user_information: list[Any]) -> A_ASSOCIATE:
    """The primitive that pynetdicom would send; nothing in it is checked a second time."""
    primitive = A_ASSOCIATE()
    primitive._application_context_name = UID(APPLICATION_CONTEXT)
    primitive._calling_ae_title, primitive._called_ae_title = request.calling_ae_title, request.called_ae_title
    primitive._result, primitive._result_source = 0, 1
    primitive._presentation_context_definition_results_list = answers
    primitive._user_information = user_information
    return primitive


def acceptance_pdu(primitive: A_ASSOCIATE) -> bytes:
    """The whole A-ASSOCIATE-AC PDU of an `acceptance`."""
    user_information = UserInformationItem()
    user_information.from_primitive(primitive.user_information)
    titles = b"".join(
        title.ljust(16).encode("ascii") for title in (primitive.called_ae_title, primitive.calling_ae_title)
    )
    contexts = _result_items(primitive.presentation_context_definition_results_list)
    content: bytes = b"\0\1\0\0" + titles + bytes(32) + APPLICATION_CONTEXT_ITEM + contexts + user_information.encode()
    return struct.pack(">BBL", PduType.ASSOCIATE_AC, 0, len(content)) + content


def _result_items(answers: Iterable[PresentationContext]) -> bytes:
    items = []
    for answer in answers:
        syntax = str(answer.transfer_syntax[0]).encode("ascii")
        items.append(
            struct.pack(
                ">BBHBBBBBBH", CONTEXT_AC, 0, len(syntax) + 8, answer.context_id, 0, answer.result, 0,
                TRANSFER_SYNTAX, 0, len(syntax),
            )
            + syntax
        )  # fmt: skip
    return b"".join(items)
