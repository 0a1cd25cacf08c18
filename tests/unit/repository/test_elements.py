"""Every element of a file, against pydicom, and of files that are no good."""

import hashlib
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from noctis.errors import StorageError
from noctis.repository import elements as module
from noctis.repository.elements import Element, Kind, differences, elements, read_elements
from tests.samples import Sample, make_instance, storable_files

TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"
HEAD = b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"


def _places(dataset: Dataset, prefix: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    for each in dataset:
        yield (*prefix, int(each.tag))
        if each.VR == "SQ":
            for number, item in enumerate(each.value, 1):
                yield from _places(item, (*prefix, int(each.tag), number))


def _saved(folder: Path, **attributes: object) -> Path:
    dataset = make_instance(study="1.2.3", series="1.2.3.1", sop_instance="1.2.3.1.1")
    for name, value in attributes.items():
        setattr(dataset, name, value)
    path = folder / f"{generate_uid()}.dcm"
    dataset.save_as(path)
    return path


def _by_keyword(found: list[Element]) -> dict[str, Element]:
    return {each.keyword: each for each in found if not each.depth}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", storable_files(), ids=lambda sample: sample.path.name)
def test_it_finds_what_pydicom_finds(sample: Sample) -> None:
    dataset = dcmread(sample.path)
    listing = read_elements(sample.path)
    assert listing.problem == ""
    assert {each.place for each in listing.elements} == {*_places(dataset.file_meta), *_places(dataset)}
    found = _by_keyword(listing.elements)
    assert found["SOPInstanceUID"].text == dataset.SOPInstanceUID
    assert found["PatientName"].text == str(dataset.get("PatientName", "")) if "PatientName" in found else True


def test_values_are_shown_by_their_vr(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        PatientName="Müller^Zoë",
        ImageType=["ORIGINAL", "PRIMARY"],
        PatientComments="a\\b",
        ImagePositionPatient=[1.5, -2, 3],
    )
    found = _by_keyword(elements(path))
    shown = {name: (found[name].vr, found[name].vm, found[name].text) for name in found}
    assert shown["PatientName"] == ("PN", 1, "Müller^Zoë")
    assert shown["ImageType"] == ("CS", 2, "ORIGINAL\\PRIMARY")
    assert shown["PatientComments"] == ("LT", 1, "a\\b")
    assert shown["Rows"] == ("US", 1, "16")
    assert shown["ImagePositionPatient"][:2] == ("DS", 3)
    pixels = found["PixelData"]
    assert (pixels.text[:5], pixels.cut, pixels.length) == ("00 00", True, 512)
    assert pixels.digest == hashlib.sha256(bytes(512)).hexdigest()
    assert found["SOPClassUID"].meaning == "CT Image Storage"


def test_a_long_value_is_cut_and_says_so(tmp_path: Path) -> None:
    path = _saved(tmp_path, PatientComments="ä" * 3000)
    (short,) = [each for each in read_elements(path).elements if each.keyword == "PatientComments"]
    (whole,) = [each for each in read_elements(path, whole="(0010,4000)").elements if each.keyword == "PatientComments"]
    assert (short.text, short.cut) == ("ä" * module.TEXT_MAX, True)
    assert (whole.text, whole.cut) == ("ä" * 3000, False)


def test_private_elements_are_named_by_their_creator() -> None:
    found = elements(TEST_FILES / "nested_priv_SQ.dcm")
    assert [each.path for each in found if each.depth == 2][-1] == "(0001,0001)[1].(0001,0001)[1].(0001,0001)"


def test_character_sets_hold_where_they_stand() -> None:
    found = elements(TEST_FILES.parent / "charset_files" / "chrSQEncoding.dcm")
    nested = [each.text for each in found if each.keyword == "PatientName"]
    assert nested == ["ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"] * len(nested)
    assert nested


def test_a_file_that_ends_early_keeps_what_came_before(tmp_path: Path) -> None:
    content = (TEST_FILES / "test-SR.dcm").read_bytes()
    whole = [each.place for each in elements(TEST_FILES / "test-SR.dcm")]
    path = tmp_path / "cut.dcm"
    for length in range(140, len(content) - 1, 97):
        path.write_bytes(content[:length])
        listing = read_elements(path)
        assert [each.place for each in listing.elements] == whole[: len(listing.elements)]
    assert listing.problem


def test_no_bytes_are_too_strange(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "strange.dcm"
    for name in ("test-SR.dcm", "rtplan.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle_2frame.dcm"):
        content = (TEST_FILES / name).read_bytes()
        for _ in range(60):
            spoilt = bytearray(content)
            for _ in range(chance.randrange(1, 20)):
                spoilt[chance.randrange(132, len(spoilt))] = chance.choice(
                    (0, 1, 0x40, 0xFE, 0xFF, chance.randrange(256))
                )
            path.write_bytes(spoilt)
            for each in read_elements(path).elements:
                each.text.encode()


def test_what_would_be_endless_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = struct.pack("<HH2sHI", 0x40, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path = tmp_path / "deep.dcm"
    path.write_bytes(HEAD + deep * 1000)
    assert "deeper" in read_elements(path).problem
    path.write_bytes(HEAD + struct.pack("<HH2sH", 8, 8, b"CS", 0) * 500)
    assert "first 100 elements" in read_elements(path, limit=100).problem
    monkeypatch.setattr(module, "HEADERS_MAX", 50)
    assert "first 50 elements and items" in read_elements(path).problem


def test_what_is_no_dicom_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(b"hello")
    with pytest.raises(StorageError):
        read_elements(path)
    path.unlink()
    path.symlink_to(TEST_FILES / "CT_small.dcm")
    with pytest.raises(OSError):
        read_elements(path)


def test_differences_are_aligned_element_by_element(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue = "1"
    one = _saved(tmp_path, PatientComments="x" * 2000 + "a", AnatomicRegionSequence=[item], StudyID="7")
    other_item = Dataset()
    other_item.CodeValue = "2"
    other = _saved(
        tmp_path, PatientComments="x" * 2000 + "b", AnatomicRegionSequence=[other_item, item], PixelData=b"\1" * 512
    )
    found = {each.element.path: each.kind for each in differences(one, other) if each.kind is not Kind.SAME}
    assert (
        found
        == {
            "(0002,0000)": found.get("(0002,0000)", Kind.SAME),
            "(0008,2218)": Kind.CHANGED,
            "(0008,2218)[1].(0008,0100)": Kind.CHANGED,
            "(0008,2218)[2].(0008,0100)": Kind.RIGHT_ONLY,
            "(0010,4000)": Kind.CHANGED,
            "(0020,0010)": Kind.LEFT_ONLY,
            "(7FE0,0010)": Kind.CHANGED,
        }
        or "(0002,0000)" not in found
    )
    assert [each.element.place for each in differences(one, other)] == sorted(
        each.element.place for each in differences(one, other)
    )
    assert {each.kind for each in differences(one, one)} == {Kind.SAME}
