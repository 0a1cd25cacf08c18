"""Services that pynetdicom carries out: toy ones in the table, asked by pynetdicom's SCU and by dcmtk's."""

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    UnifiedProcedureStepPush,
    Verification,
)

from noctis.listener import services
from noctis.listener.delegation import DATA_SET_MAX
from noctis.listener.services import AddedService
from noctis.scu import requests
from tests.integration.listener.conftest import RunningListener
from tests.integration.listener.peers import ECHO, Peer, p_data
from tests.integration.listener.test_store import encoded, image, send
from tests.support import wait_for
from tests.system.senders import run, tool

STORE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"


class Toy:
    """What the toy services have seen, and a gate that one of them waits at."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cancelled = threading.Event()
        self.instances: list[Dataset] = []
        self.endless = False
        self.silent = False

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(f"{event.assoc.facility.slug}:{event.identifier.get('PatientName', '')}")
        if self.endless:
            while not event.is_cancelled:
                yield 0xFF00, event.identifier
            self.cancelled.set()
            yield 0xFE00, None
            return
        if self.silent:
            while not event.is_cancelled:
                pass
            yield 0xFE00, None
            return
        for name in ("Doe^Jane", "Doe^John"):
            found = Dataset()
            found.PatientName, found.QueryRetrieveLevel = name, "STUDY"
            yield 0xFF00, found

    def find_studies(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append("studies")
        yield 0x0000, None

    def get(self, event: evt.Event) -> Iterator[Any]:
        yield len(self.instances)
        for instance in self.instances:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, instance

    def move(self, event: evt.Event) -> Iterator[Any]:
        yield "127.0.0.1", int(event.move_destination), {"contexts": [_context(CTImageStorage)]}
        yield len(self.instances)
        for instance in self.instances:
            yield 0xFF00, instance

    def create(self, event: evt.Event) -> tuple[int, Dataset]:
        created = event.attribute_list
        created.PerformedStationName = "seen"
        return 0x0000, created

    def act(self, event: evt.Event) -> tuple[int, Dataset | None]:
        self.asked.append(f"action {event.action_type} {event.action_information.TransactionUID}")
        return 0x0000, None

    def fail(self, event: evt.Event) -> tuple[int, Dataset | None]:
        raise RuntimeError("a fault of the handler's own")


def _context(uid: str) -> Any:
    ae = AE()
    ae.add_requested_context(uid, ImplicitVRLittleEndian)
    return ae.requested_contexts[0]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    made = Toy()
    table = (
        AddedService(frozenset({ModalityWorklistInformationFind}), {evt.EVT_C_FIND: made.find}),
        AddedService(frozenset({StudyRootQueryRetrieveInformationModelFind}), {evt.EVT_C_FIND: made.find_studies}),
        AddedService(
            frozenset({StudyRootQueryRetrieveInformationModelGet}), {evt.EVT_C_GET: made.get}, sends_instances=True
        ),
        AddedService(frozenset({StudyRootQueryRetrieveInformationModelMove}), {evt.EVT_C_MOVE: made.move}),
        AddedService(
            frozenset({ModalityPerformedProcedureStep}), {evt.EVT_N_CREATE: made.create, evt.EVT_N_SET: made.fail}
        ),
        AddedService(frozenset({StorageCommitmentPushModel}), {evt.EVT_N_ACTION: made.act}),
        AddedService(frozenset({UnifiedProcedureStepPush}), {evt.EVT_N_CREATE: made.create}),
    )
    monkeypatch.setattr(services, "ADDED_SERVICES", table)
    return made


@contextmanager
def association(listener: RunningListener, *uids: str, **kwargs: Any) -> Iterator[Association]:
    ae = AE("SCU")
    for uid in uids:
        ae.add_requested_context(uid, ImplicitVRLittleEndian)
    made = ae.associate("127.0.0.1", listener.port, ae_title="CENTRAL", **kwargs)
    assert made.is_established
    sock = made.dul.socket.socket
    try:
        with requests(made):
            yield made
        if made.is_established:
            made.release()
    finally:
        made.kill()
        sock.close()  # pynetdicom leaves it open where the peer was faster


def query(name: str = "Doe*") -> Dataset:
    identifier = Dataset()
    identifier.PatientName, identifier.QueryRetrieveLevel = name, "STUDY"
    return identifier


def test_a_worklist_is_asked_between_two_instances(toy: Toy, listener: RunningListener) -> None:
    with association(listener, ModalityWorklistInformationFind, CTImageStorage, Verification) as made:
        for _ in range(2):
            dataset = image()
            answer = send(made, encoded(dataset, explicit=False), sop_instance=dataset.SOPInstanceUID)
            assert answer.Status == 0
            found = list(made.send_c_find(query(), ModalityWorklistInformationFind))
            assert [status.Status for status, _ in found] == [0xFF00, 0xFF00, 0]
            assert [str(each.PatientName) for _, each in found[:2] if each] == ["Doe^Jane", "Doe^John"]
        assert made.send_c_echo().Status == 0
    assert toy.asked == ["central:Doe*"] * 2
    assert len(listener.spooled()) == 2


def test_two_services_share_an_event(toy: Toy, listener: RunningListener) -> None:
    with association(listener, StudyRootQueryRetrieveInformationModelFind) as made:
        found = list(made.send_c_find(query(), StudyRootQueryRetrieveInformationModelFind))
    assert [status.Status for status, _ in found] == [0]
    assert toy.asked == ["studies"]


def test_findscu_is_answered(toy: Toy, listener: RunningListener, tmp_path: Path) -> None:
    command = [tool("findscu"), "-W", "-X", "-od", tmp_path, "-aec", "CENTRAL", "-k", "PatientName=Doe*"]
    done = run(*command, "127.0.0.1", str(listener.port))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("rsp*.dcm"))) == 2
    assert toy.asked == ["central:Doe*"]


def test_a_cancel_ends_an_endless_answer(toy: Toy, listener: RunningListener) -> None:
    toy.endless = True
    with association(listener, ModalityWorklistInformationFind, Verification) as made:
        statuses = []
        for status, _ in made.send_c_find(query(), ModalityWorklistInformationFind, msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == 3:
                made.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
        assert statuses[-1] == 0xFE00
        assert set(statuses[:-1]) == {0xFF00}
        assert made.send_c_echo().Status == 0
    assert toy.cancelled.is_set()


@pytest.mark.parametrize("ending", ["abort", "close"])
def test_a_peer_that_vanishes_ends_an_endless_answer(toy: Toy, listener: RunningListener, ending: str) -> None:
    toy.endless = True
    with association(listener, ModalityWorklistInformationFind) as made:
        answers = made.send_c_find(query(), ModalityWorklistInformationFind)
        next(answers)
        if ending == "abort":
            made.abort()
        else:
            made.dul.socket.socket.shutdown(2)
        wait_for(lambda: not listener.listener.live, what="the association's end")
    assert not toy.cancelled.is_set()


def test_a_request_that_comes_during_an_answer_waits_for_its_end(toy: Toy, listener: RunningListener) -> None:
    """Command, data set, then an echo and the release, all sent before anything is read."""
    with association(listener, ModalityWorklistInformationFind, Verification) as made:
        by_uid = {each.abstract_syntax: each.context_id for each in made.accepted_contexts}
        elements = [
            (2, b"1.2.840.10008.5.1.4.31"),
            (0x100, b"\x20\0"),
            (0x110, b"\1\0"),
            (0x700, b"\0\0"),
            (0x800, b"\1\0"),
        ]
        command = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
        context, identifier = by_uid[ModalityWorklistInformationFind], encoded(query(), explicit=False)
        made.dul.socket.socket.sendall(
            p_data(command, context=context)
            + p_data(identifier, control=2, context=context)
            + p_data(ECHO, context=by_uid[Verification])
        )
        got = [type(made.dimse.get_msg(block=True)[1]).__name__ for _ in range(4)]
    assert got == ["C_FIND", "C_FIND", "C_FIND", "C_ECHO"]


def test_instances_are_sent_over_the_association_that_asks_for_them(toy: Toy, listener: RunningListener) -> None:
    toy.instances = [image() for _ in range(3)]
    for each in toy.instances:
        each.file_meta = Dataset()
        each.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    got: list[str] = []

    def keep(event: evt.Event) -> int:
        got.append(event.dataset.SOPInstanceUID)
        return 0

    ae = AE("SCU")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet, ImplicitVRLittleEndian)
    ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    made = ae.associate(
        "127.0.0.1",
        listener.port,
        ae_title="CENTRAL",
        ext_neg=[build_role(CTImageStorage, scu_role=True, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    assert made.is_established
    with requests(made):
        answers = [status for status, _ in made.send_c_get(query(), StudyRootQueryRetrieveInformationModelGet)]
        assert answers[-1].Status == 0
        assert answers[-1].NumberOfCompletedSuboperations == 3
        dataset = image()  # and it may still send itself
        assert send(made, encoded(dataset, explicit=False), sop_instance=dataset.SOPInstanceUID).Status == 0
    made.release()
    assert got == [each.SOPInstanceUID for each in toy.instances]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # pynetdicom's own association to the target
def test_instances_are_moved_over_an_association_of_ours(toy: Toy, listener: RunningListener) -> None:
    toy.instances = [image()]
    toy.instances[0].file_meta = Dataset()
    toy.instances[0].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    got = threading.Event()

    def keep(event: evt.Event) -> int:
        got.set()
        return 0

    target = AE("STORE")
    target.add_supported_context(CTImageStorage)
    server = target.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        with association(listener, StudyRootQueryRetrieveInformationModelMove) as made:
            port = str(server.server_address[1])
            answers = list(made.send_c_move(query(), port, StudyRootQueryRetrieveInformationModelMove))
        assert answers[-1][0].Status == 0
        assert got.is_set()
    finally:
        server.shutdown()


def test_n_services(toy: Toy, listener: RunningListener) -> None:
    with association(listener, ModalityPerformedProcedureStep, StorageCommitmentPushModel) as made:
        step = Dataset()
        step.PerformedProcedureStepID = "4711"
        status, created = made.send_n_create(step, ModalityPerformedProcedureStep, "1.2.3")
        assert status.Status == 0
        assert created is not None
        assert (created.PerformedProcedureStepID, created.PerformedStationName) == ("4711", "seen")
        action = Dataset()
        action.TransactionUID = "1.2.3.4"
        status, _ = made.send_n_action(action, 1, StorageCommitmentPushModel, STORE_COMMITMENT_INSTANCE)
        assert status.Status == 0
        assert toy.asked == ["action 1 1.2.3.4"]
        # a handler that fails, an event that nobody is bound to, and the association goes on
        assert made.send_n_set(step, ModalityPerformedProcedureStep, "1.2.3")[0].Status == 0x0110
        assert made.send_n_get([0x00100010], ModalityPerformedProcedureStep, "1.2.3")[0].Status == 0x0211
        assert made.send_n_action(action, 1, StorageCommitmentPushModel, STORE_COMMITMENT_INSTANCE)[0].Status == 0


def test_a_query_on_a_storage_context_reaches_no_handler(toy: Toy, listener: RunningListener) -> None:
    elements = [
        (2, b"1.2.840.10008.5.1.4.31"),
        (0x100, b"\x20\0"),
        (0x110, b"\1\0"),
        (0x700, b"\0\0"),
        (0x800, b"\1\0"),
    ]
    command = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    with Peer(listener) as peer:
        peer.associate()
        peer.sock.sendall(p_data(command, context=3) + p_data(encoded(query(), explicit=False), control=2, context=3))
        _, content = peer.read()
        assert struct.pack("<HHIH", 0, 0x900, 2, 0x211) in content
    assert toy.asked == []


def test_a_request_too_large_is_refused_and_the_association_goes_on(toy: Toy, listener: RunningListener) -> None:
    huge = query()
    huge.TextValue = "x" * (DATA_SET_MAX + 2)
    with association(listener, ModalityWorklistInformationFind, ModalityPerformedProcedureStep) as made:
        found = list(made.send_c_find(huge, ModalityWorklistInformationFind))
        assert [status.Status for status, _ in found] == [0xA700]
        assert made.send_n_create(huge, ModalityPerformedProcedureStep, "1.2.3")[0].Status == 0x0213
        assert len(list(made.send_c_find(query(), ModalityWorklistInformationFind))) == 3
    assert toy.asked == ["central:Doe*"]


def test_without_an_added_service_its_contexts_are_refused(listener: RunningListener) -> None:
    ae = AE("SCU")
    ae.add_requested_context(ModalityWorklistInformationFind)
    ae.add_requested_context(Verification)
    made = ae.associate("127.0.0.1", listener.port, ae_title="CENTRAL")
    assert [each.abstract_syntax for each in made.accepted_contexts] == [Verification]
    made.release()


def test_draining_lets_an_answer_finish(toy: Toy, start: Callable[..., RunningListener]) -> None:
    from noctis.listener import process

    toy.endless = True
    listener = start()
    with association(listener, ModalityWorklistInformationFind) as made:
        answers = made.send_c_find(query(), ModalityWorklistInformationFind, msg_id=7)
        next(answers)
        listener.stop.set()
        drainer = threading.Thread(target=process.drain, args=(listener.listener, 20.0))
        drainer.start()
        made.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
        assert [status.Status for status, _ in answers][-1] == 0xFE00
        drainer.join()


def test_a_cancel_reaches_a_handler_that_has_found_nothing_yet(toy: Toy, listener: RunningListener) -> None:
    toy.silent = True
    with association(listener, ModalityWorklistInformationFind) as made:
        answers = made.send_c_find(query(), ModalityWorklistInformationFind, msg_id=7)
        made.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
        assert [status.Status for status, _ in answers] == [0xFE00]


def test_a_handler_is_asked_for_its_own_abstract_syntaxes_alone(toy: Toy, listener: RunningListener) -> None:
    """Of storage commitment's N-ACTION, a procedure step's knows nothing."""
    action = Dataset()
    action.TransactionUID = "1.2.3.4"
    with association(listener, UnifiedProcedureStepPush) as made:
        assert made.send_n_action(action, 1, UnifiedProcedureStepPush, "1.2.3")[0].Status == 0x0211
    assert toy.asked == []
