"""Facilities are kept apart, and many associations that send one study make one study."""

import threading
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.samples import make_instance, write_study
from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import Noctis


def test_the_same_uids_with_other_contents_in_two_facilities_are_two_things(noctis: Noctis, tmp_path: Path) -> None:
    study, series, instance = generate_uid(), generate_uid(), generate_uid()
    sent = {}
    for name, patient in (("Alpha", "Adler^Anna"), ("Beta", "Berger^Berta")):
        facility = noctis.json("facility", "add", name)
        dataset = make_instance(study=study, series=series, sop_instance=instance, name=patient, patient_id="P1")
        path = tmp_path / f"{name}.dcm"
        dataset.save_as(path)
        senders.storescu(facility["port"], facility["ae_title"], [path])
        sent[facility["slug"]] = (facility, patient)
    studies = wait_for(lambda: len(found := noctis.json("study", "list")) == 2 and found, what="two studies")
    assert {row["facility"]: row["patient_name"] for row in studies} == {
        slug: patient for slug, (_, patient) in sent.items()
    }
    assert {row["study_instance_uid"] for row in studies} == {study}
    for slug, (_, patient) in sent.items():
        (path,) = (noctis.home / "media" / "dicom_files" / slug).rglob("*.dcm")
        assert dcmread(path).PatientName == patient


def test_sixteen_associations_send_parts_of_one_study(noctis: Noctis, tmp_path: Path) -> None:
    facility = noctis.json("facility", "add", "Central")
    study = generate_uid()
    parts = [write_study(tmp_path / str(number), 12, study=study) for number in range(16)]
    failed: list[BaseException] = []

    def send(paths: list[Path]) -> None:
        try:
            senders.dcmsend(facility["port"], facility["ae_title"], paths)
        except BaseException as error:  # noqa: BLE001 - told by the assertion
            failed.append(error)

    threads = [threading.Thread(target=send, args=(paths,)) for paths in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    (row,) = wait_for(
        lambda: (found := noctis.json("study", "list")) and found[0]["instances"] == 192 and found, what="192 instances"
    )
    assert (row["study_instance_uid"], row["series"], row["instances"]) == (study, 16, 192)
    size = sum(path.stat().st_size for path in (noctis.home / "media").rglob("*.dcm"))
    assert noctis.query("SELECT bytes FROM study") == [(size,)]
    assert noctis.query("SELECT count(*), sum(instances), sum(bytes) FROM series") == [(16, 192, size)]
