"""The establishment of an association: its request taken, recognised, and answered (PS3.8 §9.2).

Runs on pynetdicom's state machine. Where nobody is bound to an event of it, the request's contexts and the acceptance
go past pynetdicom's item objects (`associate`), which would cost more than everything else of a short association.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pynetdicom import evt
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from noctis.facilities.recognition import Refusal, Reject, strip_title
from noctis.facilities.remedies import Kind, Remedy
from noctis.facilities.snapshot import Facility
from noctis.listener import associate, negotiation
from noctis.listener.delegation import Aborted
from noctis.listener.pdu import ConnectionEnded, PduReader, ProtocolError, TlsHello, send
from noctis.observability.scoreboard import Counter
from noctis.observability.words import RefusalKind
from noctis.repository.filemeta import Origin
from noctis.tls.failures import tls_at_plain

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation

_UNKNOWN = (Reject.CALLED_NOT_RECOGNISED, Reject.CALLING_NOT_RECOGNISED)


def establish(association: "StreamingAssociation", reader: PduReader) -> bool:
    """Take the A-ASSOCIATE-RQ and answer it; False if it was rejected."""
    try:
        _, content = reader.next(first=True)
    except ConnectionEnded:
        association.check_ending()
        raise
    except TlsHello:
        words = tls_at_plain(association.listener.slug)
        note_refusal(association, Refusal(*words, Reject.NO_REASON, Remedy(Kind.TLS), RefusalKind.TLS))
        raise
    association.answering = True
    try:
        return _answer(association, bytearray(reader.raw_head(content) + content))
    finally:
        association.answering = False


def _answer(association: "StreamingAssociation", raw: bytearray) -> bool:
    listener = association.listener
    negotiation.tolerate(raw)
    try:
        _feed_request(association, raw)
        primitive = association.dul.receive_pdu()
        if not isinstance(primitive, A_ASSOCIATE):
            return False  # refused by the state machine, which has answered
        association.requestor.primitive = primitive
    except Exception as error:
        raise ProtocolError(f"an A-ASSOCIATE-RQ that cannot be read: {error}") from error
    called, calling = _printable(primitive.called_ae_title), _printable(primitive.calling_ae_title)
    association.requestor.ae_title = primitive.calling_ae_title
    note_titles(association, called, calling)
    evt.trigger(association, evt.EVT_REQUESTED, {})
    if association.is_aborted or association.is_rejected:  # by a handler
        association.pump()
        return False
    found = listener.recognise(
        called, calling, association.origin.address, association.certificate, plain=association.connection is None
    )
    if isinstance(found, Facility):
        found = listener.admit(association, found) or found
    elif _may_echo(association, primitive, found):
        return True
    if isinstance(found, Refusal):
        _reject(association, found)
        return False
    association.accepted_facility = found
    counts = association.tally.belongs_to(found.slug)
    counts.add(Counter.ASSOCIATIONS)
    counts.add(Counter.LIVE)
    association.log = association.log.bind(facility=found.slug)
    roles = association.requestor.role_selection
    answers = negotiation.negotiate(primitive.presentation_context_definition_list, listener.offer, roles)
    if association.is_ourselves:  # by a certificate that opens every door: for an echo, never for an instance
        negotiation.verification_alone(answers)
    for item in negotiation.answer_roles(roles, listener.offer):
        association.acceptor.add_negotiation_item(item)
    _accept(association, primitive, answers)
    return True


def _may_echo(association: "StreamingAssociation", request: A_ASSOCIATE, refusal: Refusal) -> bool:
    """Accept a caller of no facility for Verification and nothing else, where that is allowed and asked for."""
    if association.settings.listeners.unknown_echo != "allow" or refusal.reject not in _UNKNOWN:
        return False
    answers = negotiation.negotiate(request.presentation_context_definition_list)
    if not negotiation.verification_alone(answers):
        return False
    association.is_unknown = True
    association.log = association.log.bind(unknown=True)
    association.log.info("association.unknown_caller", reason=refusal.reason, fix=refusal.fix)
    _accept(association, request, answers)
    return True


def note_titles(association: "StreamingAssociation", called: str, calling: str) -> None:
    """The titles of the A-ASSOCIATE-RQ are known: for the log, the ledgers and what is stored."""
    association.origin = Origin(
        calling=calling,
        called=called,
        address=association.origin.address,
        port=association.listener.port,
        association=association.association_id,
    )
    association.log = association.log.bind(called=called, calling=calling)


def _feed_request(association: "StreamingAssociation", raw: bytearray) -> None:
    if association.watched:
        association.feed(raw)
        return
    request = associate.Request()
    request.decode(bytes(raw))
    association.dul._recv_pdu.put(request)
    association.dul.event_queue.put("Evt6")
    association.pump()


def _reject(association: "StreamingAssociation", refusal: Refusal) -> None:
    association.acse.send_reject(*refusal.reject.value)
    association.pump()
    association.is_rejected = True
    evt.trigger(association, evt.EVT_REJECTED, {})
    note_refusal(association, refusal)


def note_refusal(association: "StreamingAssociation", refusal: Refusal) -> None:
    """Into the log, the ledger and the count. What the caller is told, if it can be told anything, is not done here."""
    listener, origin = association.listener, association.origin
    listener.scoreboard.add(Counter.REFUSED)
    listener.scoreboard.refused(refusal.kind)
    association.log.warning("association.refused", reason=refusal.reason, fix=refusal.fix)
    listener.journal.append(
        "refusal",
        at=datetime.now(UTC).isoformat(),
        port=origin.port,
        called=origin.called,
        calling=origin.calling,
        address=origin.address,
        reason=refusal.reason,
        fix=refusal.fix,
        remedy=refusal.remedy.as_json(),
    )


def _accept(association: "StreamingAssociation", request: A_ASSOCIATE, answers: list[PresentationContext]) -> None:
    association._accepted_cx = {each.context_id: each for each in answers if each.result == negotiation.ACCEPTED}
    association._rejected_cx = [each for each in answers if each.result != negotiation.ACCEPTED]
    association.log.info(
        "association.accepted", contexts=len(association._accepted_cx), refused=len(association._rejected_cx)
    )
    _send_acceptance(association, request)
    association.is_established = True
    evt.trigger(association, evt.EVT_ACCEPTED, {})
    evt.trigger(association, evt.EVT_ESTABLISHED, {})
    if association.is_aborted:  # by a handler
        raise Aborted("by a handler")


def _send_acceptance(association: "StreamingAssociation", request: A_ASSOCIATE) -> None:
    if association.watched:
        association.acse.send_accept()
        association.pump()
        return
    answers = association.accepted_contexts + association._rejected_cx
    accepted = associate.acceptance(request, answers, association.acceptor.user_information)
    association.acceptor.primitive = accepted
    send(association.dul.socket.socket, associate.acceptance_pdu(accepted))
    association.dul.state_machine.transition("Sta6")  # AE-7 has been done


def _printable(title: str) -> str:
    return strip_title(title) or "(empty)"
