"""C-STORE outcomes (docs/conformance.md), from a real SCU over a real socket to what lies on disk."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import CTImageStorage, Verification

from noctis.observability.scoreboard import Counter
from noctis.repository import filemeta
from noctis.repository.journal import take
from noctis.scu import requests
from tests.integration.listener.conftest import CENTRAL, RunningListener
from tests.integration.listener.doors import Door
from tests.support import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@contextmanager
def association(listener: Door, called: str = "CENTRAL", calling: str = "SCU") -> Iterator[Association]:
    ae = AE(calling)
    ae.add_requested_context(CTImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    ae.add_requested_context(Verification)
    ae.add_requested_context("1.2.3.4.5.6", ImplicitVRLittleEndian)
    made = ae.associate("127.0.0.1", listener.port, ae_title=called)
    assert made.is_established
    with requests(made):
        yield made
    if made.is_established:
        made.release()


def encoded(dataset: Dataset, explicit: bool = True) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, not explicit
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def image() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "PAT-4711"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Rows = dataset.Columns = 2
    dataset.PixelData = b"\1\2\3\4"
    dataset["PixelData"].VR = "OW"
    return dataset


def send(
    made: Association, data: bytes, *, sop_instance: str, sop_class: str = CTImageStorage, context: str = CTImageStorage
) -> C_STORE:
    """A C-STORE with the very bytes given, whatever they are."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = BytesIO(data)
    context_id = next(each.context_id for each in made.accepted_contexts if each.abstract_syntax == context)
    made.dimse.send_msg(request, context_id)
    _, answer = made.dimse.get_msg(block=True)
    assert isinstance(answer, C_STORE)
    return answer


def test_a_sound_instance_is_spooled_bit_for_bit_and_explains_itself(listener: RunningListener) -> None:
    dataset = image()
    data = encoded(dataset)
    with association(listener, calling="CT1") as made:
        answer = send(made, data, sop_instance=dataset.SOPInstanceUID)
    assert answer.Status == 0
    (path,) = listener.spooled()
    assert path.parent.parent.name == "central"
    with path.open("rb") as file:
        meta = filemeta.read(file.fileno())
    assert path.read_bytes()[meta.dataset_start :] == data
    assert meta.transfer_syntax_uid == ExplicitVRLittleEndian
    assert (meta.origin.calling, meta.origin.called, meta.origin.address) == ("CT1", "CENTRAL", "127.0.0.1")
    assert meta.origin.port == listener.port
    assert dcmread(path).PatientID == "PAT-4711"
    assert path.stat().st_mode & 0o777 == 0o600
    assert listener.scoreboard.get(Counter.INSTANCES) == 1
    assert listener.unfinished() == []


def test_a_real_file_by_pynetdicoms_own_scu(listener: RunningListener) -> None:
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    with association(listener) as made:
        assert made.send_c_store(dataset).Status == 0
        assert made.send_c_echo().Status == 0
    assert dcmread(listener.spooled()[0]) == dataset


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        (lambda d: setattr(d, "SOPInstanceUID", "1.2.3"), 0xA900, "uid-mismatch"),
        (lambda d: setattr(d, "SOPClassUID", "1.2.3"), 0xA900, "uid-mismatch"),
        (lambda d: delattr(d, "StudyInstanceUID"), 0xC000, "missing-uid"),
        (lambda d: delattr(d, "SeriesInstanceUID"), 0xC000, "missing-uid"),
        (lambda d: delattr(d, "SOPInstanceUID"), 0xC000, "missing-uid"),
    ],
)
def test_what_cannot_be_filed_is_kept_whole_in_quarantine(
    listener: RunningListener, change: Callable[[Dataset], None], status: int, reason: str
) -> None:
    dataset = image()
    uid = dataset.SOPInstanceUID
    change(dataset)
    data = encoded(dataset)
    with association(listener) as made:
        answer = send(made, data, sop_instance=uid)
        again = send(made, data, sop_instance=uid)
    assert answer.Status == again.Status == status
    assert answer.ErrorComment
    (path,) = listener.quarantined()  # the re-send took the same place
    assert path.read_bytes().endswith(data)
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["reason"] == reason
    assert note["calling"] == "SCU"
    assert "Doe" not in path.with_suffix(".json").read_text()
    assert listener.spooled() == listener.unfinished() == []


@pytest.mark.parametrize("data", [b"\0" * 9, b"GET / HTTP/1.1\r\n\r\n", os.urandom(3000)])
def test_garbage_is_kept_in_quarantine_and_answered_c000(listener: RunningListener, data: bytes) -> None:
    with association(listener) as made:
        answer = send(made, data, sop_instance="1.2.3")
    assert answer.Status == 0xC000
    assert len(listener.quarantined()) == 1


def test_beyond_the_quarantines_cap_nothing_is_kept(start: Callable[..., RunningListener]) -> None:
    listener = start(storage={"quarantine_max_instances": 1, "reserve_bytes": 0})
    with association(listener) as made:
        assert send(made, b"\1" * 20, sop_instance="1.2.3").Status == 0xC000
        answer = send(made, b"\2" * 20, sop_instance="1.2.4")
    assert answer.Status == 0xC000
    assert len(listener.quarantined()) == 1
    assert listener.unfinished() == []
    assert "cap" in listener.scoreboard.read().last_error


def test_below_the_reserve_nothing_is_taken(start: Callable[..., RunningListener]) -> None:
    listener = start(storage={"reserve_bytes": 1 << 60})
    dataset = image()
    with association(listener) as made:
        answer = send(made, encoded(dataset), sop_instance=dataset.SOPInstanceUID)
        assert made.send_c_echo().Status == 0  # the association goes on
    assert answer.Status == 0xA700
    assert "reserve" in answer.ErrorComment
    assert listener.spooled() == listener.unfinished() == []


def test_a_private_sop_class_is_taken_as_it_is(listener: RunningListener) -> None:
    dataset = image()
    dataset.SOPClassUID = "1.2.3.4.5.6"
    data = encoded(dataset, explicit=False)
    with association(listener) as made:
        answer = send(made, data, sop_instance=dataset.SOPInstanceUID, sop_class="1.2.3.4.5.6", context="1.2.3.4.5.6")
    assert answer.Status == 0
    assert listener.spooled()[0].read_bytes().endswith(data)


def test_c_store_on_the_verification_context_is_refused(listener: RunningListener) -> None:
    dataset = image()
    with association(listener) as made:
        answer = send(made, encoded(dataset), sop_instance=dataset.SOPInstanceUID, context=Verification)
    assert answer.Status == 0x0122
    assert listener.spooled() == listener.quarantined() == []


def test_a_hint_tells_the_archiver(listener: RunningListener) -> None:
    from noctis.repository.hints import Hint, HintReceiver
    from noctis.repository.slots import everything_waiting

    receiver = HintReceiver(listener.home.hints)
    dataset = image()
    with association(listener) as made:
        send(made, encoded(dataset), sop_instance=dataset.SOPInstanceUID)
    hints: list[Hint] = []
    wait_for(lambda: hints.extend(receiver.take()) or hints, what="the hint")
    receiver.close()
    (hint,) = hints
    assert hint.header is not None
    assert [hint.name] == [entry.name for entry in everything_waiting(listener.home.spool)]
    assert hint.header.patient_name == "Doe^Jane"


def test_associations_are_recorded(listener: RunningListener) -> None:
    dataset = image()
    with association(listener) as made:
        send(made, encoded(dataset), sop_instance=dataset.SOPInstanceUID)
        made.send_c_echo()
    wait_for(lambda: not listener.listener.live, what="the association's end")
    records = [record for _, lines in take(listener.home.journal) for record in lines]
    (record,) = [each for each in records if each["kind"] == "association"]
    assert (record["slug"], record["instances"], record["echoes"]) == (CENTRAL.slug, 1, 1)
    assert record["outcome"] == "released"
    assert listener.scoreboard.get(Counter.LIVE) == 0
