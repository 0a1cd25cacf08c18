"""Real senders against every facility's port and the default port, with every storable file of pydicom's collection.

What arrives equals what was sent, byte for byte: pynetdicom is told to hand over each file's own data set; dcmtk's
storescu encodes it anew, so there the reference is what dcmtk's own bit-preserving storescp receives from it.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE, _config
from pynetdicom.presentation import build_context

from noctis.scu import requests
from tests.samples import Sample, storable_files
from tests.support import free_port, wait_for
from tests.system import senders
from tests.system.conftest import Noctis

pytestmark = pytest.mark.filterwarnings("ignore")


def rounds(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """The samples in parts in which no SOP Instance UID comes twice: pydicom's collection has some in several forms."""
    left = list(samples)
    while left:
        taken: dict[str, Sample] = {}
        rest = []
        for sample in left:
            if sample.sop_instance_uid in taken:
                rest.append(sample)
            else:
                taken[sample.sop_instance_uid] = sample
        yield list(taken.values())
        left = rest


def filed(noctis: Noctis, slug: str) -> dict[str, Path]:
    """SOP Instance UID → file, of everything indexed of one facility."""
    rows = noctis.query(
        "SELECT sop_instance_uid, path FROM instance JOIN facility ON facility.id = facility_id WHERE slug = :slug",
        slug=slug,
    )
    return {uid: noctis.home / "media" / "dicom_files" / path for uid, path in rows}


def wait_filed(noctis: Noctis, slug: str, samples: Sequence[Sample]) -> dict[str, Path]:
    wanted = {sample.sop_instance_uid for sample in samples}
    return wait_for(
        lambda: (found := filed(noctis, slug)).keys() >= wanted and found, what=f"{len(wanted)} instances filed"
    )


def data_set(path: Path) -> bytes:
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def received_by_dcmtk(folder: Path, option: str, paths: Sequence[Path]) -> dict[str, Path]:
    """SOP Instance UID → what dcmtk's bit-preserving storescp receives when storescu is called with `option`."""
    folder.mkdir()
    port = free_port()
    receiver = subprocess.Popen(
        [senders.tool("storescp"), "+B", option.replace("-", "+", 1), "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: senders.echoscu(port, "REFERENCE"), what="storescp")
        senders.storescu(port, "REFERENCE", paths, option, "-R")
    finally:
        receiver.terminate()
        receiver.wait(10)
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in folder.iterdir()}


@pytest.mark.parametrize("port", ["own", "default"])
def test_dcmtk_and_pynetdicom_tools(noctis: Noctis, port: str, tmp_path: Path) -> None:
    facility = noctis.json(
        "facility", "add", "Central", "--device", "STORESCU", "--device", "DCMSEND", "--device", "ECHOSCU"
    )
    reached = facility["port"] if port == "own" else noctis.port
    called = facility["ae_title"] if port == "own" else "NOCTIS_SERVER"
    assert senders.echoscu(reached, called)
    parts = list(rounds(storable_files()))
    first = [sample for sample in parts[0] if senders.dcmtk_reads(sample.path)]
    assert len(first) > 100
    reference: dict[str, Path] = {}
    for syntax, option in senders.PROPOSE.items():
        paths = [sample.path for sample in first if sample.transfer_syntax_uid == syntax]
        if paths:
            reference |= received_by_dcmtk(tmp_path / option, option, paths)
            senders.storescu(reached, called, paths, option, "-R")
    files = wait_filed(noctis, "central", first)
    for sample in first:
        assert data_set(files[sample.sop_instance_uid]) == data_set(reference[sample.sop_instance_uid]), (
            sample.path.name
        )
    # The same again, and other forms of the same instances: duplicates, and conflicts kept aside; the first stay.
    senders.dcmsend(reached, called, [sample.path for sample in first if "jp2" not in sample.path.name])
    senders.pynetdicom_storescu(reached, called, first[0].path)
    wait_for(lambda: not noctis.json("status")["spool"]["pending"], what="the spool to be empty")
    assert filed(noctis, "central") == files


def test_every_file_arrives_bit_for_bit(noctis: Noctis, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom hands over each file's own data set; several forms of one instance go to a facility each."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    for number, samples in enumerate(rounds(storable_files())):
        facility = noctis.json("facility", "add", f"Facility {number}")
        for start in range(0, len(samples), 100):
            send_as_they_are(facility["port"], facility["ae_title"], samples[start : start + 100])
        files = wait_filed(noctis, facility["slug"], samples)
        for sample in samples:
            path = files[sample.sop_instance_uid]
            assert data_set(path) == sample.data_set(), sample.path.name
            assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == sample.transfer_syntax_uid


def send_as_they_are(port: int, called: str, samples: Sequence[Sample]) -> None:
    ae = AE("BITFORBIT")
    pairs = sorted({(sample.sop_class_uid, sample.transfer_syntax_uid) for sample in samples})
    contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in pairs]
    association = ae.associate("127.0.0.1", port, contexts=contexts, ae_title=called)
    assert association.is_established
    with requests(association):
        for sample in samples:
            assert association.send_c_store(sample.path).Status == 0, sample.path.name
    association.release()
