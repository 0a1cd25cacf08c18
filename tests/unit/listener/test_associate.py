"""A-ASSOCIATE PDUs read and written here are what pynetdicom reads and writes."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom import build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext

from noctis.listener import associate, negotiation
from noctis.listener.associate import Request, acceptance, acceptance_pdu
from noctis.listener.pdu import ProtocolError
from noctis.repository.names import is_uid

UIDS = st.sampled_from(
    [str(each.abstract_syntax) for each in AllStoragePresentationContexts[:20]]
    + ["1.2.840.10008.1.1", "1.2.840.10008.5.1.4.31", "1.2.3.4", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"]
)


@st.composite
def requests(draw: st.DrawFn) -> A_ASSOCIATE:
    request = A_ASSOCIATE()
    request.application_context_name = associate.APPLICATION_CONTEXT
    request.called_ae_title, request.calling_ae_title = draw(st.sampled_from(["A", "CENTRAL 1", "X" * 16])), "SCU"
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = draw(st.integers(0, 1 << 20))
    implementation.implementation_class_uid = "1.2.3"
    request.user_information = [maximum, implementation]
    if draw(st.booleans()):
        request.user_information.append(build_role("1.2.840.10008.5.1.4.1.1.2", scp_role=True))
    contexts = []
    for number in range(draw(st.integers(1, 12))):
        context = PresentationContext()
        context.context_id, context.abstract_syntax = 2 * number + 1, draw(UIDS)
        context.transfer_syntax = draw(st.lists(UIDS, min_size=1, max_size=4))
        contexts.append(context)
    request.presentation_context_definition_list = contexts
    return request


def read(pdu: A_ASSOCIATE_RQ, encoded: bytes) -> A_ASSOCIATE:
    pdu.decode(encoded)
    return pdu.to_primitive()


def described(primitive: A_ASSOCIATE) -> dict[str, object]:
    return {**vars(primitive), "_presentation_context_definition_list": [
        vars(context) for context in primitive.presentation_context_definition_list
    ]}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(requests())
def test_a_request_is_read_as_pynetdicom_reads_it(request: A_ASSOCIATE) -> None:
    encoded = A_ASSOCIATE_RQ(request).encode()
    assert described(read(Request(), encoded)) == described(read(A_ASSOCIATE_RQ(), encoded))


@settings(max_examples=60, deadline=None)
@given(requests())
def test_an_acceptance_is_written_as_pynetdicom_writes_it(request: A_ASSOCIATE) -> None:
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "NOCTIS"
    answers = negotiation.negotiate(request.presentation_context_definition_list)
    primitive = acceptance(request, answers, [*request.user_information, version])
    assert acceptance_pdu(primitive) == A_ASSOCIATE_AC(primitive).encode()


@settings(max_examples=60, deadline=None)
@given(requests())
def test_what_is_remembered_is_never_changed(request: A_ASSOCIATE) -> None:
    encoded = A_ASSOCIATE_RQ(request).encode()
    first = read(Request(), encoded)
    for context in first.presentation_context_definition_list:
        context.add_transfer_syntax("1.2.840.10008.1.2.4.50")
        context.abstract_syntax = UID("1.2")
    assert described(read(Request(), encoded)) == described(read(A_ASSOCIATE_RQ(), encoded))


@settings(max_examples=300, deadline=None)
@given(requests(), st.data())
def test_a_spoilt_request_is_read_or_refused_and_nothing_else(request: A_ASSOCIATE, data: st.DataObject) -> None:
    encoded = bytearray(A_ASSOCIATE_RQ(request).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(6, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        negotiation.tolerate(encoded)
        primitive = read(Request(), bytes(encoded))
    except ProtocolError:
        return
    for context in negotiation.negotiate(primitive.presentation_context_definition_list):
        assert context.result or all(map(is_uid, (context.abstract_syntax, *context.transfer_syntax)))


@settings(max_examples=60, deadline=None)
@given(requests())
def test_a_sound_request_stays_as_it_is(request: A_ASSOCIATE) -> None:
    encoded = A_ASSOCIATE_RQ(request).encode()
    mended = bytearray(encoded)
    negotiation.tolerate(mended)
    assert mended == encoded


def test_a_second_request_reads_no_context_anew() -> None:
    contexts = AllStoragePresentationContexts[:100]
    items = b""
    for number, context in enumerate(contexts):
        syntaxes = b"".join(
            struct.pack(">BBH", kind, 0, len(uid)) + uid.encode()
            for kind, uid in [(0x30, context.abstract_syntax), *((0x40, each) for each in context.transfer_syntax)]
        )
        items += struct.pack(">BBHBBBB", 0x20, 0, len(syntaxes) + 4, 2 * number + 1, 0, 0, 0) + syntaxes
    encoded = struct.pack(">BBLHH", 1, 0, 68 + len(items), 1, 0) + b"CENTRAL".ljust(16) + b"SCU".ljust(16) + bytes(32)
    read(Request(), encoded + items)
    before = associate._remembered.cache_info()
    assert len(read(Request(), encoded + items).presentation_context_definition_list) == 100
    after = associate._remembered.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 100)


def test_a_context_too_long_is_not_remembered() -> None:
    syntaxes = b"".join(
        struct.pack(">BBH", kind, 0, len(uid)) + uid
        for kind, uid in [(0x30, b"1.2.3.4"), *((0x40, b"1.2.840.10008.1.2." + b"1" * 40) for _ in range(80))]
    )
    before = associate._remembered.cache_info()
    item = struct.pack(">BBHBBBB", 0x20, 0, len(syntaxes) + 4, 1, 0, 0, 0) + syntaxes
    assert associate._context(item).abstract_syntax == "1.2.3.4"
    assert associate._remembered.cache_info() == before
