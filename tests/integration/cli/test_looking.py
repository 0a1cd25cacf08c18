"""Importing, and looking at what was imported."""

import shutil
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.integration.cli.conftest import Call
from tests.samples import make_instance, storable_files, write_study

DICOMDIR = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests" / "DICOMDIR"


def test_a_folder_tree_is_filed_and_the_rest_is_listed(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    paths = write_study(tmp_path / "tree" / "a", 3, name="Ørsted^Åse")
    (tmp_path / "tree" / "notes.txt").write_text("no DICOM")
    (tmp_path / "tree" / "empty").write_bytes(b"")
    answer = noctis("import", "central", tmp_path / "tree")
    assert "3 instances taken: 3 imported, 0 duplicates, 0 in quarantine; 2 files skipped" in answer.out
    assert "notes.txt: no DICOM" in answer.err
    (study,) = noctis("study", "list", "--json").json
    assert {
        "facility",
        "study_instance_uid",
        "patient_id",
        "patient_name",
        "status",
        "series",
        "instances",
    } <= study.keys()
    assert (study["patient_name"], study["instances"], study["series"]) == ("Ørsted^Åse", 3, 1)
    (path,) = {row["path"] for row in noctis("instance", "list", "--json").json if row["instance_number"] == "1"}
    stored = (home / "media" / "dicom_files" / path).read_bytes()
    assert stored.endswith(paths[0].read_bytes()[-700:])
    assert "1 instances taken: 0 imported, 1 duplicates" in noctis("import", "central", paths[0]).out
    assert noctis("study", "list", "--json").json[0]["instances"] == 3
    assert noctis("archive", "verify").out.startswith("3 files and 3 rows agree")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_and_one_that_leads_outside(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    taken = noctis("import", "central", DICOMDIR, "--json").json
    assert taken["spooled"] > 20
    folder = tmp_path / "evil"
    folder.mkdir()
    dataset = dcmread(DICOMDIR)
    for record in dataset.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "secret"]
    shutil.copy(write_study(tmp_path / "x", 1)[0], tmp_path / "secret")
    dataset.save_as(folder / "DICOMDIR", enforce_file_format=True)
    evil = noctis("import", "central", folder / "DICOMDIR", "--json", code=1).json
    assert evil["spooled"] == 0
    assert {each["reason"] for each in evil["skipped"]} == {"the DICOMDIR leads outside its folder"}


def test_nothing_but_other_files_is_an_error(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    (tmp_path / "a.txt").write_text("hello, this is text")
    assert noctis("import", "central", tmp_path / "a.txt", "--json", code=1).json["spooled"] == 0


@pytest.mark.filterwarnings("ignore")
def test_every_storable_file_of_pydicom_is_filed(noctis: Call) -> None:
    noctis("facility", "add", "Central")
    samples = {sample.sop_instance_uid: sample for sample in storable_files()}
    taken = noctis("import", "central", *[sample.path for sample in samples.values()], "--json").json
    assert taken["skipped"] == []
    rows = noctis("instance", "list", "--limit", 1000, "--json").json
    assert {row["sop_instance_uid"] for row in rows} == samples.keys()


def test_filters(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Alpha")
    noctis("facility", "add", "Beta")
    for number, (slug, modality, name) in enumerate(
        [("alpha", "CT", "Doe^Jane"), ("alpha", "MR", "Roe^Rick"), ("beta", "CT", "Doe^John")]
    ):
        write_study(tmp_path / str(number), 1, modality=modality, name=name, patient_id=f"P{number}")
        noctis("import", slug, tmp_path / str(number))

    def names(*filters: str) -> set[str]:
        return {row["patient_name"] for row in noctis("study", "list", *filters, "--json").json}

    assert names() == {"Doe^Jane", "Roe^Rick", "Doe^John"}
    assert names("--facility", "alpha") == {"Doe^Jane", "Roe^Rick"}
    assert names("--patient", "doe") == {"Doe^Jane", "Doe^John"}
    assert names("--patient", "P1") == {"Roe^Rick"}
    assert names("--patient", "%") == set()
    assert names("--modality", "mr") == {"Roe^Rick"}
    assert names("--accession", "A1") == names()
    assert names("--accession", "A2") == set()
    assert names("--date", "20260101-20260131") == names()
    assert names("--date", "20260103") == set()
    assert names("--status", "complete") == set()
    assert len(noctis("study", "list", "--limit", 1, "--json").json) == 1


def test_one_study_its_series_and_what_is_ambiguous(noctis: Call, tmp_path: Path) -> None:
    study = generate_uid()
    for slug in ("alpha", "beta"):
        noctis("facility", "add", slug)
        write_study(tmp_path / slug, 2, study=study)
        noctis("import", slug, tmp_path / slug)
    assert "several facilities have this study: " in noctis("study", "show", study, code=2).err
    shown = noctis("study", "show", study, "--facility", "beta", "--json").json
    assert [each["instances"] for each in shown["series_list"]] == [2]
    assert "Series Instance UID" in noctis("series", "list", study, "--facility", "alpha").out
    assert len(noctis("instance", "list", "--study", study, "--json").json) == 4


def test_a_conflict_is_listed_shown_released_and_discarded(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    study, series, instance = generate_uid(), generate_uid(), generate_uid()
    for name in ("First^A", "Second^B", "Third^C"):
        make_instance(study=study, series=series, sop_instance=instance, name=name).save_as(tmp_path / f"{name}.dcm")
        noctis("import", "central", tmp_path / f"{name}.dcm")
    rows = noctis("quarantine", "list", "--json").json
    assert [row["reason"] for row in rows] == ["conflict", "conflict"]
    second = next(row["name"] for row in rows)
    assert noctis("quarantine", "show", "central", second, "--json").json["sop_instance_uid"] == instance
    assert "another instance" in noctis("quarantine", "release", "central", second, code=2).err
    assert "replaced" in noctis("quarantine", "release", "central", second, "--replace").out
    for row in noctis("quarantine", "list", "--json").json:
        noctis("quarantine", "discard", "central", row["name"], "--yes")
    assert noctis("quarantine", "list").out == "The quarantine is empty.\n"
    assert noctis("study", "list", "--json").json[0]["instances"] == 1
    noctis("archive", "verify")


def test_the_index_is_rebuilt_from_the_files_alone(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    write_study(tmp_path / "a", 4)
    noctis("import", "central", tmp_path / "a")
    before = noctis("instance", "list", "--json").json
    noctis("archive", "reindex")
    after = noctis("instance", "list", "--json").json
    assert {row["sop_instance_uid"]: row["sha256"] for row in after} == {
        row["sop_instance_uid"]: row["sha256"] for row in before
    }


def test_control_characters_of_the_wire_never_reach_the_terminal(noctis: Call, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    write_study(tmp_path / "a", 1, name="\x1b[31mEvil^[bold]X")
    noctis("import", "central", tmp_path / "a")
    out = noctis("study", "list").out
    assert "\x1b" not in out
    assert "[bold]X" in out


def test_empty_lists_say_so(noctis: Call) -> None:
    noctis("db", "upgrade")
    assert "Add one" in noctis("facility", "list").out
    assert noctis("refusal", "list").out == "Nobody was turned away.\n"
    for noun in ("study", "refusal", "quarantine", "association", "instance"):
        assert noctis(noun, "list", "--json").json == []
    assert [each["action"] for each in noctis("event", "list", "--json").json] == ["database.upgraded"]
