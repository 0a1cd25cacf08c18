"""`noctis import`: every form in which instances lie about, and what is said of each file."""

import io
import os
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from tests.integration.cli.conftest import Call
from tests.samples import make_instance, write_study


@pytest.fixture(autouse=True)
def central(noctis: Call) -> None:
    noctis("facility", "add", "Central", "--ae-title", "CENTRAL")


def some_instance(**attributes: str) -> FileDataset:
    return make_instance(study=generate_uid(), series=generate_uid(), sop_instance=generate_uid(), **attributes)  # type: ignore[arg-type]


def bare(dataset: FileDataset, *, implicit: bool) -> bytes:
    """The data set alone, as some devices write it."""
    buffer = io.BytesIO()
    copy = dataset.copy()
    del copy.file_meta
    copy.preamble = None
    dcmwrite(buffer, copy, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_without_a_file_meta(noctis: Call, home: Path, tmp_path: Path, implicit: bool) -> None:
    content = bare(some_instance(), implicit=implicit)
    (tmp_path / "bare").write_bytes(content)
    assert noctis("import", "central", tmp_path / "bare", "--json").json["imported"] == 1
    (row,) = noctis("instance", "list", "--json").json
    assert row["transfer_syntax_uid"] == (ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)
    assert (row["calling_ae_title"], row["called_ae_title"]) == ("IMPORT", "CENTRAL")
    assert (home / "media" / "dicom_files" / row["path"]).read_bytes().endswith(content)


def test_a_file_meta_that_tells_of_another_instance(noctis: Call, tmp_path: Path) -> None:
    dataset = some_instance()
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.save_as(tmp_path / "a.dcm")
    assert noctis("import", "central", tmp_path / "a.dcm", "--json").json["imported"] == 1
    (row,) = noctis("instance", "list", "--json").json
    assert row["sop_instance_uid"] == dataset.SOPInstanceUID
    assert noctis("archive", "verify").code == 0


def test_what_became_of_each_is_counted(noctis: Call, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    first = some_instance()
    first.save_as(tree / "1.dcm")
    first.save_as(tree / "1-again.dcm")
    first.PatientName = "Beringer^Odile"
    first.save_as(tree / "2.dcm")
    counted = {"spooled": 3, "imported": 1, "duplicates": 1, "quarantined": 1, "waiting": 0}
    found = noctis("import", "central", tree, "--json").json
    assert {key: found[key] for key in counted} == counted
    again = noctis("import", "central", tree, "--json").json
    assert again["imported"] == 0
    assert again["duplicates"] + again["quarantined"] == 3
    assert "quarantine list --facility central" in noctis("import", "central", tree / "2.dcm").out


def test_what_is_skipped_is_listed_with_its_reason(noctis: Call, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (path,) = write_study(tree, 1)
    (tree / "link.dcm").symlink_to(path)
    (tree / "text").write_text("this is some text, and longer than a preamble " * 5)
    (tree / "empty").write_bytes(b"")
    (tree / "meta").write_bytes(path.read_bytes()[132:])
    (tree / "cut").write_bytes(path.read_bytes()[:400])
    (tree / "junk").write_bytes(b"\0" * 128 + b"DICM" + os.urandom(16) + b"\xff" * 500)
    nothing = some_instance()
    nothing.StudyInstanceUID = ""
    nothing.save_as(tree / "no-uid.dcm")
    os.mkfifo(tree / "pipe")
    found = noctis("import", "central", tree, "--json").json
    assert found["imported"] == 1
    reasons = {Path(each["path"]).name: each["reason"] for each in found["skipped"]}
    assert reasons.keys() == {"link.dcm", "text", "empty", "meta", "cut", "junk", "no-uid.dcm", "pipe"}
    assert reasons["link.dcm"] == "a symbolic link"
    assert reasons["pipe"] == "no regular file"
    assert reasons["text"] == "no DICOM"
    assert reasons["empty"] == "no DICOM: too short"
    assert reasons["meta"] == "a file meta without its preamble"
    assert reasons["no-uid.dcm"] == "no Study Instance UID"


def test_an_evil_file_name_is_escaped(noctis: Call, tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mred").write_text("no DICOM at all")
    answer = noctis("import", "central", tmp_path / "\x1b[31mred", code=1)
    assert "\x1b" not in answer.err
    assert "\\x1b[31mred: no DICOM" in answer.err


def test_only_some_of_many_skipped_are_listed(noctis: Call, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write_study(tree, 1)
    for number in range(30):
        (tree / f"{number}.txt").write_text("no DICOM")
    answer = noctis("import", "central", tree)
    assert answer.err.count("  skipped ") == 20
    assert "10 more" in answer.err


def write_disc(folder: Path, count: int) -> Path:
    """A folder tree with a DICOMDIR, as far as importing looks at it: File IDs, and a record without one."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    patient = Dataset()
    patient.DirectoryRecordType = "PATIENT"
    records = [patient]
    for number, path in enumerate(write_study(folder / "IMAGES", count)):
        path.rename(folder / "IMAGES" / f"IM{number}")
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = ["IMAGES", f"IM{number}"]
        records.append(record)
    directory.DirectoryRecordSequence = records
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("lower", [False, True])
def test_a_dicomdir_of_a_cd(noctis: Call, tmp_path: Path, lower: bool) -> None:
    """Some file systems show a CD's names in lower case."""
    disc = write_disc(tmp_path / "disc", 3)
    if lower:
        for path in sorted(disc.rglob("*"), reverse=True):
            if path.name != "DICOMDIR":
                path.rename(path.with_name(path.name.lower()))
    assert noctis("import", "central", disc / "DICOMDIR", "--json").json["imported"] == 3
    missing = next(path for path in disc.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    missing.unlink()
    found = noctis("import", "central", disc / "DICOMDIR", "--json").json
    assert (found["duplicates"], [each["reason"] for each in found["skipped"]]) == (
        2,
        ["named by the DICOMDIR, but not there"],
    )


def test_a_dicomdir_in_a_tree_is_no_instance(noctis: Call, tmp_path: Path) -> None:
    found = noctis("import", "central", write_disc(tmp_path / "disc", 1), "--json").json
    assert (found["imported"], [each["reason"] for each in found["skipped"]]) == (1, ["a DICOMDIR"])


def test_a_full_disk_stops_it_and_says_why(noctis: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path / "a", 1)
    monkeypatch.setenv("NOCTIS_STORAGE__RESERVE_BYTES", str(1 << 60))
    assert "below the reserve" in noctis("import", "central", tmp_path / "a", code=1).err


def test_interrupted_and_run_again(noctis: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noctis.importing import importer

    write_study(tmp_path / "a", 4)
    real = importer.examine
    looked: list[Path] = []

    def interrupted(path: Path) -> object:
        looked.append(path)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(importer, "examine", interrupted)
        noctis("import", "central", tmp_path / "a", code=130)
    assert len(list(home.glob("spool/central/new/*"))) == 2
    again = noctis("import", "central", tmp_path / "a", "--json").json
    assert again["spooled"] == 4
    assert noctis("study", "list", "--json").json[0]["instances"] == 4
    assert list(home.glob("spool/central/*/*.dcm")) == []


def test_an_archiver_that_does_nothing_is_not_waited_for(
    noctis: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noctis.importing import importer
    from noctis.supervisor.control import Control

    monkeypatch.setattr(importer, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(Control, "is_running", lambda self: True)
    write_study(tmp_path / "a", 2)
    answer = noctis("import", "central", tmp_path / "a")
    assert "2 instances taken: 0 imported" in answer.out
    assert "2 wait in the spool" in answer.out
    assert len(list(home.glob("spool/central/new/*"))) == 2
